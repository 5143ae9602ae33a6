package model

import (
	"math"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// ramp is a growth mask in the form in which the parts of a model use it. It keeps no memory of the caller's.
type ramp struct {
	d               *dims
	active, changed bool // changed: the device's vectors are out of date
	v, logitScale   float32
	norm            backend.NormMask
	oldFFN          int // units of the rank that are old
	anyFFN, anyHead bool
	newHead, isNew  []bool        // by head of the rank, by layer of the model
	ffn, heads      tensor.Tensor // [F], [H] of the rank: 1 for the old, V for the new
}

func (r *ramp) plan(a *backend.Arena, d *dims, layers int) {
	r.d, r.logitScale = d, d.logitScale
	r.newHead, r.isNew = make([]bool, d.heads), make([]bool, layers)
	r.ffn, r.heads = a.Tensor(tensor.F32, d.ffn), a.Tensor(tensor.F32, d.heads)
}

// set takes over a mask, which counts heads and FFN units of the whole model. The norms' divisor is the hidden size (folded gains), or S for MSG's statistics.
func (r *ramp) set(k arch.Mask) {
	*r = ramp{d: r.d, newHead: r.newHead, isNew: r.isNew, ffn: r.ffn, heads: r.heads, logitScale: r.d.logitScale}
	clear(r.newHead)
	clear(r.isNew)
	if !k.Active() {
		return
	}
	r.active, r.changed, r.v = true, true, float32(k.V)
	if k.OldHidden > 0 {
		divisor := float64(r.d.hidden)
		if k.MSGStatistics {
			divisor = float64(k.OldHidden) + k.V*float64(r.d.hidden-k.OldHidden)
		}
		r.norm = backend.NormMask{Old: k.OldHidden, V: r.v, Divisor: float32(divisor)}
	}
	r.anyFFN, r.oldFFN = k.OldFFN > 0, min(max(k.OldFFN-r.d.ffnStart, 0), r.d.ffn)
	for _, h := range k.NewHeads {
		if h -= r.d.headStart; h >= 0 && h < r.d.heads {
			r.newHead[h], r.anyHead = true, true
		}
	}
	for _, l := range k.NewLayers {
		r.isNew[l] = true
	}
	if k.LogitScale0 != 0 {
		r.logitScale = float32(k.LogitScale0 + (float64(r.d.logitScale)-k.LogitScale0)*k.V)
	}
}

// refresh brings the device's vectors up to date, in stream order.
func (r *ramp) refresh(s backend.Stream) {
	if !r.changed {
		return
	}
	r.changed = false
	if r.anyFFN {
		s.Fill(r.ffn.Slice(0, r.oldFFN), 1)
		s.Fill(r.ffn.Slice(r.oldFFN, r.d.ffn), r.v)
	}
	if r.anyHead {
		s.Fill(r.heads, 1)
		for h, is := range r.newHead {
			if is {
				s.Fill(r.heads.Slice(h, h+1), r.v)
			}
		}
	}
}

// branch is the factor of a layer's two branches: V in a new layer, else 1. A probe at V = 0 gets the smallest number that
// is not 0, because 0 means 1 to the operations: it adds nothing to a residual stream.
func (r *ramp) branch(layer int) float32 {
	if r.active && r.isNew[layer] {
		return max(r.v, math.SmallestNonzeroFloat32)
	}
	return 1
}

// ffnMask is the vector for backend.ScaleColumns in a layer, or absent.
func (r *ramp) ffnMask(layer int) tensor.Tensor {
	if r.active && r.anyFFN && !r.isNew[layer] {
		return r.ffn
	}
	return tensor.Tensor{}
}

// headMask is the vector for Attention.HeadScale in a layer, or absent.
func (r *ramp) headMask(layer int) tensor.Tensor {
	if r.active && r.anyHead && !r.isNew[layer] {
		return r.heads
	}
	return tensor.Tensor{}
}
