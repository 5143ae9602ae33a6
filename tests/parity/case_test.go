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
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/grid"
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

// spread is how ranks share a case: tp of them its layers, and groups of these its sequences.
type spread struct {
	tp, dp   int
	sequence bool // sequence parallelism
}

func (w spread) String() string {
	return fmt.Sprintf("tp %d dp %d sequence parallel %v", w.tp, w.dp, w.sequence)
}

// world is one rank's model of a case on the CPU, with its weights loaded.
type world struct {
	c               *recorded
	b               backend.Backend
	s               backend.Stream
	p               *model.Params
	m               *model.Model
	comm, tp, dp    comm.Communicator
	batch           int
	tokens, targets tensor.Tensor
}

// build makes one rank.
func (c *recorded) build(all comm.Communicator, how spread, inference bool) (w *world, err error) {
	g, err := grid.New(all.Size(), how.tp, 1)
	if err != nil {
		return nil, err
	}
	l, err := layout.Weights(c.Model, g)
	if err != nil {
		return nil, err
	}
	w = &world{c: c, b: cpu.New(cpu.Options{Workers: 2}), batch: c.MicroBatch / g.DP, comm: all}
	w.s = w.b.NewStream("test")
	if w.tp, err = split(all, g, grid.TP); err != nil {
		return nil, err
	}
	if w.dp, err = split(all, g, grid.DP); err != nil {
		return nil, err
	}
	if w.p, err = model.NewParams(w.b, l, all.Rank(), model.ParamOptions{Grads: !inference}); err != nil {
		return nil, err
	}
	w.m, err = model.New(w.b, c.Function, w.p, model.Parallel{TP: w.tp, SequenceParallel: how.sequence},
		model.Options{MicroBatch: w.batch, SeqLength: c.SeqLength, Inference: inference})
	if err != nil {
		return nil, err
	}
	for _, h := range w.p.Shards() {
		whole := make([]float32, h.Len()) // a vocabulary that is padded to more rows than recorded has zeros there
		if n := copy(whole, c.floats["w/"+h.Name]); n == 0 || n != len(c.floats["w/"+h.Name]) {
			return nil, fmt.Errorf("%s: %d values recorded, want %d", h.Name, n, h.Len())
		}
		layout.Copy(tensor.HostBytes(w.p.Weight(h.Name).F32()), h.Box, h.Box, tensor.HostBytes(whole), layout.Whole(h.Shape), h.Box, 4)
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

func split(all comm.Communicator, g grid.Grid, d grid.Dim) (comm.Communicator, error) {
	color, key := g.Split(d, all.Rank())
	return all.Split(d.String(), color, key)
}

// run calls f on every rank.
func (c *recorded) run(how spread, inference bool, f func(*world) error) error {
	return local.NewWorld(how.tp * how.dp).Run(func(all comm.Communicator) error {
		w, err := c.build(all, how, inference)
		if err != nil {
			return err
		}
		defer w.b.Close()
		return f(w)
	})
}

// load fills in the tokens of a step.
func (w *world) load(step int) {
	cols := w.c.SeqLength
	for i := range w.batch {
		at := (step*w.c.MicroBatch + w.dp.Rank()*w.batch + i) * (cols + 1)
		copy(w.tokens.I32()[i*cols:(i+1)*cols], w.c.tokens[at:])
		copy(w.targets.I32()[i*cols:(i+1)*cols], w.c.tokens[at+1:])
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
