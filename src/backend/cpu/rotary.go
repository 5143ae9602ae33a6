package cpu

import (
	"fmt"

	"cambium/src/backend"
)

// Rotary turns the pairs of every head by the angle of the token's position.
func (s *stream) Rotary(a backend.Rotary) {
	const name = "rotary"
	mustBeStored(name, a.X)
	mustBeF32(name, a.Cos, a.Sin)
	half := a.HeadDim / 2
	if half < 1 || a.HeadDim%2 != 0 || a.X.Cols()%a.HeadDim != 0 || a.SeqLen < 1 {
		panic(fmt.Sprintf("cpu: %s: heads of %d in %v, sequences of %d tokens", name, a.HeadDim, a.X, a.SeqLen))
	}
	if a.Cos.Cols() != half || a.Sin.Cols() != half || a.Cos.Rows() < a.SeqLen || a.Sin.Rows() < a.SeqLen {
		panic(fmt.Sprintf("cpu: %s: tables %v and %v for heads of %d and %d positions", name, a.Cos, a.Sin, a.HeadDim, a.SeqLen))
	}
	t := s.begin(name, runRotary)
	t.rotary = a
	s.commit()
}

func runRotary(w *worker, t *task) {
	a, k := &t.rotary, w.kernels()
	sign := float32(1)
	if a.Inverse {
		sign = -1
	}
	heads := a.X.Cols() / a.HeadDim
	l := w.lanes(a.X)
	x, cos, sin := l.matrix(a.X), l.matrix(a.Cos), l.matrix(a.Sin)
	lo, hi := w.part(a.X.Rows(), 1)
	for n := lo; n < hi; n++ {
		k.rotary(x.row(n), cos.row(n%a.SeqLen), sin.row(n%a.SeqLen), heads, sign)
		x.keep(n)
	}
}
