package cpu

import (
	"unsafe"

	"cambium/src/backend"
)

// The GEMM with 16-bit operands. Factors are widened on their way into the packed form, piece by piece within the
// first-level cache; A that would be read in place is widened row by row and read there. A tile of C is rounded when its last
// block of K is done; until then the sums wait in fp32 (gemm_sums.go). So the result is that of fp32 on the widened operands, rounded once.

// halves is what a product with 16-bit factors has beside: all zero for fp32.
type halves struct {
	a, c  bool // the factors are 16 bits wide; C is
	wideA bool // A is not transposed: it is widened row by row

	via []float32 // operands on their way
	old []float32 // a tile of C or Pre, widened

	narrow     func(dst []uint16, src []float32)
	widen      func(dst []float32, src []uint16)
	out, pre   []uint16
	ldc, ldpre int
}

// pieceSteps is the number of steps of K that are widened together where the lines of a factor run across K.
const pieceSteps = 32

// pieceLines bounds the lines that are widened together then.
const pieceLines = 192

func (p *product) initHalves(g *backend.Gemm) {
	h, k := &p.halves, p.w.kernels()
	h.a, h.c, h.wideA = true, !wide(g.C), !g.TransA
	h.narrow, h.widen = k.narrowing(g.A.DType()), k.widening(g.A.DType())
	if h.wideA {
		p.packedFrom = 0
	}
	if h.c {
		h.out, h.ldc = g.C.U16(), g.C.LD()
		if g.Pre.Present() {
			h.pre, h.ldpre = g.Pre.U16(), g.Pre.LD()
		}
	}
}

// scratch is the number of floats that carve takes.
func (h *halves) scratch(p *product) int {
	if !h.a {
		return 0
	}
	n := h.viaLength(p) + maxTile
	if p.g.Bias.Present() {
		n += roundUp(p.n, lineFloats)
	}
	return n
}

func (h *halves) viaLength(p *product) int {
	return max(pieceSteps*pieceLines, p.shape.cols*min(p.kc, roundUp(p.k, 4)))
}

// carve divides the worker's memory.
func (h *halves) carve(p *product, mem []float32) {
	if !h.a {
		return
	}
	take := func(n int) []float32 {
		x := mem[:n:n]
		mem = mem[n:]
		return x
	}
	h.via, h.old = take(h.viaLength(p)), take(maxTile)
	if p.g.Bias.Present() {
		p.bias = take(roundUp(p.n, lineFloats))[:p.n]
		h.widen(p.bias, p.g.Bias.U16())
	}
}

// packHalfB is packB from 16 bits.
func (p *product) packHalfB(dst []float32, q0, q1, p0, kb int) {
	h, j0 := &p.halves, p.start(q0)
	if p.g.TransB { // a panel's columns lie along K
		for q := q0; q < q1; q++ {
			j := p.start(q)
			p.widenLines(h.via, kb, &p.b, j, p.start(q+1)-j, p0, kb)
			p.packPanels(dst[(j-j0)*kb:], q, q+1, span{kb, 0, kb}, h.via, kb)
		}
		return
	}
	for q, each := q0, p.piecePanels(); q < q1; q += each {
		end := min(q+each, q1)
		j, width := p.start(q), p.start(end)-p.start(q)
		for s := 0; s < kb; s += pieceSteps {
			n := min(pieceSteps, kb-s)
			p.widenLines(h.via, width, &p.b, p0+s, n, j, width)
			p.packPanels(dst[(j-j0)*kb:], q, end, span{kb, s, n}, h.via, width)
		}
	}
}

// packHalfA is packA from 16 bits that run across K.
func (p *product) packHalfA(dst []float32, i0, i1, p0, kb int) {
	h := &p.halves
	for i := i0; i < i1; i += pieceLines {
		end := min(i+pieceLines, i1)
		for s := 0; s < kb; s += pieceSteps {
			n := min(pieceSteps, kb-s)
			p.widenLines(h.via, end-i, &p.a, p0+s, n, i, end-i)
			p.packGroups(dst[(i-i0)*kb:], i, end, span{kb, s, n}, h.via, end-i)
		}
	}
}

