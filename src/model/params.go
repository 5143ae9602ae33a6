package model

import (
	"fmt"
	"strings"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// groupAlign is the number of fp32 elements to which a parameter's start is aligned: 64 bytes, a cache line.
const groupAlign = 16

// Params are one rank's parameters: one flat fp32 block of weights and, when asked for, one of gradients, with the
// tensors in the order of arch.Tensors. Query, key and value lie side by side, as do gate and fc1, so that one GEMM
// serves them. Gaps of a few elements between other tensors are zero in both blocks and stay zero.
type Params struct {
	backend        backend.Backend
	model          arch.Model
	tensors        []arch.Tensor
	at             map[string]int // name -> index into tensors and offsets
	offsets        []int          // first element of each tensor in its block
	length         int            // elements of a block, gaps included
	weights, grads *tensor.Memory // grads is nil without gradients
	kept           [][2]int       // element ranges that a backward pass never overwrites: see RenewGrads
	renewed        bool           // the next backward pass overwrites the matrices' gradients
}

// NewParams allocates the parameters of m, all zero, in memory labelled "weights" and "gradients".
func NewParams(b backend.Backend, m arch.Model, grads bool) (*Params, error) {
	p := &Params{backend: b, model: m, tensors: m.Tensors(), at: map[string]int{}}
	for i, t := range p.tensors {
		if !joinsPrevious(m, t.Name) {
			p.length = (p.length + groupAlign - 1) / groupAlign * groupAlign
		}
		p.at[t.Name] = i
		p.offsets = append(p.offsets, p.length)
		p.length += t.Len()
		if !overwrites(m, t) {
			p.keep(p.offsets[i], p.length)
		}
	}
	var err error
	bytes := p.length * tensor.F32.Size()
	if p.weights, err = b.Alloc("weights", bytes); err != nil {
		return nil, fmt.Errorf("model: weights: %w", err)
	}
	if !grads {
		return p, nil
	}
	if p.grads, err = b.Alloc("gradients", bytes); err != nil {
		b.Free(p.weights)
		return nil, fmt.Errorf("model: gradients: %w", err)
	}
	return p, nil
}

// joinsPrevious tells whether a tensor must start where the one before it ends, because one GEMM reads both.
func joinsPrevious(m arch.Model, name string) bool {
	return strings.Contains(name, ".attention.key.") || strings.Contains(name, ".attention.value.") ||
		m.SwiGLU && strings.Contains(name, ".mlp.fc1.")
}

// Tensors is the parameter table, in memory order. The caller must not change it.
func (p *Params) Tensors() []arch.Tensor { return p.tensors }

// Has tells whether a parameter of that name exists.
func (p *Params) Has(name string) bool { _, ok := p.at[name]; return ok }

// Weight is the parameter of that name, with its shape; the zero Tensor when there is none.
func (p *Params) Weight(name string) tensor.Tensor { return p.one(p.weights, name) }

// Grad is the gradient of the parameter of that name; the zero Tensor when there is none.
func (p *Params) Grad(name string) tensor.Tensor { return p.one(p.grads, name) }

// FlatWeights is the whole block of weights as a vector, FlatGrads that of gradients; equal offsets belong together.
func (p *Params) FlatWeights() tensor.Tensor { return p.flat(p.weights) }

// FlatGrads is the whole block of gradients as a vector, absent without gradients.
func (p *Params) FlatGrads() tensor.Tensor { return p.flat(p.grads) }

// ZeroGrads sets all gradients to zero.
func (p *Params) ZeroGrads(s backend.Stream) {
	if p.renewed = false; p.grads != nil {
		s.Fill(p.FlatGrads(), 0)
	}
}

// RenewGrads is ZeroGrads for when a ForwardBackward follows, and saves a pass over the memory: it fills vectors only, and lets that
// pass overwrite the gradients of matrices instead of adding to them. Until then those are stale.
func (p *Params) RenewGrads(s backend.Stream) {
	if p.renewed = true; p.grads != nil {
		g := p.FlatGrads()
		for _, k := range p.kept {
			s.Fill(g.Slice(k[0], k[1]), 0)
		}
	}
}

// overwrites tells whether a parameter's gradient comes out of one GEMM that may overwrite: a block's matrix, or the
// table of the output layer. A table that embeds tokens only gets the rows of the tokens that occur.
func overwrites(m arch.Model, t arch.Tensor) bool {
	switch {
	case t.Role == arch.Reader || t.Role == arch.Writer:
		return true
	case m.UntieOutput:
		return t.Name == arch.OutputWeight
	}
	return t.Name == arch.WordEmbeddings
}

// keep adds elements [lo, hi) to the ranges that RenewGrads fills, together with the gap since the last one.
func (p *Params) keep(lo, hi int) {
	if n := len(p.kept); n > 0 && lo-p.kept[n-1][1] < groupAlign {
		p.kept[n-1][1] = hi
		return
	}
	p.kept = append(p.kept, [2]int{lo, hi})
}

// takeRenewed tells whether this backward pass is the one that overwrites.
func (p *Params) takeRenewed() bool {
	is := p.renewed
	p.renewed = false
	return is
}

// Close frees the memory. No operation that uses it may be in flight.
func (p *Params) Close() {
	for _, m := range []*tensor.Memory{p.weights, p.grads} {
		if m != nil {
			p.backend.Free(m)
		}
	}
	p.weights, p.grads = nil, nil
}

func (p *Params) flat(mem *tensor.Memory) tensor.Tensor {
	if mem == nil {
		return tensor.Tensor{}
	}
	return tensor.New(mem, 0, tensor.F32, p.length)
}

func (p *Params) one(mem *tensor.Memory, name string) tensor.Tensor {
	i, ok := p.at[name]
	if !ok {
		return tensor.Tensor{}
	}
	return p.view(mem, name, p.tensors[i].Shape...)
}

// view is a tensor of any shape that starts where the named parameter does: joined parameters are seen as one matrix
// or vector. Absent when the parameter or the memory is.
func (p *Params) view(mem *tensor.Memory, name string, dims ...int) tensor.Tensor {
	i, ok := p.at[name]
	if !ok || mem == nil {
		return tensor.Tensor{}
	}
	return tensor.New(mem, p.offsets[i]*tensor.F32.Size(), tensor.F32, dims...)
}

// pair is a parameter and its gradient.
type pair struct{ w, g tensor.Tensor }

func (p *Params) pair(name string, dims ...int) pair {
	return pair{w: p.view(p.weights, name, dims...), g: p.view(p.grads, name, dims...)}
}

// named is the pair of one whole parameter.
func (p *Params) named(name string) pair { return pair{w: p.Weight(name), g: p.Grad(name)} }
