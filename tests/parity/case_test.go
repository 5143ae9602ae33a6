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
	Rounding map[string]struct { // by element type: how far torch is off in it
		Losses    float64 `json:"losses"`
		Logits    float64 `json:"logits"`
		Gradients float64 `json:"gradients"`
	} `json:"rounding"`
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

// spread is where a case runs, and how ranks share it: tp of them its layers, and groups of these its sequences.
type spread struct {
	tp, dp   int
	sequence bool         // sequence parallelism
	dtype    tensor.DType // of weights and activations
	device   bool         // on the CUDA backend
}

func (w spread) String() string {
	text := fmt.Sprintf("tp %d dp %d sequence parallel %v, %v", w.tp, w.dp, w.sequence, w.dtype)
	if w.device {
		text += " on a device"
	}
	return text
}

// open makes what a rank computes with, and the communicator that reaches its memory.
func (w spread) open(all comm.Communicator) (backend.Backend, comm.Communicator, error) {
	if w.device {
		return openDevice(all)
	}
	return cpu.New(cpu.Options{Workers: 2}), all, nil
}

// world is one rank's model of a case, with its weights loaded.
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
	w = &world{c: c, batch: c.MicroBatch / g.DP}
	if w.b, w.comm, err = how.open(all); err != nil {
		return nil, err
	}
	w.s = w.b.NewStream("test")
	if w.tp, err = split(w.comm, g, grid.TP); err != nil {
		return nil, err
	}
	if w.dp, err = split(w.comm, g, grid.DP); err != nil {
		return nil, err
	}
	if w.p, err = model.NewParams(w.b, l, all.Rank(), model.ParamOptions{DType: how.dtype, Grads: !inference}); err != nil {
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
		part := make([]float32, h.Box.Volume())
		layout.Copy(tensor.HostBytes(part), h.Box, h.Box, tensor.HostBytes(whole), layout.Whole(h.Shape), h.Box, 4)
		if err := w.write(w.p.Weight(h.Name), part); err != nil {
			return nil, err
		}
	}
	n := w.m.Tokens()
	mem, err := w.b.Alloc("tokens", 8*n)
	if err != nil {
		return nil, err
	}
	w.tokens, w.targets = tensor.New(mem, 0, tensor.I32, n), tensor.New(mem, 4*n, tensor.I32, n)
	w.m.SetMask(c.Mask)
	return w, w.load(0)
}

// write converts values to what a tensor holds.
func (w *world) write(t tensor.Tensor, values []float32) error {
	mem, err := w.b.Alloc("values", t.Len()*4)
	if err != nil {
		return err
	}
	defer w.b.Free(mem)
	x := tensor.New(mem, 0, tensor.F32, t.Dims()...)
	w.s.Upload(x, tensor.HostBytes(values))
	w.s.Copy(t, x)
	return w.s.Sync()
}

// read is what a tensor holds, without gaps between rows.
func (w *world) read(t tensor.Tensor) ([]float32, error) {
	values := make([]float32, t.Len())
	mem, err := w.b.Alloc("values", t.Len()*4)
	if err != nil {
		return nil, err
	}
	defer w.b.Free(mem)
	x := tensor.New(mem, 0, tensor.F32, t.Dims()...)
	w.s.Copy(x, t)
	w.s.Download(tensor.HostBytes(values), x)
	return values, w.s.Sync()
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
func (w *world) load(step int) error {
	cols := w.c.SeqLength
	var tokens, targets []int32
	for i := range w.batch {
		at := (step*w.c.MicroBatch + w.dp.Rank()*w.batch + i) * (cols + 1)
		tokens = append(tokens, w.c.tokens[at:at+cols]...)
		targets = append(targets, w.c.tokens[at+1:at+1+cols]...)
	}
	w.s.Upload(w.tokens, tensor.HostBytes(tokens))
	w.s.Upload(w.targets, tensor.HostBytes(targets))
	return w.s.Sync()
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
