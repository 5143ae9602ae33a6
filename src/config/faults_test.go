package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestEveryMistakeIsOneSentenceWithLineAndKey makes one mistake at a time in a good run.
func TestEveryMistakeIsOneSentenceWithLineAndKey(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"seed: 7", "seeed: 7", `run.yaml:1: seeed: unknown key, did you mean seed?`},
		{"seed: 7", "lr: 7", `run.yaml:1: lr: unknown key here; it belongs under train`},
		{"seed: 7", "xyzzyxyz: 7", `run.yaml:1: xyzzyxyz: unknown key`},
		{"seed: 7", "seed: [7]", `run.yaml:1: seed: want a whole number, got a list`},
		{"seed: 7", "seed: -7", `run.yaml:1: seed: -7 is negative: want 0 or more`},
		{"seed: 7", "seed:", `run.yaml:1: seed: no value: want a whole number, or leave the key out`},
		{"seed: 7", "seed: 7\nseed: 8", `run.yaml:2: seed: the key stands twice, first in line 1`},
		{"local_ranks: 2", "local_ranks: 8.5", `run.yaml:3: local_ranks: "8.5" is not a whole number`},
		{"local_ranks: 2", `local_ranks: "2"`, `run.yaml:3: local_ranks: want a whole number, got the string "2"`},
		{"local_ranks: 2", "local_ranks: 02", `run.yaml:3: local_ranks: "02" begins with 0, which some read as octal: want a whole number without it`},
		{"local_ranks: 2", "local_ranks: 0", `run.yaml:3: local_ranks: 0 is impossible: want 1 to 4096`},
		{"local_ranks: 2", "local_ranks: 3", `run.yaml:12: train.global_batch_size: 8 is not a multiple of micro_batch_size x data-parallel size (2 x 3 = 6)`},
		{"hidden_size: 32", "hiden_size: 32", `run.yaml:17: stages.0.model.hiden_size: unknown key, did you mean hidden_size?`},
		{"hidden_size: 32", "hidden-size: 32", `run.yaml:17: stages.0.model.hidden-size: unknown key, did you mean hidden_size?`},
		{"hidden_size: 32, ", "", `run.yaml:17: stages.0.model.hidden_size: missing: width of the residual stream`},
		{"kv_channels: 16, ", "", `run.yaml:17: stages.0.model.hidden_size: 33 is not a multiple of num_attention_heads (2): change one, or give kv_channels, the size of a head`},
		{"num_attention_heads: 2", "num_attention_heads: 2, num_query_groups: 3", `run.yaml:17: stages.0.model.num_attention_heads: 2 is not a multiple of num_query_groups (3)`},
		{"kv_channels: 16", "kv_channels: 15", `run.yaml:8: model.kv_channels: heads of size 15 cannot be rotated in pairs: rope needs an even one`},
		{"position_embedding_type: rope", "position_embedding_type: ropy", `run.yaml:8: model.position_embedding_type: "ropy" is none of learned_absolute, rope, xpos or none, did you mean rope?`},
		{"hidden_size: 48", "hidden_size: 24", `run.yaml:20: stages.1.model.hidden_size: 24 is less than the 32 of the stage before: a model cannot shrink`},
		{"num_layers: 3", "num_layers: 1", `run.yaml:20: stages.1.model.num_layers: 1 is less than the 2 of the stage before: a model cannot shrink`},
		{"num_attention_heads: 2", "num_attention_heads: 2, num_query_groups: 1", `run.yaml:20: stages.1.model.num_query_groups: 1 heads a group are less than the 2 of the stage before: old heads would lose their keys`},
		{"num_attention_heads: 3", "num_attention_heads: 3, kv_channels: 8", `run.yaml:20: stages.1.model.kv_channels: the size of a head changes from 16 to 8, which growth cannot do: keep hidden_size / num_attention_heads, or give kv_channels for all stages`},
		{"num_attention_heads: 3", "num_attention_heads: 3, swiglu: true", `run.yaml:20: stages.1.model.swiglu: changes from false to true: it must be the same in all stages`},
		{"operator: mask", "operator: stack", `run.yaml:22: stages.1.growth.operator: stack copies layers and cannot widen them: want zero or mask where the width grows`},
		{"operator: mask, ramp_iters: 10", "statistics: msg", `run.yaml:22: stages.1.growth.statistics: msg statistics are the mask operator's, the operator is zero`},
		{"ramp_iters: 10", "ramp_iters: 1000", `run.yaml:22: stages.1.growth.ramp_iters: a ramp of 1000 steps does not fit into the 100 steps of stage "large"`},
		{"train_iters: 100", "train_iters: 100, lr: 5e-4", `run.yaml:21: stages.1.train.lr: changes from 0.001 to 0.0005, but the stage continues the curve of the one before: give it growth.lr_schedule: restart`},
		{"train_iters: 100", "eval_iters: 100", `run.yaml:21: stages.1.train.train_iters: missing: want the length of the stage as train_iters, train_samples or train_tokens`},
		{"train_iters: 100", "train_iters: 100, train_tokens: 5M", `run.yaml:21: stages.1.train.train_tokens: train_iters is given too (run.yaml:21): give one of train_iters, train_samples or train_tokens`},
		{"train_iters: 100", "train_iters: 100, max_position_embeddings: 5", `run.yaml:21: stages.1.train.max_position_embeddings: unknown key here; it belongs under model`},
		{"train_tokens: 64k", "train_tokens: 64q", `run.yaml:18: stages.0.train.train_tokens: "64q" is not a count: want a whole number such as 5000, 64k, 1.5M, 245.37B or 2e9`},
		{"train_tokens: 64k", "train_tokens: 0.0001k", `run.yaml:18: stages.0.train.train_tokens: "0.0001k" is not a whole number`},
		{"train_tokens: 64k", "train_tokens: 9e9T", `run.yaml:18: stages.0.train.train_tokens: "9e9T" is too large: the most is 9223372036854775807`},
		{"train_tokens: 64k", "train_tokens: 5e18", `run.yaml:18: stages.0.train.train_tokens: the run has more than 4.6e+18 tokens up to here, more than can be counted`},
		{"lr_warmup_iters: 5", "lr_warmup_iters: 5000", `run.yaml:14: train.lr_warmup_iters: a warm-up of 5000 steps does not fit into the 225 steps that the learning-rate curve has left`},
		{"lr: 1.0e-3", "lr: fast", `run.yaml:13: train.lr: want a number, got "fast"`},
		{"lr: 1.0e-3", "lr: .inf", `run.yaml:13: train.lr: want a number, got ".inf"`},
		{"lr: 1.0e-3", "lr: .nan", `run.yaml:13: train.lr: want a number, got ".nan"`},
		{"lr: 1.0e-3", "lr: -1.0", `run.yaml:13: train.lr: -1.0 is impossible: want more than 0`},
		{"lr: 1.0e-3", "lr: 1.0e-3\n  min_lr: 0.5", `run.yaml:14: train.min_lr: 0.5 is more than lr (0.001)`},
		{"  seq_length: 64\n", "", `run.yaml:9: train.seq_length: missing: tokens of a sample`},
		{"position_embedding_type: rope", "swiglu: on", `run.yaml:8: model.swiglu: want true or false, got "on"`},
		{"position_embedding_type: rope", "max_position_embeddings: 32", `run.yaml:8: model.max_position_embeddings: 32 is less than seq_length (64)`},
		{"position_embedding_type: rope", "vocab_size: 100", `run.yaml:8: model.vocab_size: 100 is smaller than the tokenizer's 512 entries`},
		{"run_dir: runs/test", "optimizer: {adam_beta1: 1.0}", `run.yaml:2: optimizer.adam_beta1: 1.0 is impossible: want at least 0 and less than 1`},
		{"run_dir: runs/test", "run_dir: ''", `run.yaml:2: run_dir: missing: want a folder such as runs/my-run`},
		{"tokenizer: {path: tok.json, vocab_size: 512}", "tokenizer: {type: bpe}", `run.yaml:4: tokenizer.path: missing: a bpe tokenizer is read from a tokenizer.json, or a folder with vocab.json and merges.txt`},
		{"tokenizer: {path: tok.json, vocab_size: 512}", "tokenizer: gpt2", `run.yaml:4: tokenizer: want keys with values, got "gpt2"`},
		{"validation: c", "validation: {path: c}", `run.yaml:7: data.validation: want a path or a list of {path: P, weight: W}, got a table of keys`},
		{"  validation: c", "  mock: true", `run.yaml:7: data.mock: train is given too (run.yaml:6): give one of mock or train`},
		{"weight: 0.3", "weight: 0", `run.yaml:6: data.train: the weight of b is 0: want more than 0`},
		{"path: b, ", "", `run.yaml:6: data.train.1.path: missing: want the path of a corpus`},
		{"name: large", "name: small", `run.yaml:19: stages.1.name: "small" is the name of stage 0 too`},
		{"name: large", "name: 1", `run.yaml:19: stages.1.name: "1": want at most 64 characters, the first no digit`},
		{"name: large", "name: a b", `run.yaml:19: stages.1.name: "a b": want letters, digits, - and _`},
		{"name: small", "growth: {}", `run.yaml:16: stages.0.growth: the first stage has no model to grow from: it belongs to a later stage, or to the top of the file for all`},
		{"seed: 7", "seed: 7\n---\nseed: 8", "not YAML"},
		{"seed: 7", "seed: [7", "not YAML"},
		{"seed: 7", "seed: *nowhere", "not YAML"},
		{"seed: 7", "\tseed: 7", "not YAML"},
		{"seed: 7", "? [a, b]\n: 7", "run.yaml:1: a key must be a word"},
	} {
		text := strings.Replace(good, c.from, c.to, 1)
		if text == good {
			t.Fatalf("%q does not occur", c.from)
		}
		if strings.Contains(c.want, "33 is not") {
			text = strings.Replace(text, "hidden_size: 32", "hidden_size: 33", 1)
		}
		got := faultsOf(t, text, nil)
		if strings.Contains(got, "\n") || !strings.Contains(got, c.want) || !strings.HasPrefix(c.want, "not") && got != c.want {
			t.Errorf("%q -> %q\n got %s\nwant %s", c.from, c.to, got, c.want)
		}
	}
}

