//go:build cuda

package cuda

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// wgmmaArgs is TensorGemm of cuda/gemm/wgmma.cu.
type wgmmaArgs struct {
	a, b, c, pre         tensorMap
	oldC, oldPre         view
	bias, partial, ready uintptr
	alpha                float32
	m, n, k, accumulate  int32
	withPre, split       int32
	_                    [7]int32 // to a multiple of a tensor map's alignment
}

// The tile of a block, its slices, and the dynamic shared memory of the kernels: a ring of four slices, four boxes for results, and barriers.
const (
	wgmmaTileM, wgmmaTileN, wgmmaDepth = 128, 256, 64
	wgmmaShared                        = 4*(wgmmaTileM+wgmmaTileN)*wgmmaDepth*2 + 4*8192 + 64
	wgmmaPart                          = wgmmaTileM * wgmmaTileN * 4 // bytes of a block's share of a tile
)

// minWgmma is the number of multiplications from which a tile of 128 x 256 is worth its while.
const minWgmma = 1 << 21

// wgmma tells whether the kernels for sm_90a can do a product, and should.
func (b *gpu) wgmma(g backend.Gemm, a *gemmArgs) bool {
	if b.capability != 90 || g.A.DType().Size() != 2 || g.Act != backend.NoActivation && g.C.DType() == tensor.F32 {
		return false
	}
	if !b.wgmmaAlways && int64(a.m)*int64(a.n)*int64(a.k) < minWgmma {
		return false
	}
	for _, t := range []tensor.Tensor{g.A, g.B, g.C, g.Pre} {
		if t.Present() && !tensorReady(t) {
			return false
		}
	}
	return a.k > 0
}

func (s *stream) enqueueWgmma(g backend.Gemm, a *gemmArgs, types string) {
	w := wgmmaArgs{
		oldC: a.c, oldPre: a.pre, bias: a.bias, alpha: a.alpha, m: a.m, n: a.n, k: a.k, accumulate: a.accumulate, withPre: boolean(g.Act == backend.GELU && g.Pre.Present()),
	}
	maps := &s.b.maps
	w.a = maps.of(s.b, a.a, g.A.DType(), along(!g.TransA))
	w.b = maps.of(s.b, a.b, g.B.DType(), along(g.TransB))
	w.c = maps.of(s.b, a.c, g.C.DType(), 64)
	if w.withPre != 0 {
		w.pre = maps.of(s.b, a.pre, g.Pre.DType(), 64)
	}
	act := [...]string{backend.NoActivation: "", backend.GELU: "_gelu", backend.GELUGrad: "_geluGradient"}[g.Act]
	name := "gemm_wgmma_" + types + act + "_" + form(a)
	k := s.b.kernel(name)
	blocks, split := schedule(int(a.m), int(a.n), int(a.k), s.b.units, k.cluster)
	if split {
		w.split = 1
		w.partial, w.ready = s.parts()
	}
	enqueue(s, "gemm", name, dim{uint32(blocks), 1, 1}, dim{384, 1, 1}, wgmmaShared, &w)
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

// form is how op(A) and op(B) lie, as kernels are named: n as they are, t transposed.
func form(a *gemmArgs) string { return [2][2]string{{"nn", "nt"}, {"tn", "tt"}}[a.transA][a.transB] }
