//go:build unix

package growth

import (
	"syscall"
	"testing"
	"time"

	"cambium/src/arch"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/optim"
	"cambium/src/tensor"
)

// The last growth of FLM-101B (arXiv 2309.03852), 51B to 101B on 192 ranks and another grid, in bf16: what every rank plans for
// itself, at once with its neighbours on the node, before anything moves.
func TestARankPlansTheGrowthOf101BInSeconds(t *testing.T) {
	old := arch.Defaults()
	old.NumLayers, old.HiddenSize, old.NumAttentionHeads, old.KVChannels = 80, 8192, 64, 128
	old.VocabSize, old.Position = 100256, arch.PositionXPos
	now := old
	now.HiddenSize, now.NumAttentionHeads = 10240, 80
	old, now = old.Complete(2048), now.Complete(2048)
	p, err := NewPlan(old, old.Function(), now, Options{Operator: Mask})
	if err != nil {
		t.Fatal(err)
	}
	from, err := grid.New(192, 4, 2)
	if err != nil {
		t.Fatal(err)
	}
	to, err := grid.New(192, 4, 4)
	if err != nil {
		t.Fatal(err)
	}
	begin := processorTime(t)
	e := &engine{Job: Job{Plan: p, Staging: defaultStaging}, rank: 77, dtype: tensor.BF16, masters: true}
	if err := e.layOut(from, to); err != nil {
		t.Fatal(err)
	}
	if err := e.planRoutes(); err != nil {
		t.Fatal(err)
	}
	if err := e.planFills(); err != nil {
		t.Fatal(err)
	}
	took := processorTime(t) - begin
	for _, r := range e.routes {
		embed := p.State
		if r.kind == weights || r.kind == optim.Weight {
			embed = p.Weights
		}
		moves, err := layout.Plan(r.from, r.to, embed)
		if err != nil {
			t.Fatal(err)
		}
		busiest := 0
		for _, n := range perRank(moves, to.World()) {
			busiest = max(busiest, n*r.dtype.Size())
		}
		// The busiest rank's messages are nearly full, or the schedule wastes the wire.
		least := busiest/defaultStaging + 1
		t.Logf("%s: %d moves in %d messages of up to 16 MiB; the busiest rank could do with %d", r.kind, len(moves), len(r.batches), least)
		if len(r.batches) > least*5/4 {
			t.Errorf("%s: %d messages, the busiest rank could do with %d", r.kind, len(r.batches), least)
		}
	}
	all := e.traffic.Total()
	t.Logf("%.1f GB move, %.1f GB must; planned in %v", float64(all.Bytes)/1e9, float64(all.LowerBound)/1e9, took)
	if float64(all.Bytes) > 1.1*float64(all.LowerBound) {
		t.Errorf("%d bytes move, only %d must", all.Bytes, all.LowerBound)
	}
	if took > 20*time.Second && !testing.Short() { // the race detector runs with -short
		t.Errorf("planning took %v", took)
	}
}

// processorTime is what the process has used: unlike the clock it does not run while others have the processor.
func processorTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perRank is what every rank sends, or receives where that is more.
func perRank(moves []layout.Transfer, ranks int) []int {
	out, in := make([]int, ranks), make([]int, ranks)
	for _, m := range moves {
		if !m.Local() {
			out[m.SrcRank] += m.Src.Volume()
			in[m.DstRank] += m.Src.Volume()
		}
	}
	for r := range out {
		out[r] = max(out[r], in[r])
	}
	return out
}
