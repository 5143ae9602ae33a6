package cpu

import "cambium/src/backend"

// SwiGLUForward is Y = silu(G) U.
func (s *stream) SwiGLUForward(a backend.SwiGLU) {
	const name = "swiglu forward"
	mustBeStored(name, a.Y, a.G, a.U)
	mustMatch(name, a.Y, a.G, a.U)
	t := s.begin(name, runSwiGLUForward)
	t.swiglu = a
	s.commit()
}

func runSwiGLUForward(w *worker, t *task) {
	a, k := &t.swiglu, w.kernels()
	l := w.lanes(a.Y, a.G, a.U)
	y, g, u := l.matrix(a.Y), l.matrix(a.G), l.matrix(a.U)
	lo, hi := w.part(a.Y.Rows(), 1)
	for n := lo; n < hi; n++ {
		k.swiglu(y.slot(n), g.row(n), u.row(n))
		y.keep(n)
	}
}

// SwiGLUBackward is DG = DY U silu'(G), DU = DY silu(G).
func (s *stream) SwiGLUBackward(a backend.SwiGLU) {
	const name = "swiglu backward"
	mustBeStored(name, a.DG, a.DU, a.DY, a.G, a.U)
	mustMatch(name, a.DG, a.DU, a.DY, a.G, a.U)
	t := s.begin(name, runSwiGLUBackward)
	t.swiglu = a
	s.commit()
}

func runSwiGLUBackward(w *worker, t *task) {
	a, k := &t.swiglu, w.kernels()
	l := w.lanes(a.DG, a.DU, a.DY, a.G, a.U)
	dg, du, dy, g, u := l.matrix(a.DG), l.matrix(a.DU), l.matrix(a.DY), l.matrix(a.G), l.matrix(a.U)
	lo, hi := w.part(a.DY.Rows(), 1)
	for n := lo; n < hi; n++ {
		k.swigluGrad(dg.slot(n), du.slot(n), dy.row(n), g.row(n), u.row(n))
		dg.keep(n)
		du.keep(n)
	}
}
