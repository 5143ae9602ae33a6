package growth

import (
	"strings"

	"cambium/src/arch"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/rng"
)

// initialSeed is the seed of the values that the n-th growth of a run adds: another for every growth, because a tensor
// keeps its name and new entries would otherwise repeat numbers that older ones were drawn from.
func initialSeed(seed uint64, n int) uint64 { return rng.NewKey(seed, "growth").Uint64(uint64(n)) }

// fresh fills dst, row-major, with what the new entries in box of parameter t start with. The box holds new entries only
// (layout.Uncovered). mean is asked for where the operator wants the mean of the old hidden dims: for the old index, along the
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
	back := backwards(p.State.Axes[t.Axes[other]], box.Lo[other], box.Hi[other])
	cols := box.Hi[1] - box.Lo[1]
	for i := range dst {
		at := i % cols
		if other == 0 {
			at = i / cols
		}
		if dst[i] = 0; back[at] >= 0 {
			dst[i] = mean(back[at])
		}
	}
}

// backwards gives the old index of each new one in [lo, hi), or -1.
func backwards(pieces []layout.Piece, lo, hi int) []int {
	out := make([]int, hi-lo)
	for i := range out {
		out[i] = -1
		for _, x := range pieces {
			if at := lo + i - x.New; at >= 0 && at < x.Len {
				out[i] = x.Old + at
			}
		}
	}
	return out
}

// hiddenMeans are the means of an old parameter over its hidden axis, summed in fp64: by row, by column, or one number.
func hiddenMeans(t arch.Tensor, values []float32) []float32 {
	if len(t.Axes) == 1 {
		return columnMeans(values, 1)
	}
	cols := t.Shape[1]
	if t.Axes[0] == arch.Hidden {
		return columnMeans(values, cols)
	}
	out := make([]float32, t.Shape[0])
	for i := range out {
		out[i] = columnMeans(values[i*cols:(i+1)*cols], 1)[0]
	}
	return out
}

func columnMeans(values []float32, cols int) []float32 {
	sums := make([]float64, cols)
	for i, v := range values {
		sums[i%cols] += float64(v)
	}
	out := make([]float32, cols)
	for j, s := range sums {
		out[j] = float32(s / float64(len(values)/cols))
	}
	return out
}

// oldTensor is the parameter of the smaller model that lives on in t.
func (p *Plan) oldTensor(t arch.Tensor) string {
	if t.Layer < 0 {
		return t.Name
	}
	return arch.LayerTensor(p.State.Layers[t.Layer], strings.TrimPrefix(t.Name, arch.LayerTensor(t.Layer, "")))
}
