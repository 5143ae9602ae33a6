package conformance

import (
	"math"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// caseOverflow follows values that 16 bits cannot hold: they become infinite where they are stored, not the largest
// number, and are seen by SumSquares of the gradients that they lead to.
func caseOverflow(l *lab) {
	for _, d := range []tensor.DType{tensor.BF16, tensor.F16} {
		l.stored = d
		for _, n := range []int{1, 16, 37} { // in the whole vectors, and in what is left over
			l.overflow(n, map[tensor.DType]float64{tensor.BF16: 0x1p127, tensor.F16: 60000}[d])
		}
	}
	l.stored = tensor.F32
}

// overflow: twice the large value at position n-1 is beyond the type.
func (l *lab) overflow(n int, large float64) {
	val := l.values(n, 1)
	val[n-1] = large
	want := append([]float64(nil), val...)
	want[n-1] = math.Inf(1)
	row := func(u use) *buf { return l.vector("x", u, l.stored, val, n) }

	x := row(both)
	l.run(func(st backend.Stream) { st.Scale(x.view, 2) })
	l.infinite("Scale", x)
	x = row(both)
	y := row(read)
	l.run(func(st backend.Stream) { st.Axpy(x.view, y.view, 1) })
	l.infinite("Axpy", x)
	one := l.buffer("one", read, l.stored, 1, 1, 1, []float64{1})
	c := l.out("c", 1, n, n)
	y = row(read)
	l.run(func(st backend.Stream) {
		st.Gemm(backend.Gemm{C: c.view, A: one.view, B: y.view.Reshape(1, n), Alpha: 2})
	})
	l.infinite("Gemm", c)
	y, x = row(read), l.vector("y", write, l.stored, nil, n)
	twos := l.vector("twos", read, l.stored, constant(n, 2), n)
	l.run(func(st backend.Stream) { st.SwiGLUForward(backend.SwiGLU{G: y.view, U: twos.view, Y: x.view}) })
	l.infinite("SwiGLU", x)

	l.infiniteGradients(n, want)
}

// infiniteGradients: an infinite activation gives data and weight gradients that are not finite, the latter in fp32.
func (l *lab) infiniteGradients(n int, infinite []float64) {
	for _, weight := range []bool{false, true} {
		a := l.vector("infinite", read, l.stored, infinite, n)
		g := backend.Gemm{A: a.view.Reshape(1, n), TransA: weight}
		var out *buf
		if weight {
			out, g.B = l.out32("dw", n, 5, 5), l.in("b", 1, 5, 5).view
		} else {
			out, g.B = l.out("dx", 1, 5, 5), l.in("b", n, 5, 5).view
		}
		g.C = out.view
		sum := l.vector("sum", write, tensor.F64, nil, 1)
		l.run(func(st backend.Stream) {
			st.Gemm(g)
			st.SumSquares(sum.view, out.view, false)
		})
		if s := sum.got[0]; !math.IsInf(s, 0) && !math.IsNaN(s) {
			l.Errorf("%v: the sum of squares of a gradient (weight: %v) of an infinite value is %v", l.stored, weight, s)
		}
	}
}

// infinite expects that the last element, and it alone, is infinite.
func (l *lab) infinite(op string, x *buf) {
	for i, v := range x.got {
		if math.IsInf(v, 1) != (i == len(x.got)-1) || math.IsNaN(v) {
			l.Errorf("%s in %v, element %d of %d: %v", op, l.stored, i, len(x.got), v)
		}
	}
}
