package cpu

import (
	"fmt"
	"unsafe"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// The GEMM. K is cut into blocks of a length that follows from K alone, C into tiles that begin at multiples of the tile's
// size; every element of C is the sum over the blocks, in order, of one chain of fused multiply-adds each. So neither the
// number of workers nor who computes what changes a bit of the result.
//
// Workers divide C along its longer side, in items that they claim, slower workers fewer of them. The operand of the
// longer side ("streamed", the weights when tokens are few) is packed by whoever needs a piece of it, so that it is read
// once and stays in that worker's cache; the other operand is shared, and packed by all workers together before. A whose
// rows are rows of A may also be read in place (see shape).

// sharedFloats bounds the packed part of a shared B; longer K takes several rounds.
const sharedFloats = 1 << 21

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
	mustBePresent("gemm", g.C, g.A, g.B)
	if g.C.DType() == tensor.F32 && g.Act == backend.NoActivation {
		mustBeStoredToo("gemm", g.A, g.B, g.Bias)
	} else {
		mustBeStoredToo("gemm", g.A, g.B, g.C, g.Bias, g.Pre)
	}
	m, k := g.A.Rows(), g.A.Cols()
	if g.TransA {
		m, k = k, m
	}
	kb, n := g.B.Rows(), g.B.Cols()
	if g.TransB {
		kb, n = n, kb
	}
	if k == 0 {
		panic(fmt.Sprintf("cpu: gemm of %v: nothing to sum over", g.C))
	}
	if g.C.Rows() != m || g.C.Cols() != n || k != kb {
		panic(fmt.Sprintf("cpu: gemm: C %v, A %v (trans %v), B %v (trans %v) do not fit together", g.C, g.A, g.TransA, g.B, g.TransB))
	}
	if g.Bias.Present() && g.Bias.Len() != n {
		panic(fmt.Sprintf("cpu: gemm: bias %v for C %v", g.Bias, g.C))
	}
	if g.Pre.Present() && (g.Pre.Rows() != m || g.Pre.Cols() != n) {
		panic(fmt.Sprintf("cpu: gemm: Pre %v for C %v", g.Pre, g.C))
	}
	if g.Act == backend.GELUGrad && !g.Pre.Present() {
		panic("cpu: gemm: GELUGrad without Pre")
	}
	if g.Accumulate && g.Act != backend.NoActivation {
		panic("cpu: gemm: Accumulate with an activation")
	}
}

// product is a Gemm as one worker computes it: C[m x n] from op(A)[m x k] and op(B)[k x n], in floats and distances.
type product struct {
	g           *backend.Gemm
	w           *worker
	shape       shape
	m, n, k, kc int
	a, b        factor
	c           []float32
	bias, pre   []float32
	ldc         int
	ldpre       int
	panels      int // panels of op(B)
	byRows      bool
	packedFrom  int       // rows of op(A) from here on are packed, those before are read in place
	shared      []float32 // the packed shared operand
	mine        []float32 // the packed piece of the streamed operand
	z           []float32 // a tile
	tile        tile
	ahead       ahead
	halves      halves // 16-bit operands
	sums        sums
}

func runGemm(w *worker, t *task) {
	p := &w.product
	p.init(w, &t.gemm)
	if p.m == 0 || p.n == 0 {
		return
	}
	if p.byRows {
		p.runByRows()
	} else {
		p.runByColumns()
	}
	p.a, p.b, p.c, p.bias, p.pre = factor{}, factor{}, nil, nil, nil // they may be freed
	p.halves, p.sums.mem = halves{}, nil
}

