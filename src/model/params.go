package model

import (
	"fmt"
	"slices"
	"strings"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/layout"
	"cambium/src/tensor"
)

// groupAlign is the number of elements to which a parameter's start is aligned: a cache line, whatever the type.
const groupAlign = 32

// Params are one rank's parameters: one flat block of weights and, when asked for, one of fp32 gradients, with the shards in
// the order of their groups and, within a group, of arch.Tensors. Query, key and value lie side by side, as do gate and
// fc1, so that one GEMM serves them. Gaps of a few elements between other shards are zero in both blocks and stay zero.
type Params struct {
	backend        backend.Backend
	layout         layout.Layout
	rank           int
	dtype          tensor.DType // of the weights
	shards         []Shard
	at             map[string]int // name -> index into shards and offsets
	offsets        []int          // first element of each shard in its block
	length         int            // elements of a block, gaps included
	weights, grads *tensor.Memory // grads is nil without gradients
	gradBlock      *tensor.Memory // what grads shows; nil until it is allocated
	kept           [][2]int       // element ranges that a backward pass never overwrites: see RenewGrads
	renewed        []renewed      // by group
}

// ParamOptions say what NewParams allocates.
type ParamOptions struct {
	DType tensor.DType // of the weights, and so of the activations: fp32 (the zero value), bf16 or fp16
	Grads bool         // fp32 gradients beside the weights
	Later bool         // gradients have their places, and memory from AllocateGrads on
}

// NewParams allocates what a rank holds of a layout made by layout.Weights, all zero, in memory labelled "weights" and "gradients".
func NewParams(b backend.Backend, l layout.Layout, rank int, o ParamOptions) (*Params, error) {
	if o.DType != tensor.F32 && o.DType != tensor.BF16 && o.DType != tensor.F16 {
		return nil, fmt.Errorf("model: weights in %v: want fp32, bf16 or fp16", o.DType)
	}
	p := &Params{backend: b, layout: l, rank: rank, dtype: o.DType, at: map[string]int{}}
	p.place()
	if err := p.check(); err != nil {
		return nil, err
	}
	var err error
	if p.weights, err = b.Alloc("weights", p.length*o.DType.Size()); err != nil {
		return nil, fmt.Errorf("model: weights: %w", err)
	}
	if !o.Grads {
		return p, nil
	}
	p.grads = &tensor.Memory{Bytes: p.length * tensor.F32.Size()}
	if !o.Later {
		if err := p.AllocateGrads(); err != nil {
			b.Free(p.weights)
			return nil, err
		}
	}
	return p, nil
}

// AllocateGrads gives the gradients their memory, all zero, where ParamOptions.Later put it off; else it does nothing. Tensors
// that were taken before then show it.
func (p *Params) AllocateGrads() error {
	if p.grads == nil || p.gradBlock != nil {
		return nil
	}
	block, err := p.backend.Alloc("gradients", p.grads.Bytes)
	if err != nil {
		return fmt.Errorf("model: gradients: %w", err)
	}
	p.gradBlock, *p.grads = block, *block
	return nil
}

// place lists the shards and gives each its offset.
func (p *Params) place() {
	l, stage := p.layout, p.layout.Grid.Coord(p.rank).PP
	for _, s := range l.Local(p.rank) {
		t := l.Tensors[s.Tensor]
		p.shards = append(p.shards, Shard{Tensor: t, Box: s.Box, Group: groupOf(l, t, stage)})
	}
	slices.SortStableFunc(p.shards, func(a, b Shard) int { return a.Group - b.Group })
	for i, s := range p.shards {
		if !joinsPrevious(l.Model, s.Name) {
			p.length = (p.length + groupAlign - 1) / groupAlign * groupAlign
		}
		p.at[s.Name] = i
		p.offsets = append(p.offsets, p.length)
		p.length += s.LocalLen()
		if !overwrites(l, s) {
			p.keep(p.offsets[i], p.length)
		}
	}
	p.renewed = make([]renewed, l.Model.NumLayers+2)
}

