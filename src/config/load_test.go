package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// good is a run of two stages in which nothing is wrong.
const good = `seed: 7
run_dir: runs/test
local_ranks: 2
tokenizer: {path: tok.json, vocab_size: 512}
data:
  train: [{path: a, weight: 0.7}, {path: b, weight: 0.3}]
  validation: c
model: {kv_channels: 16, position_embedding_type: rope}
train:
  seq_length: 64
  micro_batch_size: 2
  global_batch_size: 8
  lr: 1.0e-3
  lr_warmup_iters: 5
stages:
  - name: small
    model: {num_layers: 2, hidden_size: 32, num_attention_heads: 2}
    train: {train_tokens: 64k}
  - name: large
    model: {num_layers: 3, hidden_size: 48, num_attention_heads: 3}
    train: {train_iters: 100}
    growth: {operator: mask, ramp_iters: 10}
`

func mustParse(t *testing.T, text string, sets []string, settings ...Setting) *Run {
	t.Helper()
	r, err := Parse("run.yaml", []byte(text), sets, settings)
	if err != nil {
		t.Fatalf("unexpected: %v", err)
	}
	return r
}

func faultsOf(t *testing.T, text string, sets []string, settings ...Setting) string {
	t.Helper()
	_, err := Parse("run.yaml", []byte(text), sets, settings)
	var f Faults
	if !errors.As(err, &f) {
		t.Fatalf("want faults, got %v", err)
	}
	return err.Error()
}

func TestEveryStageIsComplete(t *testing.T) {
	r := mustParse(t, good, nil)
	small, large := r.Stages[0], r.Stages[1]
	if small.Model.FFNHiddenSize != 128 || small.Model.MaxPositions != 64 || small.Model.NumQueryGroups != 2 || small.Model.VocabSize != 512 {
		t.Errorf("first model is not complete: %+v", small.Model)
	}
	if large.Train.TrainIters != 100 || large.Train.TrainTokens != 0 || large.Train.LR != 1e-3 || large.Model.KVChannels != 16 {
		t.Errorf("second stage: %+v %+v", large.Train, large.Model)
	}
	if got := small.Iterations(); got != 125 { // 64,000 / (8 x 64)
		t.Errorf("64k tokens are %d iterations, want 125", got)
	}
	if small.Growth != (Growth{}) || large.Growth.Operator != OperatorMask || large.Growth.RampIters != 10 || large.Growth.RewarmFrom != 0.1 {
		t.Errorf("growth: %+v, %+v", small.Growth, large.Growth)
	}
	if small.DataParallelSize(r.World()) != 2 || small.MicroBatches(r.World()) != 2 {
		t.Errorf("dp %d, micro-batches %d", small.DataParallelSize(r.World()), small.MicroBatches(r.World()))
	}
	if !reflect.DeepEqual(r.Data.Train, Corpora{{"a", 0.7}, {"b", 0.3}}) || !reflect.DeepEqual(r.Data.Validation, Corpora{{"c", 1}}) {
		t.Errorf("corpora: %v, %v", r.Data.Train, r.Data.Validation)
	}
}

func TestResolvedReadsBackAsTheSameRun(t *testing.T) {
	files, _ := filepath.Glob("../../configs/*.yaml")
	texts := []string{good}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	if len(texts) < 5 {
		t.Fatalf("only %d configurations found", len(texts))
	}
	for _, text := range texts {
		r := mustParse(t, text, nil)
		again := mustParse(t, string(r.Resolved()), nil)
		if d := cmp.Diff(r, again); d != "" {
			t.Errorf("resolved form of %.40q reads back differently:\n%s", text, d)
		}
		if r.Hash() != again.Hash() || len(r.Differences(again)) != 0 {
			t.Errorf("hash of the resolved form differs: %v", r.Differences(again))
		}
	}
}

func TestFlagsWinOverSetOverFileOverDefaults(t *testing.T) {
	lr := func(sets []string, settings ...Setting) float64 {
		return mustParse(t, good, sets, settings...).Stages[0].Train.LR
	}
	if got := lr([]string{"train.lr=2e-3"}); got != 2e-3 {
		t.Errorf("--set over file: %v", got)
	}
	if got := lr([]string{"train.lr=2e-3"}, Setting{"--lr", "train.lr", "3e-3"}); got != 3e-3 {
		t.Errorf("flag over --set: %v", got)
	}
	r := mustParse(t, good, []string{"stages.large.train.min_lr=0", "stages.1.model.hidden_size=64", "stages.*.train.train_iters=50"})
	if r.Stages[1].Model.HiddenSize != 64 || r.Stages[0].Train.TrainIters != 50 || r.Stages[0].Train.TrainTokens != 0 || r.Stages[1].Train.TrainIters != 50 {
		t.Errorf("--set by index and *: %+v", r.Stages)
	}
	if r.Optimizer.Beta2 != 0.95 {
		t.Errorf("default beta2: %v", r.Optimizer.Beta2)
	}
}

