package model

import (
	"runtime"
	"slices"
	"sync"

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
	fillNormal(dst, rng.NewKey(seed, "init/"+t.Name), t, lo, hi)
	if t.Axes[0] == arch.Vocab {
		width := 1
		for i := 1; i < len(t.Shape); i++ {
			width *= hi[i] - lo[i]
		}
		real := min(max(m.VocabSize-lo[0], 0), hi[0]-lo[0])
		fill(dst[real*width:], 0)
	}
}

// fillShare is the fewest numbers that a goroutine of fillNormal is started for: a millisecond's work.
const fillShare = 1 << 16

// fillNormal fills a box by all processors, each some rows of its first axis: a billion numbers take one of them 15 seconds.
func fillNormal(dst []float32, key rng.Key, t arch.Tensor, lo, hi []int) {
	rows := hi[0] - lo[0]
	workers := max(min(runtime.GOMAXPROCS(0), rows, len(dst)/fillShare), 1)
	var all sync.WaitGroup
	for i := range workers {
		from, to := rows*i/workers, rows*(i+1)/workers
		width := len(dst) / max(rows, 1)
		all.Go(func() {
			begin, end := slices.Clone(lo), slices.Clone(hi)
			begin[0], end[0] = lo[0]+from, lo[0]+to
			key.FillNormalBox(dst[from*width:to*width], t.Shape, begin, end, float32(t.Std))
		})
	}
	all.Wait()
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