// Whatever a key is set to, in the file, for one stage or for all, the run is refused by a sentence about it or can be planned.
func TestNoValueOfAnyKeyIsAPanic(t *testing.T) {
	text := []byte(strings.Replace(good, "train_iters: 100", "train_tokens: 51.2k", 1)) // lengths that are divided by others
	values := []string{"0", "1", "-1", "9223372036854775807", "1e300", "true", "[1]"}
	for _, k := range keys {
		paths := []string{k.Path}
		if k.staged() {
			paths = append(paths, "stages.0."+k.Path, "stages.1."+k.Path)
		}
		for _, path := range paths {
			for _, v := range values {
				run, err := Parse("run.yaml", text, []string{path + "=" + v}, nil)
				if err != nil {
					for line := range strings.SplitSeq(err.Error(), "\n") {
						if !strings.HasPrefix(line, "run.yaml:") && !strings.HasPrefix(line, "--set "+path+"="+v+":") {
							t.Errorf("%s=%s: %s", path, v, line)
						}
					}
					continue
				}
				if _, err := run.Timeline(); err != nil {
					t.Errorf("%s=%s is taken, but: %v", path, v, err)
				}
				run.LearningRates()
			}
		}
	}
}

func TestAllFaultsOfAFileAreTold(t *testing.T) {
	text := good
	for from, to := range map[string]string{
		"seed: 7": "seed: x", "hidden_size: 32": "hidden_size: 32.5", "hidden_size: 48": "hiden_size: 48", "lr: 1.0e-3": "lr: -1.0", "name: large": "name: small",
		"ramp_iters: 10": "ramp_iters: 1000",
	} {
		text = strings.Replace(text, from, to, 1)
	}
	got := faultsOf(t, text, []string{"data.mokc=true", "train.lr", "stages.2.name=x", "stages.tiny.name=x"})
	for _, want := range []string{
		`--set train.lr: want KEY=VALUE, such as train.lr=3e-4`,
		`--set stages.2.name=x: stages.2: there is no such element: stages has 2, counted from 0 (small, small)`,
		`--set stages.tiny.name=x: stages.tiny: there is no such element: stages has 2, counted from 0 (small, small)`,
		`run.yaml:1: seed: "x" is not a count: want a whole number such as 5000, 64k, 1.5M, 245.37B or 2e9`,
		`--set data.mokc=true: data.mokc: unknown key, did you mean mock?`,
		`run.yaml:17: stages.0.model.hidden_size: "32.5" is not a whole number`,
		`run.yaml:20: stages.1.model.hiden_size: unknown key, did you mean hidden_size?`,
		`run.yaml:13: train.lr: -1.0 is impossible: want more than 0`,
		`run.yaml:19: stages.1.name: "small" is the name of stage 0 too`,
		`run.yaml:22: stages.1.growth.ramp_iters: a ramp of 1000 steps does not fit into the 100 steps of stage "small"`,
	} {
		if !strings.Contains(got+"\n", want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if n := strings.Count(got, "\n") + 1; n != 10 {
		t.Errorf("%d faults, want 10:\n%s", n, got)
	}
}

func TestSetTakesAnyValue(t *testing.T) {
	r := mustParse(t, good, []string{
		"data.train=[x, {path: y, weight: 3}]", "data.validation=0.5 p 0.5 q", "model.swiglu=true", "run_dir=a b: c", "stages.1.growth={operator: zero}",
		"tokenizer.type=gpt2", "train.lr-decay-style=WSD",
	}[0:3])
	if len(r.Data.Train) != 2 || r.Data.Train[1].Weight != 3 || len(r.Data.Validation) != 2 || !r.Stages[1].Model.SwiGLU {
		t.Errorf("%+v", r.Data)
	}
	r = mustParse(t, good, []string{"stages.1.growth={operator: zero}", "train.lr-decay-style=WSD"})
	if r.Stages[1].Growth.Operator != OperatorZero || r.Stages[0].Train.DecayStyle != DecayWSD {
		t.Errorf("%+v", r.Stages[1].Growth)
	}
	if got := faultsOf(t, good, []string{"seed.x=1"}); got != `--set seed.x=1: seed.x: seed is "7" and has no keys` {
		t.Error(got)
	}
	if got := faultsOf(t, strings.Split(good, "stages:")[0], []string{"stages.0.train.lr=1"}); !strings.HasPrefix(got, "--set stages.0.train.lr=1: the configuration has no stages: set train.lr\n") {
		t.Error(got)
	}
}

func TestBombsAndGarbageAreRefusedQuickly(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'm'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for _, text := range []string{
		bomb, strings.Repeat("[", 10000), strings.Repeat("a:\n ", 200), "", "  \n", "# nothing\n", "\xff\xfe", "- a\n- b\n", "just text", strings.Repeat("x", maxFileBytes+1),
		"a: &a {b: *a}", "stages: {}", "stages: []", "model: 5", "stages: [5]", "train: {train_tokens: 1e99999999999}", "train: {lr: 1e99999}", "<<: {seed: 3}\nseed: [", "<<: 5",
	} {
		if got := faultsOf(t, text, nil); got == "" || len(got) > 20000 {
			t.Errorf("%.30q: %d bytes of faults", text, len(got))
		}
	}
}

func TestFileThatIsNotThere(t *testing.T) {
	if _, err := Load("nowhere.yaml", nil, nil); err == nil || !strings.Contains(err.Error(), "nowhere.yaml: no such file") {
		t.Error(err)
	}
	if _, err := Load(t.TempDir(), nil, nil); err == nil {
		t.Error("a folder was read")
	}
}

// FuzzParse promises that no text and no --set makes the reader panic, and that what is accepted reads back the same.
func FuzzParse(f *testing.F) {
	f.Add(good, "train.lr=1")
	f.Add("a: &a [*a]", "stages.*.x={a: [b]}")
	if text, err := os.ReadFile("../../configs/quickstart.yaml"); err == nil {
		f.Add(string(text), "stages.0=5")
	}
	f.Fuzz(func(t *testing.T, text, set string) {
		r, err := Parse("f.yaml", []byte(text), []string{set}, []Setting{{"--lr", "train.lr", set}})
		if err != nil {
			return
		}
		again, err := Parse("again.yaml", r.Resolved(), nil, nil)
		if err != nil {
			t.Fatalf("accepted, but its resolved form is not: %v\n%s", err, r.Resolved())
		}
		if again.Hash() != r.Hash() {
			t.Fatalf("the resolved form differs: %v", r.Differences(again))
		}
	})
}
