package optim

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/tensor"
)

// Config holds what stays the same over a run. The names of the flags are --adam-beta1, --adam-beta2, --adam-eps,
// --weight-decay and --clip-grad.
type Config struct {
	Beta1, Beta2 float64
	Eps          float64
	WeightDecay  float64 // decoupled; muP's factor comes on top (arch.Tensor.DecayMult)
	ClipGrad     float64 // largest global gradient norm; 0: no clipping
}

// Check tells in one sentence what is impossible.
func (c Config) Check() error {
	switch {
	case !(c.Beta1 >= 0 && c.Beta1 < 1):
		return fmt.Errorf("adam_beta1 %g: want at least 0 and less than 1", c.Beta1)
	case !(c.Beta2 >= 0 && c.Beta2 < 1):
		return fmt.Errorf("adam_beta2 %g: want at least 0 and less than 1", c.Beta2)
	case !(c.Eps > 0):
		return fmt.Errorf("adam_eps %g: want a positive number", c.Eps)
	case !(c.WeightDecay >= 0):
		return fmt.Errorf("weight_decay %g: want at least 0", c.WeightDecay)
	case !(c.ClipGrad >= 0):
		return fmt.Errorf("clip_grad %g: want a positive number, or 0 for no clipping", c.ClipGrad)
	}
	return nil
}

// Params are the parameters that an Optimizer trains, as *model.Params gives them.
type Params interface {
	Tensors() []arch.Tensor
	Weight(name string) tensor.Tensor // fp32, contiguous
	Grad(name string) tensor.Tensor   // fp32, contiguous
}

// Optimizer is one rank's share of AdamW. It is used from one stream at a time.
type Optimizer struct {
	config  Config
	backend backend.Backend
	dp      comm.Communicator
	params  Params
	shards  []shard // own rows of every parameter that has any on this rank
	memory  *tensor.Memory
	step    int

	births      Births
	birthMemory *tensor.Memory // device copy of births; nil when nothing is young

	// What a step hands over, made once.
	gradsOut   [][]tensor.Tensor // [rank] gradient rows of its owner
	weightsIn  [][]tensor.Tensor // [rank] weight rows of their owner
	own        int               // index of this rank
	sumSquares tensor.Tensor     // fp64 [1]
	sum        [8]byte
	norm       [1]float64
}

// shard is the rows of one parameter that this rank owns.
type shard struct {
	t                  arch.Tensor
	lo, hi             int // rows, the first dimension; elements of a vector
	w, g, m, v         tensor.Tensor
	birthRow, birthCol tensor.Tensor
}

// New makes the share of rank dp.Rank(), with zero moments, in memory labelled "optimizer". The gradients in params must
// be sums over the rank's micro-batches; Step adds the ranks' together.
func New(b backend.Backend, dp comm.Communicator, params Params, c Config) (*Optimizer, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("optim: %w", err)
	}
	o := &Optimizer{config: c, backend: b, dp: dp, params: params, own: dp.Rank()}
	o.gradsOut, o.weightsIn = make([][]tensor.Tensor, dp.Size()), make([][]tensor.Tensor, dp.Size())
	for _, t := range params.Tensors() {
		w, g := params.Weight(t.Name), params.Grad(t.Name)
		if !g.Present() {
			return nil, fmt.Errorf("optim: parameter %s has no gradient", t.Name)
		}
		for r := range dp.Size() {
			lo, hi := Rows(t, r, dp.Size())
			if lo == hi {
				continue
			}
			o.gradsOut[r] = append(o.gradsOut[r], g.Slice(lo, hi))
			o.weightsIn[r] = append(o.weightsIn[r], w.Slice(lo, hi))
			if r == o.own {
				o.shards = append(o.shards, shard{t: t, lo: lo, hi: hi, w: w.Slice(lo, hi), g: g.Slice(lo, hi)})
			}
		}
	}
	var err error
	if o.memory, err = backend.Plan(b, "optimizer", o.plan); err != nil {
		return nil, fmt.Errorf("optim: moments of rank %d of %d: %w", dp.Rank(), dp.Size(), err)
	}
	return o, nil
}

func (o *Optimizer) plan(a *backend.Arena) {
	o.sumSquares = a.Tensor(tensor.F64, 1)
	for i := range o.shards {
		s := &o.shards[i]
		s.m, s.v = a.Tensor(tensor.F32, s.w.Dims()...), a.Tensor(tensor.F32, s.w.Dims()...)
	}
}

// Rows is the range of rows of a parameter that a rank owns: as equal as whole rows allow. A vector's rows are its
// elements.
func Rows(t arch.Tensor, rank, ranks int) (lo, hi int) {
	n := t.Shape[0]
	return n * rank / ranks, n * (rank + 1) / ranks
}

// Steps is the number of steps that were taken, skipped ones not counted.
func (o *Optimizer) Steps() int { return o.step }

// Config is what New was given.
func (o *Optimizer) Config() Config { return o.config }

// Close frees the memory. No operation that uses it may be in flight.
func (o *Optimizer) Close() {
	for _, m := range []*tensor.Memory{o.memory, o.birthMemory} {
		if m != nil {
			o.backend.Free(m)
		}
	}
	o.memory, o.birthMemory = nil, nil
}
