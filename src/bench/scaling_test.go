package bench

import (
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cambium/src/comm/local"
	"cambium/src/config"
	"cambium/src/report"
)

const scalingFile = `
run_dir: unused
threads_per_rank: 1
tokenizer: {type: none}
data: {mock: true}
model: {vocab_size: 64, num_layers: 2, hidden_size: 16, num_attention_heads: 2}
train: {seq_length: 16, micro_batch_size: 1, global_batch_size: 4, lr: 1.0e-3, train_tokens: 1k, lr_decay_style: cosine, lr_warmup_iters: 3}
`

func scalingOptions(t *testing.T, kind, grids string) (*config.Run, ScalingOptions) {
	t.Helper()
	cfg, err := config.Parse("test", []byte(scalingFile), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := ParseGrids(grids)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, ScalingOptions{Kind: kind, Grids: g, Element: -1, Warmup: 1, Steps: 4, Dir: t.TempDir(), Version: "test"}
}

// rows are the columns of the CSV of a table, without its head.
func rows(t *testing.T, path string, columns ...string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for _, row := range all[1:] {
		var cells []string
		for _, c := range columns {
			cells = append(cells, row[slices.Index(all[0], c)])
		}
		out = append(out, cells)
	}
	return out
}

func TestWeakScalingGivesEveryRankTheSameWorkAndStrongScalingAllTogether(t *testing.T) {
	for kind, batches := range map[string][]string{report.WeakScaling: {"4", "8", "16"}, report.StrongScaling: {"4", "4", "4"}} {
		cfg, o := scalingOptions(t, kind, "dp2,dp4,dp1")
		table, err := Scaling(t.Context(), cfg, o, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(table, "\n"); !strings.Contains(lines[0], "Time/iter (ms)") || !strings.Contains(lines[1], "100.0 %") {
			t.Errorf("table:\n%s", table)
		}
		path := filepath.Join(o.Dir, kind+"-scaling.csv")
		for i, row := range rows(t, path, "ranks", "data_parallel_size", "global_batch_size", "seq_length") {
			if want := []string{"1", "2", "4"}[i]; row[0] != want || row[1] != want || row[2] != batches[i] || row[3] != "16" {
				t.Errorf("%s, row %d: %v", kind, i, row)
			}
		}
		for _, row := range rows(t, path, "step_ms_median", "tokens_per_sec", "tflops_a_rank", "memory_bytes_a_rank", "mfu") {
			if slices.ContainsFunc(row, func(cell string) bool { return cell == "" || cell == "0" || cell[0] == '-' }) {
				t.Errorf("%s: %v", kind, row)
			}
		}
	}
}

func TestTheElementsOfAJobArrayMakeOneTable(t *testing.T) {
	cfg, o := scalingOptions(t, report.WeakScaling, "dp1,dp2")
	for i, ready := range []bool{false, true} {
		o.Element = i
		var progress strings.Builder
		table, err := Scaling(t.Context(), cfg, o, &progress)
		if err != nil {
			t.Fatal(err)
		}
		if (table != "") != ready || strings.Count(progress.String(), "tokens/s") != 1 {
			t.Errorf("element %d: progress %q, table %q", i, progress.String(), table)
		}
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "other.json"), []byte(`{"format": "of another kind"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	before := rows(t, filepath.Join(o.Dir, "weak-scaling.csv"), "ranks", "step_ms_median", "efficiency")
	if _, err := Collect(filepath.Dir(o.Dir)); err != nil {
		t.Fatal(err)
	}
	if after := rows(t, filepath.Join(filepath.Dir(o.Dir), "weak-scaling.csv"), "ranks", "step_ms_median", "efficiency"); len(after) != 2 || !slices.EqualFunc(before, after, slices.Equal) {
		t.Errorf("collected from above: %v, want %v", after, before)
	}
}

func TestALauncherMeasuresWhatFitsItsRanks(t *testing.T) {
	_, o := scalingOptions(t, report.WeakScaling, "dp1,dp2,tp2,tp2dp2")
	o.World = local.NewWorld(2)
	todo, err := o.todo()
	if err != nil || len(todo) != 2 || todo[0].DP != 2 || todo[1].TP != 2 {
		t.Errorf("of 2 ranks: %v, %v", todo, err)
	}
	o.World = local.NewWorld(3)
	if _, err := o.todo(); err == nil || !strings.Contains(err.Error(), "started 3 ranks") {
		t.Error(err)
	}
}

func TestAGridThatCannotBeIsRefusedBeforeAnythingIsMeasured(t *testing.T) {
	for grids, want := range map[string]string{
		"dp1,dp3,tp3": "bench scaling, tp3 pp1 dp1: ", // of 2 heads
		"dp2,dp3,dp4": "",
		"dp1,pp4":     "bench scaling, tp1 pp4 dp1: ", // of 2 layers
		"dp8,dp12":    "bench scaling, tp1 pp1 dp8: ", // of a batch of 4
	} {
		cfg, o := scalingOptions(t, report.WeakScaling, grids)
		o.Warmup, o.Steps = 0, 1
		_, err := Scaling(t.Context(), cfg, o, io.Discard)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", grids, err, want)
		}
		if files, _ := os.ReadDir(o.Dir); want != "" && len(files) > 0 {
			t.Errorf("%s: left %v behind", grids, files)
		}
	}
	for _, text := range []string{"", "dp1,", "dp0", "dp1,tp1", "4x2", "tp2dp2pp2"} {
		if g, err := ParseGrids(text); err == nil {
			t.Errorf("%q is %v", text, g)
		}
	}
}

func TestPointsThatDoNotBelongTogetherAreRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := Collect(dir); err == nil || !strings.Contains(err.Error(), "no points") {
		t.Error(err)
	}
	p := report.ScalingPoint{Scaling: report.WeakScaling, Ranks: 1, TP: 1, PP: 1, DP: 1, StepMS: []float64{2}, MedianMS: 2, TFLOPs: 1, TokensPerSec: 1, Backend: "cpu", Precision: "fp32"}
	q := p
	q.Precision, q.Ranks, q.DP = "bf16", 2, 2
	for name, x := range map[string]*report.ScalingPoint{"a.json": &p, "b.json": &q} {
		if err := writePoint(filepath.Join(dir, name), x); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Collect(dir); err == nil || !strings.Contains(err.Error(), "cannot stand in one table") {
		t.Error(err)
	}
	q.Precision, q.StepMS = "fp32", nil
	if err := writePoint(filepath.Join(dir, "b.json"), &q); err != nil {
		t.Fatal(err)
	}
	if _, err := Collect(dir); err == nil || !strings.Contains(err.Error(), "not a whole point") {
		t.Error(err)
	}
}
