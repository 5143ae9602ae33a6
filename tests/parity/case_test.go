package parity

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/layout"
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
		LR          float64 `json:"lr"`
		Beta1       float64 `json:"beta1"`
		Beta2       float64 `json:"beta2"`
		Eps         float64 `json:"eps"`
		WeightDecay float64 `json:"weight_decay"`
		ClipGrad    float64 `json:"clip_grad"`
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

// world is one rank's model of a case on the CPU, with its weights loaded.
type world struct {
	c               *recorded
	b               backend.Backend
	s               backend.Stream
	p               *model.Params
	m               *model.Model
	rank            int // the sequences rank*MicroBatch and on are its own
	batch           int
	tokens, targets tensor.Tensor
}

// build makes rank of ranks, which share the sequences of a batch.
func (c *recorded) build(rank, ranks int, inference bool) (*world, error) {
	w := &world{c: c, b: cpu.New(cpu.Options{Workers: 2}), rank: rank, batch: c.MicroBatch / ranks}
	w.s = w.b.NewStream("test")
	var err error
	if w.p, err = model.NewParams(w.b, layout.Single(c.Model), 0, model.ParamOptions{Grads: !inference}); err != nil {
		return nil, err
	}
	w.m, err = model.New(w.b, c.Function, w.p, model.Parallel{}, model.Options{MicroBatch: w.batch, SeqLength: c.SeqLength, Inference: inference})
	if err != nil {
		return nil, err
	}
	for _, p := range w.p.Tensors() {
		v := c.floats["w/"+p.Name]
		if len(v) != p.Len() {
			return nil, fmt.Errorf("%s: %d values recorded, want %d", p.Name, len(v), p.Len())
		}
		copy(w.p.Weight(p.Name).F32(), v)
	}
	n := w.m.Tokens()
	mem, err := w.b.Alloc("tokens", 8*n)
	if err != nil {
		return nil, err
	}
	w.tokens, w.targets = tensor.New(mem, 0, tensor.I32, n), tensor.New(mem, 4*n, tensor.I32, n)
	w.m.SetMask(c.Mask)
	w.load(0)
	return w, nil
}

// alone is the only rank.
func (c *recorded) alone(t *testing.T, inference bool) *world {
	t.Helper()
	w, err := c.build(0, 1, inference)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.b.Close() })
	return w
}

// load fills in the tokens of a step.
func (w *world) load(step int) {
	cols := w.c.SeqLength
	for i := range w.batch {
		at := (step*w.c.MicroBatch + w.rank*w.batch + i) * (cols + 1)
		copy(w.tokens.I32()[i*cols:(i+1)*cols], w.c.tokens[at:])
		copy(w.targets.I32()[i*cols:(i+1)*cols], w.c.tokens[at+1:])
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
