package model

import (
	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/layout"
	"cambium/src/tensor"
)

// Footprint is the memory of a rank in bytes, as NewParams and New allocate it.
type Footprint struct{ Weights, Gradients, Activations int }

// Measure is what NewParams and New would allocate on one rank of a layout: the same code plans, over no memory. So a run of
// any size can be looked at on any machine. The ranks of a tensor-parallel group need the same.
func Measure(l layout.Layout, rank int, f arch.Function, sequenceParallel bool, po ParamOptions, o Options) (Footprint, error) {
	p := &Params{layout: l, rank: rank, dtype: po.DType, at: map[string]int{}}
	p.place()
	out := Footprint{Weights: p.length * po.DType.Size()}
	p.weights = &tensor.Memory{Bytes: out.Weights}
	if po.Grads {
		out.Gradients = p.length * tensor.F32.Size()
		p.grads = &tensor.Memory{Bytes: out.Gradients}
	}
	tp := l.Grid.TP
	x, err := assemble(f, p, &shares{size: tp, rank: l.Grid.Coord(rank).TP, sequence: sequenceParallel && tp > 1}, o)
	if err != nil {
		return Footprint{}, err
	}
	out.Activations = backend.Measure(x.plan)
	return out, nil
}
