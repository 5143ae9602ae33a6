package hf_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend/cpu"
	"cambium/src/hf"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/rng"
	"cambium/src/tensor"
)

func gpt2() arch.Model {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize, m.VocabSizeDivisibleBy, m.FFNHiddenSize = 2, 12, 3, 29, 8, 20
	return m.Complete(5)
}

func llama() arch.Model {
	m := gpt2()
	m.NumAttentionHeads, m.NumQueryGroups, m.KVChannels, m.Position, m.RotaryBase = 4, 2, 6, arch.PositionRope, 500
	m.Normalization, m.SwiGLU, m.LinearBias, m.UntieOutput = arch.RMSNorm, true, false, true
	return m
}

func with(m arch.Model, change func(*arch.Model)) arch.Model {
	change(&m)
	return m
}

// random gives every parameter values that leave nothing at 0 or 1, and padding rows of zeros.
func random(m arch.Model) func(string) ([]float32, error) {
	return func(name string) ([]float32, error) {
		for _, t := range m.Tensors() {
			if t.Name == name {
				v := make([]float32, t.Len())
				rng.NewKey(1, name).FillNormal(v, 0, 0.4)
				if t.Axes[0] == arch.Vocab {
					clear(v[m.VocabSize*m.HiddenSize:])
				}
				return v, nil
			}
		}
		return nil, fmt.Errorf("there is no %s", name)
	}
}

// logits of a fixed batch.
func logits(t *testing.T, m arch.Model, f arch.Function, get func(string) ([]float32, error)) []float32 {
	t.Helper()
	b := cpu.New(cpu.Options{Workers: 1})
	defer b.Close()
	s := b.NewStream("test")
	p, err := model.NewParams(b, layout.Single(m), 0, model.ParamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range p.Shards() {
		v, err := get(x.Name)
		if err != nil {
			t.Fatal(err)
		}
		if copy(p.Weight(x.Name).F32(), v) != x.Len() {
			t.Fatalf("%s has %d values", x.Name, len(v))
		}
	}
	x, err := model.New(b, f, p, model.Parallel{}, model.Options{MicroBatch: 2, SeqLength: 5, Inference: true})
	if err != nil {
		t.Fatal(err)
	}
	mem, err := b.Alloc("tokens", 40)
	if err != nil {
		t.Fatal(err)
	}
	tokens := tensor.New(mem, 0, tensor.I32, 10)
	for i := range tokens.I32() {
		tokens.I32()[i] = int32(rng.NewKey(2, "tokens").Below(uint64(i), uint64(m.VocabSize)))
	}
	x.Forward(s, tokens, tensor.Tensor{})
	z := x.Logits(s, 0, 10)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	var out []float32
	for i := range 10 {
		out = append(out, z.Slice(i, i+1).Columns(0, m.VocabSize).F32()...)
	}
	return out
}

func TestAnExportedModelComesBackAsTheSameFunction(t *testing.T) {
	mup := func(m *arch.Model) { m.MupBaseWidth, m.InputMult, m.OutputMult, m.NormEpsilon = 4, 1.7, 2, 3e-4 }
	for name, m := range map[string]arch.Model{
		"gpt2":           gpt2(),
		"gpt2 mup":       with(gpt2(), mup),
		"gpt2 untied":    with(with(gpt2(), mup), func(m *arch.Model) { m.UntieOutput = true }),
		"llama":          llama(),
		"llama mup tied": with(with(llama(), mup), func(m *arch.Model) { m.UntieOutput = false }),
		"llama biases":   with(llama(), func(m *arch.Model) { m.LinearBias = true }),
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "folder")
			if err := hf.Export(dir, m, m.Function(), random(m), nil); err != nil {
				t.Fatal(err)
			}
			f, err := hf.Import(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			want := logits(t, m, m.Function(), random(m))
			got := logits(t, f.Model, f.Function, f.Get)
			worst, largest := 0.0, 0.0
			for i := range want {
				worst, largest = max(worst, math.Abs(float64(got[i]-want[i]))), max(largest, math.Abs(float64(want[i])))
			}
			if !(worst <= 2e-6*largest) {
				t.Errorf("logits differ by %g, the largest is %g", worst, largest)
			}
		})
	}
}

