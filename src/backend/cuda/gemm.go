//go:build cuda

package cuda

import (
	"fmt"
	"unsafe"

	"cambium/src/backend"
)

type gemmArgs struct {
	c, a, b, pre             view
	bias                     uintptr
	m, n, k, act, accumulate int32
	transA, transB           int32
	alpha                    float32
}

// The activations as kernels number them.
const (
	actNone     = int32(backend.NoActivation)
	actGelu     = int32(backend.GELU)
	actGeluGrad = int32(backend.GELUGrad)
)

// The tile of the tensor-core kernels, and their dynamic shared memory: see cuda/gemm/mma.cu.
const (
	mmaTile   = 128
	mmaShared = 3 * 2 * 128 * 40 * 2
)

func (s *stream) Gemm(g backend.Gemm) {
	c := callOf(g)
	if c.m == 0 || c.n == 0 {
		return
	}
	c.mode = s.b.gemmMode()
	o := op{name: "gemm", call: runGemm, size: int(unsafe.Sizeof(c))}
	put(s, &o, &c)
	s.enqueue(o)
}

// callOf is a GEMM as the queue carries it. Operands that do not fit are a mistake of the program.
func callOf(g backend.Gemm) gemmCall {
	a := gemmArgs{
		c: of(g.C), a: of(g.A), b: of(g.B), pre: of(g.Pre), bias: address(g.Bias), act: int32(g.Act), accumulate: boolean(g.Accumulate),
		transA: boolean(g.TransA), transB: boolean(g.TransB), alpha: g.Alpha,
	}
	if a.alpha == 0 {
		a.alpha = 1
	}
	a.m, a.n = a.c.rows, a.c.cols
	if a.k = a.a.cols; g.TransA {
		a.k = a.a.rows
	}
	checkGemm(g, &a)
	return gemmCall{gemmArgs: a, in: g.A.DType(), out: g.C.DType()}
}

func checkGemm(g backend.Gemm, a *gemmArgs) {
	n, kb := a.b.cols, a.b.rows
	m := a.a.rows
	if g.TransB {
		n, kb = a.b.rows, a.b.cols
	}
	if g.TransA {
		m = a.a.cols
	}
	if m != a.m || n != a.n || kb != a.k || g.A.DType() != g.B.DType() {
		panic(fmt.Sprintf("cuda: Gemm: A %v, B %v, C %v do not fit (TransA %v, TransB %v)", g.A, g.B, g.C, g.TransA, g.TransB))
	}
}
