package optim

import (
	"cambium/src/backend"
	"cambium/src/layout"
	"cambium/src/tensor"
)

// Measure is the memory in bytes that New allocates on a rank for its share of a layout made by layout.Optimizer: fp32 master
// weights, none for fp32 weights, and the two moments.
func Measure(l layout.Layout, rank int, weights tensor.DType) (masters, moments int) {
	one := backend.Measure(func(a *backend.Arena) {
		for _, s := range l.Local(rank) {
			a.Tensor(tensor.F32, s.Box.Dims()...)
		}
	})
	if weights != tensor.F32 {
		masters = one
	}
	return masters, 2*one + backend.Measure(func(a *backend.Arena) { a.Tensor(tensor.F64, 1) })
}
