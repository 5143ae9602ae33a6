//go:build cuda

package cuda

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// wgmmaArgs is TensorGemm of cuda/gemm/wgmma.cu.
type wgmmaArgs struct {
	a, b, c, pre         tensorMap
	earlier              view
	bias, partial, ready uintptr
	alpha                float32
	m, n, k, accumulate  int32
	withPre, split       int32
	_                    [13]int32 // to a multiple of a tensor map's alignment
}

// The tile of a block, its slices, and the dynamic shared memory of the kernels: a ring of four slices, four boxes for results, and barriers.
const (
	wgmmaTileM, wgmmaTileN, wgmmaDepth = 128, 256, 64
	wgmmaShared                        = 4*(wgmmaTileM+wgmmaTileN)*wgmmaDepth*2 + 4*8192 + 64
	wgmmaPart                          = wgmmaTileM * wgmmaTileN * 4 // bytes of a block's share of a tile
)

// minWgmma is the number of multiplications from which a tile of 128 x 256 is worth its while.
const minWgmma = 1 << 21

// wgmmaWays is cuda/gemm/wgmma.cu.
func wgmmaWays(s *stream, c *gemmCall) []way {
	if !s.b.wgmma(c) {
		return nil
	}
	act := [...]string{backend.NoActivation: "", backend.GELU: "_gelu", backend.GELUGrad: "_geluGradient"}[c.act]
	k := s.b.kernel("gemm_wgmma_" + c.types() + act + "_" + c.form())
	blocks, split := schedule(int(c.m), int(c.n), int(c.k), s.b.units, k.cluster)
	grid, threads := dim{uint32(blocks), 1, 1}, dim{384, 1, 1}
	return []way{{"wgmma", k, func(s *stream, c *gemmCall) error {
		w := s.wgmmaArgs(c)
		if split {
			w.split = 1
			w.partial, w.ready = s.parts()
		}
		return start(s, k, grid, threads, wgmmaShared, &w)
	}}}
}

// wgmma tells whether the kernels for sm_90a can do a product, and should.
func (b *gpu) wgmma(c *gemmCall) bool {
	if b.capability != 90 || c.in.Size() != 2 || c.k == 0 || c.act != actNone && (c.out == tensor.F32 || c.accumulate != 0) {
		return false
	}
	switch form := c.form(); {
	case form == "tt", c.act == actGelu && form != "nt", c.act == actGeluGrad && form == "tn":
		return false // not a form that training has
	}
	if int(c.n)*c.out.Size()%16 != 0 || c.bias%4 != 0 {
		return false // pairs of columns, pieces of 16 bytes
	}
	if !b.wgmmaAlways && int64(c.m)*int64(c.n)*int64(c.k) < minWgmma {
		return false
	}
	return tensorReady(c.a, c.in) && tensorReady(c.b, c.in) && tensorReady(c.c, c.out) && tensorReady(c.pre, c.in)
}

func (s *stream) wgmmaArgs(c *gemmCall) wgmmaArgs {
	w := wgmmaArgs{
		earlier: c.c, bias: c.bias, alpha: c.alpha, m: c.m, n: c.n, k: c.k, accumulate: c.accumulate, withPre: boolean(c.act == actGelu && c.pre.data != 0),
	}
	if c.act == actGeluGrad {
		w.earlier = c.pre
	}
	maps := &s.b.maps
	w.a = maps.of(s.b, c.a, c.in, along(c.transA == 0))
	w.b = maps.of(s.b, c.b, c.in, along(c.transB != 0))
	w.c = maps.of(s.b, c.c, c.out, 64)
	if w.withPre != 0 {
		w.pre = maps.of(s.b, c.pre, c.in, 64)
	}
	return w
}

// along is the number of rows of a box: of m or n where the inner dimension is contiguous, else of k.
func along(contiguous bool) int {
	if contiguous {
		return 128
	}
	return wgmmaDepth
}

// schedule is how many blocks share a product on so many multiprocessors, and whether they share single tiles (stream-K): when whole
// tiles would leave more than a sixth of the device idle, and every cluster has slices enough to be worth the exchange.
func schedule(m, n, k, units, cluster int) (blocks int, split bool) {
	tiles := ceilDiv(m, cluster*wgmmaTileM) * ceilDiv(n, wgmmaTileN)
	slices := tiles * ceilDiv(k, wgmmaDepth)
	clusters := max(units/cluster, 1)
	const worthwhile = 8 // slices of a cluster
	busy := float64(tiles) / float64(ceilDiv(tiles, clusters)*clusters)
	if split = busy < 5.0/6 && slices >= 2*worthwhile; split {
		clusters = min(clusters, slices/worthwhile)
		return clusters * cluster, tiles%clusters != 0 // with 0 every cluster has whole tiles anyway
	}
	return min(clusters, tiles) * cluster, false
}

// parts is memory for a share of every multiprocessor's block, and for their flags, which are 0 between launches.
func (s *stream) parts() (partial, ready uintptr) {
	if s.shares == nil {
		m, err := s.b.Alloc("workspace", s.b.units*(wgmmaPart+4))
		if err != nil {
			panic(err)
		}
		s.shares = m
	}
	at := uintptr(s.shares.Device)
	return at, at + uintptr(s.b.units*wgmmaPart)
}
