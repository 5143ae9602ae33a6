package optim

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/tensor"
)

// Params are the parameters that an Optimizer trains, as *model.Params gives them: one rank's share.
type Params interface {
	Shards() []model.Shard            // in the order of memory, by ascending group; gradients have zeros between them
	Weight(name string) tensor.Tensor // the shard's box: fp32, bf16 or fp16, contiguous
	Grad(name string) tensor.Tensor   // the shard's box: fp32, contiguous
	SequencePartial() []string        // parameters whose gradients are partial sums under sequence parallelism
}

// Optimizer is one rank's share of AdamW. It is used from one goroutine, with one stream at a time.
type Optimizer struct {
	config   Config
	parallel Parallel
	backend  backend.Backend
	params   Params
	shards   []shard                   // what this rank owns, in the order of the layout
	masters  bool                      // master weights have memory of their own
	owned    []map[string]layout.Shard // [dp rank] by name
	memory   *tensor.Memory
	step     int

	births      Births
	birthMemory *tensor.Memory // device copy of births; nil when nothing is young

	buckets  []*bucket // in the order in which a backward pass fills them
	groups   []progress
	passes   int // backward passes that Begin announced; 0: nothing is reduced before Step
	overshot error

	// What a step hands over, made once.
	tied, partial []tensor.Tensor // own gradient rows to sum over the embedding group, over tp
	squares       []tensor.Tensor // whose squares make the norm
	sumSquares    tensor.Tensor   // fp64 [1]
	sum           [8]byte
	norm          [1]float64
	updates       []backend.AdamW // memory for a list of them
	before, after backend.Event   // handshake with the communication stream
}

// shard is the box of one parameter that this rank owns.
type shard struct {
	t                  arch.Tensor // the global parameter
	box                layout.Box
	counted            bool          // in the gradient norm: this rank is the first that holds the box
	out                tensor.Tensor // the rows of the model's weight; absent when w is that
	w, g, m, v         tensor.Tensor
	birthRow, birthCol tensor.Tensor
}

// New makes the share of rank p.World.Rank(), with zero moments, in memory labelled "optimizer". The gradients in params must
// be sums over the rank's micro-batches; Step adds the ranks' together. Master weights of 16-bit weights are zero: see
// AdoptWeights and State.
func New(b backend.Backend, p Parallel, params Params, c Config) (*Optimizer, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("optim: %w", err)
	}
	g := p.GridLayout.Grid
	if p.World == nil || p.DP == nil || p.World.Size() != g.World() || p.DP.Size() != g.DP {
		return nil, fmt.Errorf("optim: the communicators are not those of a grid of %v", g)
	}
	if p.BucketSize <= 0 {
		p.BucketSize = DefaultBucketSize(g.DP)
	}
	if p.Stream == nil {
		p.OverlapGradReduce, p.OverlapParamGather = false, false
	}
	o := &Optimizer{config: c, parallel: p, backend: b, params: params, before: b.NewEvent(), after: b.NewEvent()}
	o.findOwners()
	if err := o.own(o.owned[p.DP.Rank()]); err != nil {
		return nil, fmt.Errorf("optim: %w", err)
	}
	o.fillBuckets()
	o.findReplicas()
	o.findSquares()
	var err error
	if o.memory, err = backend.Plan(b, "optimizer", o.plan); err != nil {
		return nil, fmt.Errorf("optim: state of %s: %w", g.Describe(p.World.Rank()), err)
	}
	return o, nil
}

// findOwners lists for every dp rank what it owns. All of them hold the same weights.
func (o *Optimizer) findOwners() {
	l := o.parallel.GridLayout
	for _, rank := range l.Grid.Group(grid.DP, o.parallel.World.Rank()) {
		mine := map[string]layout.Shard{}
		for _, s := range l.Local(rank) {
			mine[l.Tensors[s.Tensor].Name] = s
		}
		o.owned = append(o.owned, mine)
	}
}

// own makes this rank's shards, in the order of the parameter table.
func (o *Optimizer) own(mine map[string]layout.Shard) error {
	have := map[string]layout.Box{}
	for _, x := range o.params.Shards() {
		have[x.Name] = x.Box
		o.masters = o.params.Weight(x.Name).DType() != tensor.F32
	}
	for _, t := range o.parallel.GridLayout.Tensors {
		s, ok := mine[t.Name]
		if !ok {
			continue
		}
		box, ok := have[t.Name]
		w, g := o.params.Weight(t.Name), o.params.Grad(t.Name)
		switch {
		case !ok || !box.Contains(s.Box):
			return fmt.Errorf("the grid gives rank %d %v of parameter %s, of which it holds %v", s.Rank, s.Box, t.Name, box)
		case !g.Present():
			return fmt.Errorf("parameter %s has no gradient", t.Name)
		}
		x := shard{t: t, box: s.Box, counted: s.Replica == 0, w: rows(w, box, s.Box), g: rows(g, box, s.Box)}
		if o.masters {
			x.out, x.w = x.w, tensor.Tensor{}
		}
		o.shards = append(o.shards, x)
	}
	return nil
}

// rows is the part of a tensor that holds box have; part has some rows of it, whole.
func rows(x tensor.Tensor, have, part layout.Box) tensor.Tensor {
	return x.Slice(part.Lo[0]-have.Lo[0], part.Hi[0]-have.Lo[0])
}

// findReplicas lists the gradients that several ranks hold a part of the sum of.
func (o *Optimizer) findReplicas() {
	partial := map[string]bool{}
	if o.parallel.SequenceParallel && many(o.parallel.TP) {
		for _, name := range o.params.SequencePartial() {
			partial[name] = true
		}
	}
	l := o.parallel.GridLayout
	tied := !l.Model.UntieOutput && l.Grid.PP > 1 && many(o.parallel.Embedding)
	for i := range o.shards {
		x := &o.shards[i]
		if partial[x.t.Name] {
			o.partial = append(o.partial, x.g)
		}
		if tied && x.t.Name == arch.WordEmbeddings {
			o.tied = append(o.tied, x.g)
		}
	}
}

func (o *Optimizer) plan(a *backend.Arena) {
	o.sumSquares = a.Tensor(tensor.F64, 1)
	for i := range o.shards {
		s := &o.shards[i]
		s.m, s.v = a.Tensor(tensor.F32, s.g.Dims()...), a.Tensor(tensor.F32, s.g.Dims()...)
		if s.out.Present() {
			s.w = a.Tensor(tensor.F32, s.g.Dims()...)
		}
	}
}

// Steps is the number of steps that were taken, skipped ones not counted.
func (o *Optimizer) Steps() int { return o.step }

// Config is what New was given.
func (o *Optimizer) Config() Config { return o.config }

// Layout says which boxes the ranks own.
func (o *Optimizer) Layout() layout.Layout { return o.parallel.GridLayout }

// Close frees the memory. No operation that uses it may be in flight.
func (o *Optimizer) Close() {
	for _, m := range []*tensor.Memory{o.memory, o.birthMemory} {
		if m != nil {
			o.backend.Free(m)
		}
	}
	o.memory, o.birthMemory = nil, nil
}
