package model

import (
	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/rng"
	"cambium/src/tensor"
)

// Initialise has the device set dst, which holds the box [lo, hi) of parameter t of model m, to its initial values: normal
// numbers of standard deviation t.Std, gains 1, shifts 0, rows of the vocabulary's padding 0. A value depends on the seed, the
// tensor's name and its global index only, so every layout starts from the same model.
func Initialise(s backend.Stream, dst tensor.Tensor, m arch.Model, t arch.Tensor, seed uint64, lo, hi []int) {
	switch t.Role {
	case arch.Gain:
		s.Fill(dst, 1)
		return
	case arch.Shift:
		s.Fill(dst, 0)
		return
	}
	n := backend.Normal{X: dst, Key: rng.NewKey(seed, "init/"+t.Name), First: uint64(lo[0]), Std: float32(t.Std)}
	if len(lo) == 2 {
		n.Stride = uint64(t.Shape[1])
		n.First = n.First*n.Stride + uint64(lo[1])
	}
	s.FillNormal(n)
	if real := max(m.VocabSize, lo[0]); t.Axes[0] == arch.Vocab && real < hi[0] {
		s.Fill(dst.Slice(real-lo[0], hi[0]-lo[0]), 0)
	}
}

// Init sets all weights to their initial values and waits until they are there.
func (p *Params) Init(s backend.Stream, seed uint64) error {
	for _, h := range p.shards {
		Initialise(s, p.Weight(h.Name), p.layout.Model, h.Tensor, seed, h.Box.Lo, h.Box.Hi)
	}
	return s.Sync()
}
