package growth

import (
	"cambium/src/arch"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/rng"
)

// initialSeed is the seed of the values that the n-th growth of a run adds: another for every growth, because a tensor
// keeps its name and new entries would otherwise repeat numbers that older ones were drawn from.
func initialSeed(seed uint64, n int) uint64 { return rng.NewKey(seed, "growth").Uint64(uint64(n)) }

// fresh fills dst, row-major, with what the new entries in box of parameter t start with. The box holds new entries only
// (layout.Uncovered). mean is asked for where the operator wants the mean of the old hidden dims: for the index, along the
// parameter's other axis, of an entry (0 for vectors).
func (p *Plan) fresh(dst []float32, t arch.Tensor, box layout.Box, seed uint64, mean func(other int) float32) {
	if p.Options.Operator == Zero && writes(t) {
		hidden := 0
		if t.Axes[0] != arch.Hidden {
			hidden = 1
		}
		switch {
		case p.isNewLayer(t):
			clear(dst) // nothing leaves a new layer
			return
		case box.Lo[hidden] >= p.From.HiddenSize && p.To.RMS():
			clear(dst) // new dims of the residual stream stay zero
			return
		case box.Lo[hidden] >= p.From.HiddenSize:
			p.means(dst, t, box, hidden, mean)
			return
		case t.Role == arch.Writer:
			clear(dst) // nothing leaves new FFN units and heads
			return
		}
	}
	model.InitialValues(dst, p.To, t, seed, box.Lo, box.Hi)
	if t.Role == arch.Gain {
		c := float32(p.newGain(t))
		for i := range dst {
			dst[i] *= c
		}
	}
}

// means fills new dims of the residual stream with the mean of the old ones, which LayerNorm takes away again. Where the
// other index is new as well there is nothing to take the mean of, and nothing may be written: 0.
func (p *Plan) means(dst []float32, t arch.Tensor, box layout.Box, hidden int, mean func(other int) float32) {
	if len(t.Axes) == 1 {
		for i := range dst {
			dst[i] = mean(0)
		}
		return
	}
	other := 1 - hidden
	old := kept(p.State.Axes[t.Axes[other]], box.Lo[other], box.Hi[other])
	cols := box.Hi[1] - box.Lo[1]
	for i := range dst {
		at := i % cols
		if other == 0 {
			at = i / cols
		}
		if dst[i] = 0; old[at] {
			dst[i] = mean(box.Lo[other] + at)
		}
	}
}

// kept tells of each new index in [lo, hi) whether an old one lives on in it.
func kept(pieces []layout.Piece, lo, hi int) []bool {
	out := make([]bool, hi-lo)
	for _, x := range pieces {
		for i := max(x.New, lo); i < min(x.New+x.Len, hi); i++ {
			out[i-lo] = true
		}
	}
	return out
}

// silent tells whether a parameter of a copied layer must start at zero all the same: under zero nothing leaves a new layer.
func (p *Plan) silent(t arch.Tensor) bool {
	return p.Options.Operator == Zero && p.isNewLayer(t) && writes(t)
}
