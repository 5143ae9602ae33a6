//go:build cuda

package cuda

import "unsafe"

// start launches a kernel at once, on the stream's goroutine: what enqueue does when its turn has come.
func start[A any](s *stream, k *kernel, grid, block dim, shared uint32, args *A) error {
	size := int(unsafe.Sizeof(*args))
	copy(unsafe.Slice((*byte)(s.params), size), unsafe.Slice((*byte)(unsafe.Pointer(args)), size))
	return launch(k, grid, block, shared, s.cu, s.params)
}

// types is how kernels for the element types of a call are named.
func (c *gemmCall) types() string { return suffix(c.in) + "_" + suffix(c.out) }

// form is how they are named after the way in which A and B lie.
func (c *gemmCall) form() string { return [2][2]string{{"nn", "nt"}, {"tn", "tt"}}[c.transA][c.transB] }

// mmaWays is cuda/gemm/mma.cu: 16-bit operands that lie as cp.async wants them.
func mmaWays(s *stream, c *gemmCall) []way {
	for _, v := range []view{c.a, c.b} {
		if c.in.Size() != 2 || v.data%16 != 0 || v.ld%8 != 0 {
			return nil
		}
	}
	k := s.b.kernel("gemm_mma_" + c.types() + "_" + c.form())
	grid := dim{uint32(ceilDiv(int(c.n), mmaTile)), uint32(ceilDiv(int(c.m), mmaTile)), 1}
	return []way{{"mma", k, func(s *stream, c *gemmCall) error { return start(s, k, grid, threads256, mmaShared, &c.gemmArgs) }}}
}

// simtWays is cuda/gemm/simt.cu, which takes everything.
func simtWays(s *stream, c *gemmCall) []way {
	k := s.b.kernel("gemm_simt_" + c.types())
	grid := dim{uint32(ceilDiv(int(c.n), 64)), uint32(ceilDiv(int(c.m), 64)), 1}
	return []way{{"simt", k, func(s *stream, c *gemmCall) error { return start(s, k, grid, threads256, 0, &c.gemmArgs) }}}
}