func TestAnAlternativeReplacesWhatTheFileSays(t *testing.T) {
	r := mustParse(t, good, nil, Setting{"--mock-data", "data.mock", "true"})
	if !r.Data.Mock || len(r.Data.Train) != 0 || len(r.Data.Validation) != 1 {
		t.Errorf("--mock-data over a corpus: %+v", r.Data)
	}
	r = mustParse(t, strings.Replace(good, "  train: [{path: a, weight: 0.7}, {path: b, weight: 0.3}]", "  mock: true", 1), nil, Setting{"--train-data-path", "data.train", "x"})
	if r.Data.Mock || len(r.Data.Train) != 1 {
		t.Errorf("a corpus over mock: %+v", r.Data)
	}
	r = mustParse(t, good, []string{"data.mock=false"}, Setting{"--lr-warmup-fraction", "train.lr_warmup_fraction", "0.1"})
	if len(r.Data.Train) != 2 || r.Stages[1].Train.WarmupIters != 0 || r.Stages[1].Train.WarmupFraction != 0.1 {
		t.Errorf("%+v %+v", r.Data, r.Stages[1].Train)
	}
}

func TestFlagThatStagesOverrideIsRefused(t *testing.T) {
	got := faultsOf(t, good, nil, Setting{"--hidden-size", "model.hidden_size", "64"}, Setting{"--train-iters", "train.train_iters", "9"})
	for _, want := range []string{
		"--hidden-size: model.hidden_size: stages set it themselves (run.yaml:17); say which with --set 'stages.NAME.model.hidden_size=64'",
		"--train-iters: train.train_iters: stages set it themselves (run.yaml:18)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	one := strings.Split(good, "  - name: large")[0]
	if r := mustParse(t, one, nil, Setting{"--hidden-size", "model.hidden_size", "64"}); r.Stages[0].Model.HiddenSize != 64 {
		t.Errorf("with one stage the flag is clear: %+v", r.Stages[0].Model)
	}
}

func TestRunWithoutStagesHasOne(t *testing.T) {
	r, err := Load("", nil, []Setting{
		{"--num-layers", "model.num_layers", "2"}, {"--hidden-size", "model.hidden_size", "32"}, {"--num-attention-heads", "model.num_attention_heads", "2"},
		{"--vocab-size", "model.vocab_size", "100"}, {"--seq-length", "train.seq_length", "16"}, {"--micro-batch-size", "train.micro_batch_size", "3"},
		{"--lr", "train.lr", "1e-3"}, {"--train-samples", "train.train_samples", "1k"}, {"--mock-data", "data.mock", "true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Stages) != 1 || r.Stages[0].Name != "main" || r.Stages[0].Train.GlobalBatchSize != 3 || r.Stages[0].Iterations() != 334 {
		t.Errorf("%+v", r.Stages)
	}
}

func TestHashFollowsWhatIsLearnedOnly(t *testing.T) {
	r := mustParse(t, good, nil)
	for _, same := range []string{"run_dir=elsewhere", "train.log_interval=1", "train.save_interval=5", "threads_per_rank=3", "local_ranks=1", "train.micro_batch_size=1", "checkpoint.compression=zstd", "stages.0.name=other"} {
		if other := mustParse(t, good, []string{same}); other.Hash() != r.Hash() {
			t.Errorf("%s changes the hash", same)
		}
	}
	for _, differs := range []string{"seed=8", "train.lr=2e-3", "stages.1.model.num_layers=4", "stages.1.growth.ramp_iters=11", "data.train=[a, b]", "optimizer.adam_beta2=0.99", "stages.0.train.train_tokens=128k"} {
		other := mustParse(t, good, []string{differs})
		if other.Hash() == r.Hash() {
			t.Errorf("%s does not change the hash", differs)
		}
		if d := r.Differences(other); len(d) == 0 || len(d) > 2 {
			t.Errorf("%s: differences %q", differs, d)
		}
	}
	d := r.Differences(mustParse(t, good, []string{"train.lr=2e-3"}))
	if want := []string{"stages.0.train.lr: 0.002 there, 0.001 here", "stages.1.train.lr: 0.002 there, 0.001 here"}; !reflect.DeepEqual(d, want) {
		t.Errorf("differences %q", d)
	}
}

func TestMergeKeysAndAliasesWork(t *testing.T) {
	text := strings.Replace(good, "  - name: small\n    model: {num_layers: 2, hidden_size: 32, num_attention_heads: 2}",
		"  - name: small\n    model: &m {num_layers: 2, hidden_size: 32, num_attention_heads: 2}", 1)
	text = strings.Replace(text, "    model: {num_layers: 3, hidden_size: 48, num_attention_heads: 3}", "    model: {<<: *m, num_layers: 5}", 1)
	r := mustParse(t, text, nil)
	if m := r.Stages[1].Model; m.NumLayers != 5 || m.HiddenSize != 32 {
		t.Errorf("%+v", m)
	}
}

func TestTableHasEveryKeyOnce(t *testing.T) {
	seen := map[string]bool{}
	flags := map[string]bool{}
	for _, k := range Keys() {
		if seen[k.Path] || k.Flag != "" && flags[k.Flag] {
			t.Errorf("%s (--%s) twice", k.Path, k.Flag)
		}
		seen[k.Path], flags[k.Flag] = true, true
		if k.Help == "" || strings.HasSuffix(k.Help, ".") {
			t.Errorf("%s: help %q", k.Path, k.Help)
		}
	}
	var walk func(t reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		for i := range typ.NumField() {
			name := typ.Field(i).Tag.Get("yaml")
			switch p := join(path, name); {
			case p == "stages" || p == "name":
			case typ.Field(i).Type.Kind() == reflect.Struct:
				walk(typ.Field(i).Type, p)
			case !seen[p]:
				t.Errorf("%s is not in the table of keys", p)
			}
		}
	}
	walk(reflect.TypeFor[Run](), "")
	walk(reflect.TypeFor[Stage](), "")
}
