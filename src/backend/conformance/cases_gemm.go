package conformance

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// gemmSizes are m, n, k around the sizes of micro-kernels and cache blocks.
var gemmSizes = [][3]int{
	{1, 1, 1}, {1, 17, 5}, {5, 1, 9}, {7, 3, 2}, {8, 48, 64}, {9, 49, 33}, {16, 16, 16}, {31, 47, 65}, {64, 64, 64},
	{6, 200, 3}, {65, 96, 300}, {130, 97, 31}, {40, 260, 700},
}

func caseGemm(l *lab) {
	for _, size := range some(l, gemmSizes) {
		m, n, k := size[0], size[1], size[2]
		for form := range 4 {
			transA, transB := form&1 != 0, form&2 != 0
			for variant := range 6 {
				if variant%4 != form && m*n*k > 100000 {
					continue // large products take one or two variants for each form
				}
				if variant < 4 || l.stored != tensor.F32 {
					l.gemm(m, n, k, transA, transB, variant)
				}
			}
		}
	}
}

// gemm runs one product: variant 0 plain, 1 with bias and alpha, 2 accumulating with alpha, 3 with gaps between rows, 4 and 5
// are 0 and 2 with an fp32 result.
func (l *lab) gemm(m, n, k int, transA, transB bool, variant int) {
	l.Helper()
	space := 0
	if variant == 3 {
		space = 5
	}
	a, b := l.operand("a", m, k, transA, space), l.operand("b", k, n, transB, space)
	g := backend.Gemm{A: a.view, B: b.view, TransA: transA, TransB: transB}
	alpha := 1.0
	inout, out := l.inout, l.out
	if variant >= 4 {
		inout, out = l.inout32, l.out32
	}
	if variant == 1 || variant == 2 || variant == 5 {
		g.Alpha, alpha = 0.375, 0.375
	}
	want := gemm(a.val, b.val, transA, transB, m, n, k, alpha)
	var c *buf
	if variant == 2 || variant == 5 {
		c = inout("c", m, n, n+2)
		g.Accumulate = true
		want = mapped(want, func(i int, v float64) float64 { return v + c.val[i] })
	} else {
		c = out("c", m, n, n+space)
	}
	if variant == 1 {
		bias := l.inVec("bias", n)
		g.Bias = bias.view
		want = mapped(want, func(i int, v float64) float64 { return v + bias.val[i%n] })
	}
	g.C = c.view
	l.run(func(st backend.Stream) { st.Gemm(g) })
	if l.near(c, want, boundGemm); l.Failed() {
		l.Fatalf("gemm %dx%dx%d transA %v transB %v variant %d", m, n, k, transA, transB, variant)
	}
}

// operand is a matrix of rows x cols, stored transposed when asked.
func (l *lab) operand(name string, rows, cols int, trans bool, space int) *buf {
	if trans {
		rows, cols = cols, rows
	}
	return l.in(name, rows, cols, cols+space)
}

func caseGemmActivations(l *lab) {
	for _, size := range some(l, gemmSizes) {
		m, n, k := size[0], size[1], size[2]
		for variant := range 7 {
			if m*n*k > 1000000 && variant > 0 {
				continue
			}
			l.gemmActivation(m, n, k, variant)
		}
	}
}

// gemmActivation: 0 GELU with Pre, 1 GELU without, 2 GELUGrad, 3 GELUGrad in place (C is Pre), 4 GELU with large values, 5 and 6 are 2 and 3
// with B as it is, which is what training has: the gradient of a linear layer's input.
func (l *lab) gemmActivation(m, n, k, variant int) {
	std := 1.0
	if variant == 4 {
		std = 30
	}
	a := l.buffer("a", read, l.stored, m, k, k, l.values(m*k, std))
	transB := variant < 5
	rows, cols := k, n
	if transB {
		rows, cols = n, k
	}
	b, bias := l.in("b", rows, cols, cols+1), l.inVec("bias", n)
	z := gemm(a.val, b.val, false, transB, m, n, k, 1)
	g := backend.Gemm{A: a.view, B: b.view, TransB: transB}
	var c, pre *buf
	switch variant {
	case 0, 1, 4:
		g.Act, g.Bias = backend.GELU, bias.view
		z = mapped(z, func(i int, v float64) float64 { return v + bias.val[i%n] })
		if c = l.out("c", m, n, n+3); variant == 0 {
			pre = l.out("pre", m, n, n+1)
			g.Pre = pre.view
		}
		g.C = c.view
	case 2, 5:
		c, pre = l.out("c", m, n, n), l.in("pre", m, n, n+2)
		g.Act, g.C, g.Pre = backend.GELUGrad, c.view, pre.view
	case 3, 6:
		c = l.inout("c", m, n, n+2)
		g.Act, g.C, g.Pre = backend.GELUGrad, c.view, c.view
	}
	l.run(func(st backend.Stream) { st.Gemm(g) })
	switch variant {
	case 0: // of z as it is stored
		l.near(pre, z, boundGemm)
		l.nearAt(c, mapped(pre.got, func(_ int, v float64) float64 { return gelu(v) }), boundActivation, 1)
	case 1, 4:
		unit, _ := roundoff(l.stored)                                                                                  // of z, before the activation
		l.nearAt(c, mapped(z, func(_ int, v float64) float64 { return gelu(v) }), boundGemm+boundActivation+2*unit, 1) // far below 0 it cancels
	case 2, 5:
		l.near(c, mapped(z, func(i int, v float64) float64 { return v * geluGrad(pre.val[i]) }), boundGemm+boundActivation)
	case 3, 6:
		l.near(c, mapped(z, func(i int, v float64) float64 { return v * geluGrad(c.val[i]) }), boundGemm+boundActivation)
	}
	if l.Failed() {
		l.Fatalf("gemm with activation: %dx%dx%d variant %d", m, n, k, variant)
	}
}
