package cpu

import (
	"math"
	"unsafe"

	"cambium/src/tensor"
)

const (
	geluScale = 0.7978845608028654 // sqrt(2/pi)
	geluCubic = 0.044715
)

// gelu is 0.5 z (1 + tanh(u)), u = sqrt(2/pi) (z + 0.044715 z^3) (arXiv 1606.08415).
func gelu(z float32) float32 {
	x := float64(z)
	return float32(0.5 * x * (1 + math.Tanh(geluScale*(x+geluCubic*x*x*x))))
}

// geluGrad is gelu'(z) = 0.5 (1 + tanh u) + 0.5 z (1 - tanh(u)^2) u'.
func geluGrad(z float32) float32 {
	x := float64(z)
	t := math.Tanh(geluScale * (x + geluCubic*x*x*x))
	return float32(0.5*(1+t) + 0.5*x*(1-t*t)*geluScale*(1+3*geluCubic*x*x))
}

// GELUForward is y = gelu(x).
func (s *stream) GELUForward(y, x tensor.Tensor) {
	const name = "gelu forward"
	mustBeStored(name, y, x)
	mustMatch(name, y, x)
	t := s.begin(name, runGELUForward)
	t.vec = vecArgs{x: x, y: y}
	s.commit()
}

func runGELUForward(w *worker, t *task) {
	l := w.lanes(t.vec.y, t.vec.x)
	y, x := l.matrix(t.vec.y), l.matrix(t.vec.x)
	lo, hi := w.part(t.vec.x.Rows(), 1)
	for n := lo; n < hi; n++ {
		out, in := y.slot(n), x.row(n)
		w.level.geluTile(unsafe.Pointer(&out[0]), unsafe.Pointer(&in[0]), nil, 0, 0, 0, 1, len(in))
		y.keep(n)
	}
}

// geluGo is the portable geluTile.
func geluGo(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int) {
	for r := range rows {
		out, in := rowAt(c, r*ldc, cols), rowAt(z, r*ldz, cols)
		if pre != nil {
			copy(rowAt(pre, r*ldpre, cols), in)
		}
		for j, v := range in {
			out[j] = gelu(v)
		}
	}
}

// geluGradGo is the portable geluGradTile.
func geluGradGo(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int) {
	for r := range rows {
		out, in, at := rowAt(c, r*ldc, cols), rowAt(z, r*ldz, cols), rowAt(pre, r*ldpre, cols)
		for j, v := range in {
			out[j] = v * geluGrad(at[j])
		}
	}
}

func rowAt(p unsafe.Pointer, offset, n int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Add(p, offset)), n)
}