func (p *product) init(w *worker, g *backend.Gemm) {
	*p = product{g: g, w: w, shape: w.level.shape(), m: g.C.Rows(), n: g.C.Cols(), k: g.A.Cols(), a: factorOf(g.A), b: factorOf(g.B), ldc: g.C.LD()}
	if g.TransA {
		p.k = g.A.Rows()
	}
	p.kc = blockLength(p.k, p.shape.depth)
	p.panels = ceilDiv(p.n, p.shape.cols)
	if !g.TransA && (p.shape.inPlace || p.n < fewColumns) {
		p.packedFrom = p.m / p.shape.rows * p.shape.rows
	}
	p.byRows = divideRows(p.m, p.n, p.k, p.shape, w.count)
	if !wide(g.A) {
		p.initHalves(g)
	}
	p.initSums(g)
	if !wide(g.C) {
		return
	}
	p.c = g.C.F32()
	if g.Bias.Present() && wide(g.Bias) {
		p.bias = g.Bias.F32()
	}
	if g.Pre.Present() && wide(g.Pre) {
		p.pre, p.ldpre = g.Pre.F32(), g.Pre.LD()
	}
}

// divideRows chooses the side of C that workers divide: the longer one, unless that would leave some of them idle in a
// product that is small.
func divideRows(m, n, k int, s shape, workers int) bool {
	if m >= n {
		return true
	}
	share := func(units int) float64 { return float64(units) / float64(workers*ceilDiv(units, workers)) }
	return k*n <= 1<<18 && share(ceilDiv(n, s.cols)) < min(0.9, share(ceilDiv(m, s.group)))
}

// fewColumns of C do not make up for packing A.
const fewColumns = 64

