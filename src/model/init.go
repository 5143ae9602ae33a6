package model

import (
	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/rng"
	"cambium/src/tensor"
)

// InitialValues fills dst, row-major, with the initial values of the box [lo, hi) of parameter t of model m: normal
// numbers of standard deviation t.Std, gains 1, shifts 0, rows of the vocabulary's padding 0. A value depends on the
// seed, the tensor's name and its global index only, so every layout starts from the same model.
func InitialValues(dst []float32, m arch.Model, t arch.Tensor, seed uint64, lo, hi []int) {
	switch t.Role {
	case arch.Gain:
		fill(dst, 1)
		return
	case arch.Shift:
		fill(dst, 0)
		return
	}
	rng.NewKey(seed, "init/"+t.Name).FillNormalBox(dst, t.Shape, lo, hi, float32(t.Std))
	if t.Axes[0] == arch.Vocab {
		width := 1
		for i := 1; i < len(t.Shape); i++ {
			width *= hi[i] - lo[i]
		}
		real := min(max(m.VocabSize-lo[0], 0), hi[0]-lo[0])
		fill(dst[real*width:], 0)
	}
}

// Init sets all weights to their initial values and waits until they are on the device. They are rounded to the weights'
// type there, through a buffer of the largest shard.
func (p *Params) Init(s backend.Stream, seed uint64) error {
	longest := 0
	for _, h := range p.shards {
		longest = max(longest, h.LocalLen())
	}
	staging, err := p.backend.Alloc("staging", longest*tensor.F32.Size())
	if err != nil {
		return err
	}
	defer p.backend.Free(staging)
	buf := make([]float32, longest)
	for _, h := range p.shards {
		v, w := buf[:h.LocalLen()], p.Weight(h.Name)
		InitialValues(v, p.layout.Model, h.Tensor, seed, h.Box.Lo, h.Box.Hi)
		on := tensor.New(staging, 0, tensor.F32, w.Dims()...)
		s.Upload(on, tensor.HostBytes(v))
		s.Copy(w, on)
		if err := s.Sync(); err != nil { // buf is used again
			return err
		}
	}
	return nil
}

func fill(dst []float32, v float32) {
	for i := range dst {
		dst[i] = v
	}
}