// Without multipliers nothing is folded: the weights come back bit by bit.
func TestWeightsComeBackUnchanged(t *testing.T) {
	for _, m := range []arch.Model{gpt2(), llama()} {
		dir := t.TempDir()
		if err := hf.Export(dir, m, m.Function(), random(m), nil); err != nil {
			t.Fatal(err)
		}
		f, err := hf.Import(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		m.VocabSizeDivisibleBy, f.Model.VocabSizeDivisibleBy = 1, 1 // padding is not the file's business
		if f.Model != m {
			t.Errorf("architecture\n%+v came back as\n%+v", m, f.Model)
		}
		for _, p := range m.Tensors() {
			want, _ := random(m)(p.Name)
			got, err := f.Get(p.Name)
			if err != nil {
				t.Fatal(err)
			}
			if n := min(len(got), len(want)); n < p.Len() || !slices.Equal(got[:n], want[:n]) {
				t.Errorf("%s came back changed", p.Name)
			}
		}
		if _, err := f.Get("layers.9.input_norm.weight"); err == nil {
			t.Errorf("a parameter that does not exist was read")
		}
	}
}

func TestWhatTheFormatsCannotExpressIsRefusedByName(t *testing.T) {
	for _, c := range []struct {
		m    arch.Model
		want string
	}{
		{with(gpt2(), func(m *arch.Model) { m.Position = arch.PositionXPos }), "position_embedding_type is xpos"},
		{with(gpt2(), func(m *arch.Model) { m.Position = arch.PositionNone }), "position_embedding_type is none"},
		{with(gpt2(), func(m *arch.Model) { m.Normalization = arch.RMSNorm }), "normalization is RMSNorm"},
		{with(gpt2(), func(m *arch.Model) { m.SwiGLU = true }), "swiglu is true"},
		{with(gpt2(), func(m *arch.Model) { m.LinearBias = false }), "add_bias_linear is false"},
		{with(gpt2(), func(m *arch.Model) { m.KVChannels = 6 }), "kv_channels is 6"},
		{with(gpt2(), func(m *arch.Model) { m.NumQueryGroups = 1 }), "num_query_groups is 1"},
		{with(llama(), func(m *arch.Model) { m.Normalization = arch.LayerNorm }), "normalization is LayerNorm"},
		{with(llama(), func(m *arch.Model) { m.SwiGLU = false }), "swiglu is false"},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		err := hf.Export(dir, c.m, c.m.Function(), random(c.m), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a folder was made all the same", c.want)
		}
	}
}

func TestImportNamesWhatItCannotRead(t *testing.T) {
	for _, c := range []struct {
		from         arch.Model
		old, new     string
		want         string
		removeConfig bool
	}{
		{gpt2(), `"gelu_new"`, `"relu"`, `activation_function is "relu"`, false},
		{gpt2(), `"scale_attn_weights": true`, `"scale_attn_weights": false`, "scale_attn_weights is false", false},
		{gpt2(), `"n_embd": 12`, `"n_embd": 15`, "has shape [29 12]: config.json asks for [29 15]", false},
		{gpt2(), `"n_layer": 2`, `"n_layer": 3`, "has no tensor", false},
		{gpt2(), `"model_type": "gpt2"`, `"model_type": "mamba"`, `model_type is "mamba"`, false},
		{llama(), `"rope_type": "default"`, `"rope_type": "yarn"`, `rope_type is "yarn"`, false},
		{llama(), `"silu"`, `"gelu"`, `hidden_act is "gelu"`, false},
		{llama(), `"num_key_value_heads": 2`, `"num_key_value_heads": 3`, "num_key_value_heads 3", false},
		{llama(), "", "", "config.json", true},
	} {
		dir := t.TempDir()
		if err := hf.Export(dir, c.from, c.from.Function(), random(c.from), nil); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "config.json")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(text), c.old, c.new, 1)
		if c.removeConfig {
			err = os.Remove(path)
		} else {
			if changed == string(text) {
				t.Fatalf("config.json has no %s", c.old)
			}
			err = os.WriteFile(path, []byte(changed), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if f, err := hf.Import(dir); err == nil {
			f.Close()
			t.Errorf("imported with %s", c.new)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}
