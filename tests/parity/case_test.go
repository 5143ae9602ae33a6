package parity

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/model"
	"cambium/src/safetensors"
	"cambium/src/tensor"
)

// recorded is a case of record.py.
type recorded struct {
	Model      arch.Model    `json:"model"`
	Function   arch.Function `json:"function"`
	Mask       arch.Mask     `json:"mask"`
	MicroBatch int           `json:"micro_batch"`
	SeqLength  int           `json:"seq_length"`
	AdamW      struct {
		LR          float32 `json:"lr"`
		Beta1       float32 `json:"beta1"`
		Beta2       float32 `json:"beta2"`
		Eps         float32 `json:"eps"`
		WeightDecay float32 `json:"weight_decay"`
	} `json:"adamw"`
	floats map[string][]float32
	tokens []int32
}

func load(t *testing.T, name string) *recorded {
	t.Helper()
	c := &recorded{floats: map[string][]float32{}}
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err == nil {
		err = json.Unmarshal(raw, c)
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(filepath.Join("testdata", name+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, n := range f.Names() {
		info, _ := f.Info(n)
		v := make([]float32, info.Len())
		if err := f.ReadF32(n, v); err != nil {
			t.Fatal(err)
		}
		c.floats[n] = v
	}
	for _, id := range c.floats["tokens"] {
		c.tokens = append(c.tokens, int32(id))
	}
	return c
}

// world is a model of a case on the CPU, with its weights loaded.
type world struct {
	c               *recorded
	b               backend.Backend
	s               backend.Stream
	p               *model.Params
	m               *model.Model
	tokens, targets tensor.Tensor
}

func (c *recorded) build(t *testing.T, o cpu.Options, inference bool) *world {
	t.Helper()
	b := cpu.New(o)
	t.Cleanup(func() { b.Close() })
	w := &world{c: c, b: b, s: b.NewStream("test")}
	var err error
	if w.p, err = model.NewParams(b, c.Model, !inference); err != nil {
		t.Fatal(err)
	}
	w.m, err = model.New(b, c.Model, c.Function, w.p, model.Options{MicroBatch: c.MicroBatch, SeqLength: c.SeqLength, Inference: inference})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range w.p.Tensors() {
		v := c.floats["w/"+p.Name]
		if len(v) != p.Len() {
			t.Fatalf("%s: %d values recorded, want %d", p.Name, len(v), p.Len())
		}
		copy(w.p.Weight(p.Name).F32(), v)
	}
	n := c.MicroBatch * c.SeqLength
	mem, err := b.Alloc("tokens", 8*n)
	if err != nil {
		t.Fatal(err)
	}
	w.tokens, w.targets = tensor.New(mem, 0, tensor.I32, n), tensor.New(mem, 4*n, tensor.I32, n)
	w.m.SetMask(c.Mask)
	w.batch(0)
	return w
}

func (w *world) zeros(t *testing.T, rows, cols int) tensor.Tensor {
	t.Helper()
	mem, err := w.b.Alloc("test", 4*rows*cols)
	if err != nil {
		t.Fatal(err)
	}
	return tensor.New(mem, 0, tensor.F32, rows, cols)
}

// batch loads the tokens of a step.
func (w *world) batch(step int) {
	rows, cols := w.c.MicroBatch, w.c.SeqLength
	for b := range rows {
		at := (step*rows + b) * (cols + 1)
		copy(w.tokens.I32()[b*cols:(b+1)*cols], w.c.tokens[at:])
		copy(w.targets.I32()[b*cols:(b+1)*cols], w.c.tokens[at+1:])
	}
}

func (w *world) sync(t *testing.T) {
	t.Helper()
	if err := w.s.Sync(); err != nil {
		t.Fatal(err)
	}
}

// difference is max |a - b| / max(max |b|, floor).
func difference(a, b []float32, floor float64) float64 {
	d, m := 0.0, floor
	for i := range b {
		d = max(d, math.Abs(float64(a[i])-float64(b[i])))
		m = max(m, math.Abs(float64(b[i])))
	}
	if len(a) != len(b) || math.IsNaN(d) {
		return math.Inf(1)
	}
	return d / m
}
