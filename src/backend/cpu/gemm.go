package cpu

import (
	"fmt"
	"math"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// Gemm checks the shapes and enqueues the product.
func (s *stream) Gemm(g backend.Gemm) {
	if g.Alpha == 0 {
		g.Alpha = 1
	}
	checkGemm(&g)
	t := s.begin("gemm", runGemm)
	t.gemm = g
	s.commit()
}

func checkGemm(g *backend.Gemm) {
	for _, x := range []tensor.Tensor{g.C, g.A, g.B} {
		if !x.Present() || x.DType() != tensor.F32 {
			panic(fmt.Sprintf("cpu: gemm of %v = %v x %v: want fp32", g.C, g.A, g.B))
		}
	}
	m, k := g.A.Rows(), g.A.Cols()
	if g.TransA {
		m, k = k, m
	}
	kb, n := g.B.Rows(), g.B.Cols()
	if g.TransB {
		kb, n = n, kb
	}
	if g.C.Rows() != m || g.C.Cols() != n || k != kb {
		panic(fmt.Sprintf("cpu: gemm: C %v, A %v (trans %v), B %v (trans %v) do not fit together", g.C, g.A, g.TransA, g.B, g.TransB))
	}
	if g.Bias.Present() && (g.Bias.DType() != tensor.F32 || g.Bias.Len() != n) {
		panic(fmt.Sprintf("cpu: gemm: bias %v for C %v", g.Bias, g.C))
	}
	if g.Pre.Present() && (g.Pre.DType() != tensor.F32 || g.Pre.Rows() != m || g.Pre.Cols() != n) {
		panic(fmt.Sprintf("cpu: gemm: Pre %v for C %v", g.Pre, g.C))
	}
	if g.Act == backend.GELUGrad && !g.Pre.Present() {
		panic("cpu: gemm: GELUGrad without Pre")
	}
	if g.Accumulate && g.Act != backend.NoActivation {
		panic("cpu: gemm: Accumulate with an activation")
	}
}

func runGemm(w *worker, t *task) {
	g := &t.gemm
	m, n := g.C.Rows(), g.C.Cols()
	k, ra, ca := g.A.Cols(), g.A.LD(), 1
	if g.TransA {
		k, ra, ca = g.A.Rows(), 1, g.A.LD()
	}
	rb, cb := g.B.LD(), 1
	if g.TransB {
		rb, cb = 1, g.B.LD()
	}
	a, b, c := g.A.F32(), g.B.F32(), g.C.F32()
	row := w.scratch(n)
	lo, hi := w.part(m, 1)
	for i := lo; i < hi; i++ {
		clear(row)
		for p := range k {
			x := a[i*ra+p*ca]
			for j := range n {
				row[j] += x * b[p*rb+j*cb]
			}
		}
		finishRow(g, i, row, c[i*g.C.LD():][:n])
	}
}

// finishRow turns the plain product z of row i into C's row.
func finishRow(g *backend.Gemm, i int, z, c []float32) {
	var bias, pre []float32
	if g.Bias.Present() {
		bias = g.Bias.F32()
	}
	if g.Pre.Present() {
		pre = g.Pre.F32()[i*g.Pre.LD():]
	}
	for j, v := range z {
		v *= g.Alpha
		if bias != nil {
			v += bias[j]
		}
		switch {
		case g.Accumulate:
			v += c[j]
		case g.Act == backend.GELU:
			if pre != nil {
				pre[j] = v
			}
			v = gelu(v)
		case g.Act == backend.GELUGrad:
			v *= geluGrad(pre[j])
		}
		c[j] = v
	}
}

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
