package dryrun

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"cambium/src/config"
	"cambium/src/plan"
	"cambium/src/train"
)

// description is a run that grows twice over three grids of four ranks.
const description = `
run_dir: %s
local_ranks: 4
threads_per_rank: 1
tokenizer: {type: none}
data: {mock: true}
model: {vocab_size: 90, make_vocab_size_divisible_by: 16, kv_channels: 8}
train: {seq_length: 16, micro_batch_size: 2, global_batch_size: 16, lr: 1.0e-3, train_iters: 3, lr_warmup_iters: 1}
growth: {operator: mask, ramp_iters: 2, rewarm_iters: 1}
checkpoint: {checkpoint_before_growth: false, checkpoint_at_end: false}
stages:
  - name: a
    model: {num_layers: 2, hidden_size: 24, num_attention_heads: 2}
  - name: b
    model: {num_layers: 4, hidden_size: 32, num_attention_heads: 4}
    parallel: {tensor_model_parallel_size: 2, sequence_parallel: true}
  - name: c
    model: {num_layers: 8, hidden_size: 40, num_attention_heads: 6}
    parallel: {tensor_model_parallel_size: 1, pipeline_model_parallel_size: 4}
`

// event is what the test reads of metrics.jsonl.
type event struct {
	Event      string `json:"event"`
	MemoryRank int    `json:"memory_rank"`
	Memory     []struct {
		Label string `json:"label"`
		Bytes int64  `json:"bytes"`
	} `json:"memory"`
	BytesMoved int64 `json:"bytes_moved"`
	LowerBound int64 `json:"bytes_lower_bound"`
}

func events(t *testing.T, dir string) (stages, growths []event) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, train.MetricsName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		switch e.Event {
		case "stage":
			stages = append(stages, e)
		case "growth":
			growths = append(growths, e)
		}
	}
	return stages, growths
}

// Every kind of memory of the rank that holds most, and every byte that a growth moves, are known before the run.
func TestARunDoesWhatItsDryRunTells(t *testing.T) {
	for name, sets := range map[string][]string{
		"fp32":        nil,
		"bf16":        {"precision.params_dtype=bf16", "stages.2.parallel.num_layers_per_virtual_pipeline_stage=1", "stages.1.parallel.recompute_granularity=full"},
		"zero-bubble": {"stages.2.parallel.pipeline_schedule=zero-bubble", "model.swiglu=true", "model.untie_embeddings_and_output_weights=true"},
		"selective":   {"stages.2.parallel.tensor_model_parallel_size=2", "stages.2.parallel.pipeline_model_parallel_size=2", "parallel.recompute_granularity=selective", "growth.operator=zero"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			run, err := config.Parse("run.yaml", fmt.Appendf(nil, description, dir), sets, nil)
			if err != nil {
				t.Fatal(err)
			}
			p, err := plan.New(run, plan.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := train.Run(t.Context(), run, train.Options{}); err != nil {
				t.Fatal(err)
			}
			stages, growths := events(t, dir)
			if len(stages) != 3 || len(growths) != 2 {
				t.Fatalf("%d stages and %d growths", len(stages), len(growths))
			}
			for i, e := range stages {
				compareMemory(t, &p.Stages[i], e, i > 0)
			}
			for i, e := range growths {
				if g := p.Growths[i]; g.BytesMoved != e.BytesMoved || g.LowerBound != e.LowerBound {
					t.Errorf("growth %d: planned %d bytes of at least %d, moved %d of at least %d", i, g.BytesMoved, g.LowerBound, e.BytesMoved, e.LowerBound)
				}
			}
		})
	}
}

func compareMemory(t *testing.T, s *plan.Stage, e event, young bool) {
	for stage, x := range s.Pipeline {
		if e.MemoryRank < x.Ranks[0] || e.MemoryRank > x.Ranks[1] {
			continue
		}
		m := x.Memory
		want := map[string]int64{
			"weights": m.Weights, "gradients": m.Gradients, "optimizer": m.Masters + m.Moments, "activations": m.Activations, "messages": m.Messages, "batch": m.Batch,
		}
		for _, have := range e.Memory {
			planned := want[have.Label]
			delete(want, have.Label)
			if have.Label == "optimizer" && young { // birth steps of what growth made: some vectors, for a while
				if have.Bytes < planned || have.Bytes > planned+16*int64(s.Model.FFNHiddenSize+3*s.Model.HiddenSize+s.PaddedVocab)*4 {
					t.Errorf("stage %q, pipeline stage %d: %d bytes of optimizer state, planned %d", s.Name, stage, have.Bytes, planned)
				}
				continue
			}
			if have.Bytes != planned {
				t.Errorf("stage %q, pipeline stage %d: %d bytes of %s, planned %d", s.Name, stage, have.Bytes, have.Label, planned)
			}
		}
		for label, n := range want {
			if n != 0 {
				t.Errorf("stage %q, pipeline stage %d: no %s, planned %d bytes", s.Name, stage, label, n)
			}
		}
	}
}