// check refuses layouts that split parameters further than the layers do, as layout.Optimizer does over dp.
func (p *Params) check() error {
	for _, s := range p.shards {
		want := s.Len()
		if s.SplitAxis >= 0 {
			want /= p.layout.Grid.TP
		}
		if s.LocalLen() != want {
			return fmt.Errorf("model: rank %d is given %v of %s: want all that its layers need of it, as layout.Weights gives", p.rank, s.Box, s.Name)
		}
	}
	return nil
}

// joinsPrevious tells whether a tensor must start where the one before it ends, because one GEMM reads both.
func joinsPrevious(m arch.Model, name string) bool {
	return strings.Contains(name, ".attention.key.") || strings.Contains(name, ".attention.value.") ||
		m.SwiGLU && strings.Contains(name, ".mlp.fc1.")
}

// Layout is what NewParams was given, Rank whose part this is, DType the type of the weights.
func (p *Params) Layout() layout.Layout { return p.layout }

// Rank is the rank in the grid whose parameters these are.
func (p *Params) Rank() int { return p.rank }

// DType is the element type of the weights.
func (p *Params) DType() tensor.DType { return p.dtype }

// Shards is what the rank holds, in memory order. The caller must not change it.
func (p *Params) Shards() []Shard { return p.shards }

// Has tells whether the rank holds a part of the parameter of that name.
func (p *Params) Has(name string) bool { _, ok := p.at[name]; return ok }

// Weight is the rank's part of the parameter of that name, with the sides of its box; the zero Tensor when there is none.
func (p *Params) Weight(name string) tensor.Tensor { return p.one(p.weights, p.dtype, name) }

// Grad is the gradient of Weight, in fp32; the zero Tensor when there is none.
func (p *Params) Grad(name string) tensor.Tensor { return p.one(p.grads, tensor.F32, name) }

// FlatWeights is the whole block of weights as a vector, FlatGrads that of gradients; equal offsets belong together.
func (p *Params) FlatWeights() tensor.Tensor { return p.flat(p.weights, p.dtype) }

// FlatGrads is the whole block of gradients as a vector, absent without gradients.
func (p *Params) FlatGrads() tensor.Tensor { return p.flat(p.grads, tensor.F32) }

// SequencePartial lists the shards whose gradients, under sequence parallelism, are sums over the rank's own rows only, and so
// have to be added up over the tensor-parallel ranks: gains and shifts of the norms.
func (p *Params) SequencePartial() []string {
	var names []string
	for _, s := range p.shards {
		if strings.Contains(s.Name, "norm.") {
			names = append(names, s.Name)
		}
	}
	return names
}

// Close frees the memory. No operation that uses it may be in flight.
func (p *Params) Close() {
	for _, m := range []*tensor.Memory{p.weights, p.gradBlock} {
		if m != nil {
			p.backend.Free(m)
		}
	}
	p.weights, p.grads, p.gradBlock = nil, nil, nil
}

func (p *Params) flat(mem *tensor.Memory, d tensor.DType) tensor.Tensor {
	if mem == nil {
		return tensor.Tensor{}
	}
	return tensor.New(mem, 0, d, p.length)
}

func (p *Params) one(mem *tensor.Memory, d tensor.DType, name string) tensor.Tensor {
	i, ok := p.at[name]
	if !ok {
		return tensor.Tensor{}
	}
	return p.view(mem, d, name, p.shards[i].Box.Dims()...)
}

// view is a tensor of any shape that starts where the named shard does: joined shards are seen as one matrix or vector.
// Absent when the shard or the memory is.
func (p *Params) view(mem *tensor.Memory, d tensor.DType, name string, dims ...int) tensor.Tensor {
	i, ok := p.at[name]
	if !ok || mem == nil {
		return tensor.Tensor{}
	}
	return tensor.New(mem, p.offsets[i]*d.Size(), d, dims...)
}

// pair is a parameter and its gradient.
type pair struct{ w, g tensor.Tensor }

func (p *Params) pair(name string, dims ...int) pair {
	return pair{w: p.view(p.weights, p.dtype, name, dims...), g: p.view(p.grads, tensor.F32, name, dims...)}
}

// named is the pair of one whole shard.
func (p *Params) named(name string) pair { return pair{w: p.Weight(name), g: p.Grad(name)} }
