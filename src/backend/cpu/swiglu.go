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
	y, g, u := matrixOf(a.Y), matrixOf(a.G), matrixOf(a.U)
	lo, hi := w.part(a.Y.Rows(), 1)
	for n := lo; n < hi; n++ {
		k.swiglu(y.row(n), g.row(n), u.row(n))
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
	dg, du, dy, g, u := matrixOf(a.DG), matrixOf(a.DU), matrixOf(a.DY), matrixOf(a.G), matrixOf(a.U)
	lo, hi := w.part(a.DY.Rows(), 1)
	for n := lo; n < hi; n++ {
		k.swigluGrad(dg.row(n), du.row(n), dy.row(n), g.row(n), u.row(n))
	}
}
