package layouts

import (
	"fmt"
	"testing"

	"cambium/src/flops"
	"cambium/src/telemetry"
)

// The record of a run tells what its ranks have allocated: four micro-batches more in flight cost what the formula says, with
// each kind of recomputation. Sizes are multiples of a cache line, to which tensors are aligned.
func TestTheRecordTellsTheMemoryThatTheFormulaGives(t *testing.T) {
	const moreInFlight, layersAStage = 4, 4
	c := cut{tp: 2, pp: 2, dp: 1, schedule: "gpipe", sequence: true}
	for name := range models {
		for _, dtype := range []string{"fp32", "bf16"} {
			var marginal, formula [3]int
			for kind := flops.RecomputeNone; kind <= flops.RecomputeFull; kind++ {
				c.recompute = kind.String()
				var bytes [2]int
				for i, batch := range []int{4, 4 + moreInFlight} {
					cfg := configure(t, t.TempDir(), name, dtype, c, "train.seq_length=32", "train.train_iters=4", fmt.Sprint("train.global_batch_size=", batch))
					m := memory(t, run(t, cfg))
					bytes[i] = int(m["activations"])
					element := map[string]int{"fp32": 4, "bf16": 2}[dtype]
					formula[kind] = moreInFlight * layersAStage * flops.KeptBytes(cfg.Stages[0].Model, 32, c.tp, true, kind, element)
				}
				marginal[kind] = bytes[1] - bytes[0]
			}
			for kind := flops.RecomputeSelective; kind <= flops.RecomputeFull; kind++ { // the head's part is the same in all
				if got, want := marginal[0]-marginal[kind], formula[0]-formula[kind]; got != want || want <= 0 {
					t.Errorf("%s %s: recompute %v saves %d bytes of %d, want %d", name, dtype, kind, got, marginal[0], want)
				}
			}
		}
	}
}

func TestTheOptimizersMemoryFallsWithTheReplicas(t *testing.T) {
	var one int64
	for _, dp := range []int{1, 2, 4, 8} {
		m := memory(t, run(t, configure(t, t.TempDir(), "gpt2", "bf16", cut{tp: 1, pp: 1, dp: dp}, "model.hidden_size=64", "model.ffn_hidden_size=128")))
		if dp == 1 {
			one = m["optimizer"]
		}
		if share := float64(m["optimizer"]) * float64(dp) / float64(one); !(share >= 1 && share < 1.15) {
			t.Errorf("%d replicas: the optimizer has %d bytes a rank, %d on one rank: want 1/%d and little more", dp, m["optimizer"], one, dp)
		}
	}
}

// memory is what the record of a run's only stage tells, by label.
func memory(t *testing.T, h *telemetry.History) map[string]int64 {
	t.Helper()
	if len(h.Stages) != 1 {
		t.Fatalf("%d stages", len(h.Stages))
	}
	out := map[string]int64{}
	for _, m := range h.Stages[0].Memory {
		out[m.Label] = m.Bytes
	}
	for _, label := range []string{"weights", "gradients", "optimizer", "activations"} {
		if out[label] <= 0 {
			t.Fatalf("%d bytes of %s", out[label], label)
		}
	}
	return out
}
