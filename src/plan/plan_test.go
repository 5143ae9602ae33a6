package plan

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cambium/src/config"
)

var update = flag.Bool("update", false, "rewrite the golden transcripts")

func load(t *testing.T, name string, sets ...string) *config.Run {
	t.Helper()
	run, err := config.Load(filepath.Join("..", "..", "configs", name), sets, nil)
	if err != nil {
		t.Fatal(err)
	}
	run.FillVocab(4096)
	return run
}

func planned(t *testing.T, run *config.Run, o Options) *Plan {
	t.Helper()
	p, err := New(run, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The whole text, for people to read: the paper's run on its machine, and the quickstart on three grids.
func TestTranscripts(t *testing.T) {
	a800 := Options{DeviceMemory: 80 << 30, DeviceFLOPS: 312e12, MFU: 0.52}
	for _, c := range []struct {
		name, file string
		sets       []string
		o          Options
	}{
		{"flm-101b", "flm-101b.yaml", nil, a800},
		{"quickstart-3d", "quickstart-3d.yaml", nil, Options{}},
		{"quickstart-3d-interleaved-fp16", "quickstart-3d.yaml", []string{
			"world_size=16", "train.micro_batch_size=2", "train.global_batch_size=32", "precision.params_dtype=fp16", "growth.operator=mask", "growth.ramp_iters=50",
			"stages.2.parallel.decoder_last_pipeline_num_layers=0", "stages.2.parallel.num_layers_per_virtual_pipeline_stage=1", "stages.2.parallel.recompute_granularity=full",
		}, Options{RanksPerNode: 6, DeviceMemory: 12 << 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := planned(t, load(t, c.file, c.sets...), c.o).Print(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, c.name, b.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

// What FLM-101B's paper says of its run (arXiv 2309.03852, tables 1 and 2), and what follows from it.
func TestTheRunOfThePaper(t *testing.T) {
	p := planned(t, load(t, "flm-101b.yaml"), Options{DeviceFLOPS: 312e12, MFU: 0.52})
	if p.Nodes != 24 || p.Tokens/1e7 != 31154 && p.Tokens/1e7 != 31155 { // 311.55B
		t.Errorf("%d nodes, %d tokens", p.Nodes, p.Tokens)
	}
	for i, want := range []struct {
		tp, pp, dp int
		low, high  float64 // parameters, in billions
		tokens     float64
	}{{2, 1, 96, 15, 16, 245.37}, {4, 2, 24, 50, 52, 39.64}, {4, 4, 12, 101.6, 101.8, 26.54}} {
		s := p.Stages[i]
		if s.Grid.TP != want.tp || s.Grid.PP != want.pp || s.Grid.DP != want.dp {
			t.Errorf("stage %d is on %+v", i, s.Grid)
		}
		if n := float64(s.Parameters) / 1e9; n < want.low || n > want.high {
			t.Errorf("stage %d has %.2fB parameters", i, n)
		}
		if tokens := float64(s.Batch.Tokens) / 1e9; tokens < want.tokens-0.005 || tokens > want.tokens+0.005 {
			t.Errorf("stage %d has %.3fB tokens, want %v", i, tokens, want.tokens)
		}
	}
	leastMoved(t, p)
	if s := p.FLOPs / 1e21; s < 0.97*52.76 || s > 1.03*52.76 {
		t.Errorf("the run costs %.2f zettaFLOPs, the paper says 52.76", s)
	}
	// 16 bytes a parameter in a replica of 16 ranks, optimizer state split among 12: 6 + 12/12.
	for stage, x := range p.Stages[2].Pipeline {
		m, n := x.Memory, int64(x.Parameters)
		if state := m.Weights + m.Gradients + m.Masters + m.Moments; state < 7*n || state > 7*n+7*n/1000 {
			t.Errorf("pipeline stage %d: %d bytes for %d parameters", stage, state, n)
		}
	}
}

func TestEveryGrowthMovesTheLeast(t *testing.T) {
	leastMoved(t, planned(t, load(t, "quickstart-3d.yaml"), Options{}))
}

// Rescaled 16-bit weights are sent once more by their masters' owners, beside what has to move: gains of norms alone.
func leastMoved(t *testing.T, p *Plan) {
	t.Helper()
	for _, g := range p.Growths {
		if g.BytesMoved < g.LowerBound || float64(g.BytesMoved) > 1.001*float64(g.LowerBound) || g.BytesMoved == 0 {
			t.Errorf("%q to %q moves %d bytes, at least %d", g.From, g.To, g.BytesMoved, g.LowerBound)
		}
	}
}

func TestWarningsSayWhatWouldHelp(t *testing.T) {
	for _, c := range []struct {
		sets []string
		o    Options
		want string
	}{
		{nil, Options{DeviceMemory: 18 << 20}, `MiB, its device has 18.00 MiB: try recompute_granularity, a smaller micro_batch_size`},
		{[]string{"stages.2.parallel.sequence_parallel=false"}, Options{DeviceMemory: 18 << 20}, `try sequence_parallel, recompute_granularity`},
		{nil, Options{DeviceMemory: 20 << 20}, `the growth from "sapling" to "tree" needs`},
		{nil, Options{RanksPerNode: 1}, `stage "sapling": tensor-parallel groups reach over 2 nodes: take a tensor_model_parallel_size that divides the 1 ranks of a node`},
		{nil, Options{RanksPerNode: 3}, "4 ranks do not fill nodes of 3: the last one has 1"},
		{[]string{"world_size=16", "train.global_batch_size=16", "stages.2.parallel.pipeline_model_parallel_size=4"}, Options{}, `stage "tree": pipeline stages wait 27 % of the time: more micro-batches (8 now)`},
		{[]string{"world_size=8", "stages.2.parallel.pipeline_model_parallel_size=4", "stages.2.parallel.decoder_last_pipeline_num_layers=0"}, Options{}, `stage "tree": 6 layers on 4 virtual stages are not equal parts`},
		{[]string{"stages.2.parallel.decoder_last_pipeline_num_layers=0"}, Options{}, `stage "tree": decoder_last_pipeline_num_layers: 2 would have pipeline stages wait 13.1 % of the time instead of 24.1 %`},
	} {
		p := planned(t, load(t, "quickstart-3d.yaml", c.sets...), c.o)
		if all := strings.Join(p.Warnings, "\n"); !strings.Contains(all, c.want) {
			t.Errorf("%v, %+v: warnings\n%s\nwant %q", c.sets, c.o, all, c.want)
		}
	}
	if p := planned(t, load(t, "quickstart-3d.yaml"), Options{DeviceMemory: 1 << 30}); len(p.Warnings) != 0 {
		t.Errorf("nothing is wrong, but: %q", p.Warnings)
	}
}

// Recomputation, sequence parallelism and fewer slots need less; a split backward pass keeps more.
func TestMemoryFollowsTheConfiguration(t *testing.T) {
	activations := func(sets ...string) int64 {
		return planned(t, load(t, "quickstart-3d.yaml", sets...), Options{}).Stages[2].Pipeline[0].Memory.Activations
	}
	plain := activations()
	for _, less := range []string{"recompute_granularity=selective", "recompute_granularity=full"} {
		if n := activations("stages.2.parallel." + less); n >= plain {
			t.Errorf("%s: %d bytes of activations, %d without", less, n, plain)
		}
	}
	for _, more := range []string{"sequence_parallel=false", "pipeline_schedule=gpipe", "pipeline_schedule=zero-bubble"} {
		if n := activations("stages.2.parallel." + more); n <= plain {
			t.Errorf("%s: %d bytes of activations, %d without", more, n, plain)
		}
	}
}

func TestJSONHasWhatTheTextHas(t *testing.T) {
	text, err := json.Marshal(planned(t, load(t, "quickstart-3d.yaml"), Options{}))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	stage := all["stages"].([]any)[2].(map[string]any)
	memory := stage["pipeline_stages"].([]any)[1].(map[string]any)["memory"].(map[string]any)
	growth := all["growths"].([]any)[1].(map[string]any)
	if all["world_size"] != 4.0 || memory["moments"].(float64) < 1 || growth["bytes_moved"].(float64) < 1 || stage["grid"].(map[string]any)["data_parallel_size"] != 1.0 {
		t.Errorf("%s", text)
	}
}
