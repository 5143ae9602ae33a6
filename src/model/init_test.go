package model_test

import (
	"cambium/src/arch"
	"cambium/src/rng"
)

// initialValues fills dst with what model.Initialise has to set, of a whole parameter or of a box of it.
func initialValues(dst []float32, m arch.Model, t arch.Tensor, seed uint64, lo, hi []int) {
	switch t.Role {
	case arch.Gain:
		for i := range dst {
			dst[i] = 1
		}
		return
	case arch.Shift:
		clear(dst)
		return
	}
	rng.NewKey(seed, "init/"+t.Name).FillNormalBox(dst, t.Shape, lo, hi, float32(t.Std))
	if t.Axes[0] == arch.Vocab {
		clear(dst[min(max(m.VocabSize-lo[0], 0), hi[0]-lo[0])*len(dst)/(hi[0]-lo[0]):])
	}
}
