package cpu

import "cambium/src/backend"

// SwiGLUForward is Y = silu(G) U.
func (s *stream) SwiGLUForward(a backend.SwiGLU) {
	const name = "swiglu forward"
	mustBeF32(name, a.Y, a.G, a.U)
	mustMatch(name, a.Y, a.G, a.U)
	t := s.begin(name, runSwiGLUForward)
	t.swiglu = a
	s.commit()
}

func runSwiGLUForward(w *worker, t *task) {
	a, k := &t.swiglu, w.kernels()
	lo, hi := w.part(a.Y.Rows(), 1)
	for n := lo; n < hi; n++ {
		k.swiglu(row(a.Y, n), row(a.G, n), row(a.U, n))
	}
}

// SwiGLUBackward is DG = DY U silu'(G), DU = DY silu(G).
func (s *stream) SwiGLUBackward(a backend.SwiGLU) {
	const name = "swiglu backward"
	mustBeF32(name, a.DG, a.DU, a.DY, a.G, a.U)
	mustMatch(name, a.DG, a.DU, a.DY, a.G, a.U)
	t := s.begin(name, runSwiGLUBackward)
	t.swiglu = a
	s.commit()
}

func runSwiGLUBackward(w *worker, t *task) {
	a, k := &t.swiglu, w.kernels()
	lo, hi := w.part(a.DY.Rows(), 1)
	for n := lo; n < hi; n++ {
		k.swigluGrad(row(a.DG, n), row(a.DU, n), row(a.DY, n), row(a.G, n), row(a.U, n))
	}
}
