package growth

import (
	"cambium/src/arch"
	"cambium/src/layout"
	"cambium/src/rng"
)

// initialSeed is the seed of the values that the n-th growth of a run adds: another for every growth, because a tensor
// keeps its name and new entries would otherwise repeat numbers that older ones were drawn from.
func initialSeed(seed uint64, n int) uint64 { return rng.NewKey(seed, "growth").Uint64(uint64(n)) }

// start is what new entries begin with.
type start uint8

const (
	drawn   start = iota // as the entries of a new model, gains multiplied
	silence              // zeros
	level                // the mean of the old hidden dims
)

// start tells what the new entries in box of parameter t begin with, and which of its axes is the hidden one. The box holds new entries
// only (layout.Uncovered).
func (p *Plan) start(t arch.Tensor, box layout.Box) (s start, hidden int) {
	if p.Options.Operator != Zero || !writes(t) {
		return drawn, 0
	}
	if t.Axes[0] != arch.Hidden {
		hidden = 1
	}
	switch grown := box.Lo[hidden] >= p.From.HiddenSize; {
	case p.isNewLayer(t), // nothing leaves a new layer
		grown && p.To.RMS(),             // new dims of the residual stream stay zero
		!grown && t.Role == arch.Writer: // nothing leaves new FFN units and heads
		return silence, hidden
	case grown:
		return level, hidden
	}
	return drawn, hidden
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