// widenA brings the rows [i0, i1) of A, steps [p0, p0+kb), into dst, a row behind the other.
func (p *product) widenA(dst []float32, i0, i1, p0, kb int) {
	p.widenLines(dst, kb, &p.a, i0, i1-i0, p0, kb)
}

// widenLines is dst[r*step+c] = src[row+r, col+c] for r < rows, c < cols.
func (p *product) widenLines(dst []float32, step int, src *factor, row, rows, col, cols int) {
	for r := range rows {
		p.halves.widen(dst[r*step:][:cols], src.half[(row+r)*src.ld+col:][:cols])
	}
}

// widenedA says where the tile's rows of A are after widenA: from row i on. A tile that reaches over the last one reads
// leftovers there, and they count for nothing.
func (p *product) widenedA(rows []float32, i, kb int) {
	p.tile.a, p.tile.rsa, p.tile.csa, p.tile.nextA = unsafe.Pointer(&rows[i*kb]), 4*kb, 4, 4*kb*p.shape.rows
}

// multiplyHalf is multiply for C in 16 bits.
func (p *product) multiplyHalf(panel []float32, i, j, cols, p0, kb int) {
	t, h, last := &p.tile, &p.halves, p0+kb >= p.k
	rows, width := min(p.shape.rows, p.m-i), p.shape.cols
	t.k, t.b, t.rows, t.alpha = kb, unsafe.Pointer(unsafe.SliceData(panel)), rows, p.g.Alpha
	t.bias = nil
	if last && p.bias != nil {
		t.bias = unsafe.Pointer(&p.bias[j])
	}
	t.out, t.ldo = unsafe.Pointer(&p.z[0]), 4*width
	var sums unsafe.Pointer
	if p0 > 0 || !last {
		sums = p.sums.at(i, j)
	}
	if !last {
		t.out, t.ldo = sums, 4*p.sums.step
	}
	t.c, t.ldc = nil, t.ldo
	switch {
	case p0 > 0:
		t.c, t.ldc = sums, 4*p.sums.step
	case p.g.Accumulate:
		h.widenTile(h.old, width, h.out, h.ldc, i, j, rows, cols)
		t.c, t.ldc = unsafe.Pointer(&h.old[0]), 4*width
	}
	p.ahead.next(t, 1, p.shape.below)
	p.w.level.multiply(p, rows, cols)
	if last {
		p.finishHalf(i, j, rows, cols)
	}
}

// finishHalf applies the activation to the tile in z and rounds it into C.
func (p *product) finishHalf(i, j, rows, cols int) {
	h, width, z := &p.halves, p.shape.cols, unsafe.Pointer(&p.z[0])
	switch p.g.Act {
	case backend.GELU:
		kept, ld := h.pre, h.ldpre
		if kept == nil {
			kept, ld = h.out, h.ldc // until the activation is there
		}
		h.narrowTile(kept, ld, p.z, width, i, j, rows, cols)
		h.widenTile(p.z, width, kept, ld, i, j, rows, cols)
		p.w.level.geluTile(z, z, nil, 4*width, 4*width, 0, rows, cols)
	case backend.GELUGrad:
		h.widenTile(h.old, width, h.pre, h.ldpre, i, j, rows, cols)
		p.w.level.geluGradTile(z, z, unsafe.Pointer(&h.old[0]), 4*width, 4*width, 4*width, rows, cols)
	}
	h.narrowTile(h.out, h.ldc, p.z, width, i, j, rows, cols)
}

func (h *halves) widenTile(dst []float32, step int, src []uint16, ld, i, j, rows, cols int) {
	for r := range rows {
		h.widen(dst[r*step:][:cols], src[(i+r)*ld+j:][:cols])
	}
}

func (h *halves) narrowTile(dst []uint16, ld int, src []float32, step, i, j, rows, cols int) {
	for r := range rows {
		h.narrow(dst[(i+r)*ld+j:][:cols], src[r*step:][:cols])
	}
}
