package parity

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend/cpu"
	"cambium/src/hf"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/rng"
	"cambium/src/tensor"
)

// python is an interpreter with torch and transformers: CAMBIUM_TRANSFORMERS_PYTHON=.venv/bin/python go test ./tests/parity.
const python = "CAMBIUM_TRANSFORMERS_PYTHON"

// run starts transformers_check.py.
func run(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(os.Getenv(python), append([]string{"transformers_check.py"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("transformers_check.py %v: %v\n%s", args, err, out)
	}
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestTransformersAgrees runs exported folders in Hugging Face's transformers, and folders of its own in ours.
func TestTransformersAgrees(t *testing.T) {
	if os.Getenv(python) == "" {
		t.Skip(python + " names no interpreter")
	}
	for _, name := range []string{"gpt2", "llama", "gpt2 with muP", "llama with biases, tied"} {
		t.Run("export "+name, func(t *testing.T) { exportAgrees(t, exportable(name)) })
	}
	dir := t.TempDir()
	run(t, "make", dir)
	for _, name := range []string{"gpt2", "llama"} {
		t.Run("import "+name, func(t *testing.T) { importAgrees(t, filepath.Join(dir, name)) })
	}
}

func exportable(name string) arch.Model {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize, m.FFNHiddenSize, m.InitStd = 3, 48, 6, 101, 100, 0.2
	switch name {
	case "gpt2 with muP":
		m.MupBaseWidth, m.InputMult, m.OutputMult, m.NormEpsilon = 16, 1.7, 2, 3e-4
	case "llama", "llama with biases, tied":
		m.NumQueryGroups, m.KVChannels, m.Position, m.RotaryBase = 2, 10, arch.PositionRope, 500
		m.Normalization, m.SwiGLU = arch.RMSNorm, true
		m.LinearBias, m.UntieOutput = name != "llama", name == "llama"
	}
	return m.Complete(12)
}

func exportAgrees(t *testing.T, m arch.Model) {
	get := func(name string) ([]float32, error) {
		for _, p := range m.Tensors() {
			if p.Name == name {
				v := make([]float32, p.Len())
				std := p.Std
				if len(p.Shape) == 1 {
					std = 0.5
				}
				rng.NewKey(4, name).FillNormal(v, 0, float32(std))
				return v, nil
			}
		}
		return nil, os.ErrNotExist
	}
	dir := t.TempDir()
	if err := hf.Export(dir, m, m.Function(), get, nil); err != nil {
		t.Fatal(err)
	}
	tokens := make([][]int32, 2)
	for i := range tokens {
		for j := range 12 {
			tokens[i] = append(tokens[i], int32(rng.NewKey(5, "tokens").Below(uint64(12*i+j), uint64(m.VocabSize))))
		}
	}
	writeJSON(t, filepath.Join(dir, "tokens.json"), tokens)
	run(t, "logits", dir)
	var theirs []float32
	readJSON(t, filepath.Join(dir, "logits.json"), &theirs)
	report(t, "logits", difference(logitsOf(t, m, m.Function(), get, tokens), theirs, 0), 1e-4)
}

func importAgrees(t *testing.T, dir string) {
	f, err := hf.Import(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var tokens [][]int32
	var theirs []float32
	readJSON(t, filepath.Join(dir, "tokens.json"), &tokens)
	readJSON(t, filepath.Join(dir, "logits.json"), &theirs)
	report(t, "logits", difference(logitsOf(t, f.Model, f.Function, f.Get, tokens), theirs, 0), 1e-4)
}

// logitsOf runs our model.
func logitsOf(t *testing.T, m arch.Model, f arch.Function, get func(string) ([]float32, error), tokens [][]int32) []float32 {
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
		copy(p.Weight(x.Name).F32(), v)
	}
	x, err := model.New(b, f, p, model.Parallel{}, model.Options{MicroBatch: len(tokens), SeqLength: len(tokens[0]), Inference: true})
	if err != nil {
		t.Fatal(err)
	}
	mem, err := b.Alloc("tokens", 4*x.Tokens())
	if err != nil {
		t.Fatal(err)
	}
	in := tensor.New(mem, 0, tensor.I32, x.Tokens())
	for i, row := range tokens {
		copy(in.I32()[i*len(row):], row)
	}
	x.Forward(s, in, tensor.Tensor{})
	z := x.Logits(s, 0, x.Tokens())
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	var out []float32
	for i := range x.Tokens() {
		out = append(out, z.Slice(i, i+1).Columns(0, m.VocabSize).F32()...)
	}
	return out
}