// blockLength is the length of K's blocks: about equal ones, no longer than depth, a multiple of 4.
func blockLength(k, depth int) int {
	return max(4, roundUp(ceilDiv(k, max(1, ceilDiv(k, depth))), 4))
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

func roundUp(a, to int) int { return ceilDiv(a, to) * to }

// overlap tells whether two tensors lie in the same memory and share bytes.
func overlap(x, y tensor.Tensor) bool {
	if x.Memory() != y.Memory() {
		return false
	}
	end := func(t tensor.Tensor) int { return t.Offset() + 4*len(t.F32()) }
	return x.Offset() < end(y) && y.Offset() < end(x)
}

// start is the first column of panel q. All panels but the last two have the tile's width. When little would be left for
// the last one, the one before gives it 16 of its columns: narrow tiles are slow.
func (p *product) start(q int) int {
	at := q * p.shape.cols
	if at >= p.n {
		return p.n
	}
	if q == p.panels-1 && q > 0 && p.shape.cols == 48 && p.n-at <= 16 {
		at -= 16
	}
	return at
}

// eachBlock calls f for every K block in [lo, hi).
func (p *product) eachBlock(lo, hi int, f func(p0, kb int)) {
	for p0 := lo; p0 < hi; p0 += p.kc {
		f(p0, min(p.kc, p.k-p0))
	}
}

// runByColumns: workers claim columns of C. B is streamed; A is read in place, or packed (transposed: all of it; otherwise
// the last rows, where they do not fill a tile).
func (p *product) runByColumns() {
	packed := p.sharedLines()
	super := p.k
	if packed > 0 {
		super = p.superBlock(packed, p.shape.shared)
	}
	p.share(packed, super)
	width := p.itemPanels()
	items := ceilDiv(p.panels, width)
	p.carve(min(width, p.piecePanels())*p.shape.cols, p.m, width*p.shape.cols)
	for s := 0; s < p.k; s += super {
		end := min(s+super, p.k)
		if packed > 0 {
			p.packSharedA(s, end, packed)
			p.w.barrier()
		}
		for it, ok := p.w.claim(items); ok; it, ok = p.w.claim(items) {
			p.columns(it*width, min((it+1)*width, p.panels), s, end)
		}
		if end < p.k {
			p.w.barrier()
		}
	}
}

// columns computes the panels [q0, q1) of C for the steps [lo, hi) of K.
func (p *product) columns(q0, q1, lo, hi int) {
	each := p.piecePanels()
	p.sums.item(0, p.start(q0))
	p.eachBlock(lo, hi, func(p0, kb int) {
		for c0 := q0; c0 < q1; c0 += each {
			c1 := min(c0+each, q1)
			p.packB(p.mine, c0, c1, p0, kb)
			switch next := min(p.kc, hi-p0-kb); {
			case c1 < q1:
				p.aheadB(c1, min(c1+each, q1), p0, kb, c1-c0)
			case next > 0:
				p.aheadB(q0, min(q0+each, q1), p0+kb, next, c1-c0)
			default:
				p.aheadB(q1, min(q1+each, p.panels), lo, min(p.kc, hi-lo), c1-c0)
			}
			p.columnPiece(c0, c1, lo, p0, kb)
		}
	})
}

// columnPiece multiplies all of A's rows with the packed panels [c0, c1).
func (p *product) columnPiece(c0, c1, lo, p0, kb int) {
	j0, lines := p.start(c0), p.sharedLines()
	for r := 0; r < p.m; r += p.shape.block {
		for q := c0; q < c1; q++ {
			j := p.start(q)
			panel, cols := p.mine[(j-j0)*kb:], p.start(q+1)-j
			for i, n := r, 0; i < min(r+p.shape.block, p.m); i += n * p.shape.rows {
				n = p.tilesBelow(i, min(r+p.shape.block, p.m), cols)
				switch {
				case p.halves.wideA:
					p.widenedA(p.shared[(p0-lo)*lines:], i, kb)
				case i < p.packedFrom:
					p.inPlaceA(i, p0)
				default:
					p.packedA(p.shared[(p0-lo)*lines:], i-p.packedFrom, kb)
				}
				p.multiply(panel, i, n, j, cols, p0, kb)
			}
		}
	}
}

// piecePanels is the number of panels that are packed at a time.
func (p *product) piecePanels() int { return p.shape.piece / p.shape.cols }

// aheadB brings a piece of B nearer while calls times as many tiles are computed as C has rows of tiles.
func (p *product) aheadB(q0, q1, p0, kb, panels int) {
	j, cols := p.start(q0), 0
	if q0 < q1 {
		cols = p.start(q1) - j
	}
	calls := panels * ceilDiv(p.m, p.shape.rows)
	if p.g.TransB {
		p.ahead.set(&p.b, j*p.b.ld+p0, cols, kb, calls, p.shape.below)
	} else {
		p.ahead.set(&p.b, p0*p.b.ld+j, min(kb, kb*cols), cols, calls, p.shape.below)
	}
}

// itemPanels is the number of panels in an item: few, so that workers end together, but when A is too large for the cache
// and lies in place many, because every item reads all of it.
func (p *product) itemPanels() int {
	each := ceilDiv(p.panels, p.w.count)
	if p.shape.inPlace && p.m*p.k > 1<<18 {
		return max(1, min(each, max(p.piecePanels(), ceilDiv(each, 2)), 1536/p.shape.cols))
	}
	return max(1, min(ceilDiv(each, 4), p.piecePanels()))
}

// runByRows: workers claim rows of C. B is packed by all of them together; A is streamed.
func (p *product) runByRows() {
	width := roundUp(p.n, p.panelAlign())
	super := p.superBlock(width, sharedFloats)
	p.share(width, super)
	height := p.itemRows()
	items := ceilDiv(p.m, height)
	p.carve(height, height, p.n)
	for s := 0; s < p.k; s += super {
		end := min(s+super, p.k)
		p.packSharedB(s, end, width)
		p.w.barrier()
		for it, ok := p.w.claim(items); ok; it, ok = p.w.claim(items) {
			p.rows(it*height, min((it+1)*height, p.m), s, end, width)
		}
		if end < p.k {
			p.w.barrier()
		}
	}
}

// rows computes the rows [i0, i1) of C for the steps [lo, hi) of K.
func (p *product) rows(i0, i1, lo, hi, width int) {
	p.sums.item(i0, 0)
	p.eachBlock(lo, hi, func(p0, kb int) {
		packed := max(i0, p.packedFrom)
		switch {
		case p.halves.wideA:
			p.widenA(p.mine, i0, i1, p0, kb)
		case packed < i1:
			p.packA(p.mine, packed, i1, p0, kb)
		}
		p.aheadA(i0, i1, lo, hi, p0+kb)
		b := p.shared[(p0-lo)*width:]
		for r := i0; r < i1; r += p.shape.block {
			for q := range p.panels {
				j := p.start(q)
				panel, cols := b[j*kb:], p.start(q+1)-j
				for i, n := r, 0; i < min(r+p.shape.block, i1); i += n * p.shape.rows {
					n = p.tilesBelow(i, min(r+p.shape.block, i1), cols)
					switch {
					case p.halves.wideA:
						p.widenedA(p.mine, i-i0, kb)
					case i < packed:
						p.inPlaceA(i, p0)
					default:
						p.packedA(p.mine, i-packed, kb)
					}
					p.multiply(panel, i, n, j, cols, p0, kb)
				}
			}
		}
	})
}

// aheadA brings the piece of A after the present one nearer: the next K block of the item, or the first of the next item.
func (p *product) aheadA(i0, i1, lo, hi, p0 int) {
	calls := p.panels * ceilDiv(i1-i0, p.shape.rows)
	if p0 >= hi {
		p0, i0, i1 = lo, i1, min(2*i1-i0, p.m)
	}
	kb := min(p.kc, hi-p0)
	if p.g.TransA {
		p.ahead.set(&p.a, p0*p.a.ld+i0, min(kb, kb*(i1-i0)), i1-i0, calls, p.shape.below)
	} else {
		p.ahead.set(&p.a, i0*p.a.ld+p0, i1-i0, kb, calls, p.shape.below)
	}
}

// itemRows is the number of rows in an item: a multiple of the packed group, few enough that the workers end together.
func (p *product) itemRows() int {
	most := p.shape.item
	if p.g.TransA && p.shape.inPlace {
		most = 192 // packing reads columns: longer runs
	}
	return max(1, min(ceilDiv(ceilDiv(p.m, p.shape.group), 4*p.w.count), most/p.shape.group)) * p.shape.group
}

// multiply computes n tiles of C, one under the other from (i, j) on, cols wide, for the K block [p0, p0+kb) from the given
// panel of B, and finishes them when the block is the last one.
func (p *product) multiply(panel []float32, i, n, j, cols, p0, kb int) {
	if p.halves.c {
		p.multiplyHalf(panel, i, j, cols, p0, kb)
		return
	}
	t, last := &p.tile, p0+kb >= p.k
	rows := min(n*p.shape.rows, p.m-i)
	c := unsafe.Pointer(&p.c[i*p.ldc+j])
	t.k, t.b, t.c, t.ldc, t.rows, t.alpha = kb, unsafe.Pointer(unsafe.SliceData(panel)), nil, 4*p.ldc, rows, p.g.Alpha
	if p0 > 0 || p.g.Accumulate {
		t.c = c
	}
	t.bias = nil
	if last && p.bias != nil {
		t.bias = unsafe.Pointer(&p.bias[j])
	}
	t.out, t.ldo = c, t.ldc
	if p.sums.wait && p0 > 0 {
		t.c, t.ldc = p.sums.at(i, j), 4*p.sums.step
	}
	if last && p.g.Act == backend.GELUGrad { // C may be Pre, which is needed first
		t.out, t.ldo = unsafe.Pointer(&p.z[0]), 4*p.shape.cols
	} else if p.sums.wait && !last {
		t.out, t.ldo = p.sums.at(i, j), 4*p.sums.step
	}
	out := t.out
	p.ahead.next(t, n, p.shape.below)
	p.w.level.multiply(p, rows, cols)
	if last && p.g.Act != backend.NoActivation {
		var pre unsafe.Pointer
		if p.pre != nil {
			pre = unsafe.Pointer(&p.pre[i*p.ldpre+j])
		}
		if p.g.Act == backend.GELU {
			p.w.level.geluTile(c, out, pre, 4*p.ldc, t.ldo, 4*p.ldpre, rows, cols)
		} else {
			p.w.level.geluGradTile(c, out, pre, 4*p.ldc, t.ldo, 4*p.ldpre, rows, cols)
		}
	}
}
