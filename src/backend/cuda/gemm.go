//go:build cuda

package cuda

import (
	"fmt"

	"cambium/src/backend"
	"cambium/src/tensor"
)

type gemmArgs struct {
	c, a, b, pre             view
	bias                     uintptr
	m, n, k, act, accumulate int32
	transA, transB           int32
	alpha                    float32
}

// The tile of the tensor-core kernels, and their dynamic shared memory: see cuda/gemm/mma.cu.
const (
	mmaTile   = 128
	mmaShared = 3 * 2 * 128 * 40 * 2
)

func (s *stream) Gemm(g backend.Gemm) {
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
	s.checkGemm(g, &a)
	if a.m == 0 || a.n == 0 {
		return
	}
	types := suffix(g.A.DType()) + "_" + suffix(g.C.DType())
	if s.b.wgmma(g, &a) {
		s.enqueueWgmma(g, &a, types)
		return
	}
	if !tensorCores(g) {
		grid := dim{uint32(ceilDiv(int(a.n), 64)), uint32(ceilDiv(int(a.m), 64)), 1}
		enqueue(s, "gemm", "gemm_simt_"+types, grid, threads256, 0, &a)
		return
	}
	grid := dim{uint32(ceilDiv(int(a.n), mmaTile)), uint32(ceilDiv(int(a.m), mmaTile)), 1}
	enqueue(s, "gemm", "gemm_mma_"+types+"_"+form(&a), grid, threads256, mmaShared, &a)
}

func (s *stream) checkGemm(g backend.Gemm, a *gemmArgs) {
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

// tensorCores tells whether the 16-bit operands lie as cp.async wants them.
func tensorCores(g backend.Gemm) bool {
	for _, t := range []tensor.Tensor{g.A, g.B} {
		if t.DType() == tensor.F32 || address(t)%16 != 0 || t.LD()%8 != 0 {
			return false
		}
	}
	return true
}
