//go:build cuda

package cuda

import (
	"fmt"

	"cambium/src/tensor"
)

// library is this device's cuBLASLt, found when it is first wanted; nil where there is none.
func (b *gpu) library() *blas {
	b.blasOnce.Do(func() {
		b.blasAbsent = b.do(func() (err error) {
			b.blas, err = openBlas(b.emulated)
			return err
		})
	})
	return b.blas
}

// blasWays are the library's algorithms for a call. GELU is a pass of ours behind it: the library would take it of the unrounded sum, and then
// what is computed again from Pre would not be what it was. Its derivative is not for the library: on an H200 cuBLASLt 13.1 was off by more than
// a rounding, and with C over Pre, as in training, wrong.
func blasWays(s *stream, c *gemmCall) []way {
	if !blasTakes(c) {
		return nil
	}
	l := s.b.library()
	if l == nil || s.blasRoom() != nil {
		return nil
	}
	epilogue := epiloguePlain
	if c.bias != 0 {
		epilogue = epilogueBias
	}
	p, err := l.plan(c, epilogue)
	if err != nil { // not supported: somebody else does it
		return nil
	}
	s.plans = append(s.plans, p)
	var gelu *kernel
	if c.act == actGelu {
		gelu = s.b.kernel("gelu_forward_" + suffix(c.out))
	}
	ways := make([]way, algorithms(p))
	for i := range ways {
		ways[i] = way{fmt.Sprintf("cublaslt %d", i), nil, func(s *stream, c *gemmCall) error {
			if gelu == nil {
				return l.multiply(s, p, i, c, c.c)
			}
			z := c.c
			if c.pre.data != 0 {
				z = c.pre
			}
			if err := l.multiply(s, p, i, c, z); err != nil {
				return err
			}
			return s.startGelu(gelu, c.out.Size(), c.c, z)
		}}
	}
	return ways
}

// blasTakes tells whether a call lies as the library's tensor-core kernels want it.
func blasTakes(c *gemmCall) bool {
	if c.in.Size() != 2 || c.k == 0 || c.bias%blasAlign != 0 {
		return false
	}
	for _, v := range []view{c.a, c.b, c.pre} {
		if v.data%blasAlign != 0 || v.ld%8 != 0 {
			return false
		}
	}
	if c.c.data%blasAlign != 0 || c.c.ld*int64(c.out.Size())%blasAlign != 0 {
		return false
	}
	switch {
	case c.accumulate != 0 && c.out != tensor.F32: // it may round the product before it adds
		return false
	case c.act == actGelu && c.pre.data != 0:
		return c.pre.ld == c.c.ld // one plan's layout is for both
	case c.act == actGeluGrad:
		return false
	}
	return c.bias == 0 || c.out != tensor.F32
}

// blasRoom sees that the stream has the memory that the library works in.
func (s *stream) blasRoom() (err error) {
	if s.blasSpace == nil {
		s.blasSpace, err = s.b.Alloc("workspace", blasWorkspace)
	}
	return err
}
