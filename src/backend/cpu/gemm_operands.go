package cpu

import (
	"unsafe"

	"cambium/src/tensor"
)

// How a product divides its worker's scratch memory among operands, and where the kernels find them.

// superBlock is how many steps of K the shared operand, width lines, is packed for at a time in so many floats: whole blocks.
func (p *product) superBlock(width, floats int) int {
	return max(1, floats/(width*p.kc)) * p.kc
}

// panelAlign is what a panel's width is padded to.
func (p *product) panelAlign() int { return min(p.shape.cols, 16) }

// factor is A or B in memory: fp32, or 16 bits, which have to be widened before they are packed.
type factor struct {
	data []float32
	half []uint16
	ld   int
}

func factorOf(x tensor.Tensor) factor {
	if wide(x) {
		return factor{data: x.F32(), ld: x.LD()}
	}
	return factor{half: x.U16(), ld: x.LD()}
}

func (f *factor) size() int {
	if f.half != nil {
		return 2
	}
	return 4
}

func (f *factor) address(at int) unsafe.Pointer {
	if f.half != nil {
		return unsafe.Pointer(&f.half[at])
	}
	return unsafe.Pointer(&f.data[at])
}

// span is the steps [at, at+n) of a block of K that is kb long.
type span struct{ kb, at, n int }

// sharedLines is the number of rows of A that workers have to prepare before they can share them.
func (p *product) sharedLines() int {
	if p.halves.wideA {
		return roundUp(p.m, p.shape.rows)
	}
	return roundUp(p.m-p.packedFrom, p.shape.group)
}

// share takes the memory for lines of the shared operand, super steps of K.
func (p *product) share(lines, super int) {
	n := lines * min(super, roundUp(p.k, 4))
	if sums := p.sums.shared(p, super); n+sums > 0 {
		all := p.w.shared(n + sums)
		p.shared, p.sums.mem = all[:n], all[n:]
	}
}

// carve takes this worker's scratch memory: a packed piece of width columns or rows, a column of tiles, and what an item of
// rows x cols needs. share comes first.
func (p *product) carve(width, rows, cols int) {
	z := max(maxTile, p.shape.block*p.shape.cols)
	n := z + width*min(p.kc, roundUp(p.k, 4))
	sums := p.sums.scratch(rows, cols)
	all := p.w.scratch(n + sums + p.halves.scratch(p))
	p.z, p.mine = all[:z], all[z:n]
	if sums > 0 {
		p.sums.mem = all[n : n+sums]
	}
	p.halves.carve(p, all[n+sums:])
}

// packB brings the panels [q0, q1) of op(B), steps [p0, p0+kb), into dst: the panel that begins at column j lies at (j-j0) kb,
// a row of it is its columns, padded with zeros.
func (p *product) packB(dst []float32, q0, q1, p0, kb int) {
	j := p.start(q0)
	switch {
	case p.b.half != nil:
		p.packHalfB(dst, q0, q1, p0, kb)
	case p.g.TransB:
		p.packPanels(dst, q0, q1, span{kb, 0, kb}, p.b.data[j*p.b.ld+p0:], p.b.ld)
	default:
		p.packPanels(dst, q0, q1, span{kb, 0, kb}, p.b.data[p0*p.b.ld+j:], p.b.ld)
	}
}

// packA brings the rows [i0, i1) of op(A), steps [p0, p0+kb), into dst: groups of shape.group rows, side by side for every
// step, padded with zeros.
func (p *product) packA(dst []float32, i0, i1, p0, kb int) {
	switch {
	case p.a.half != nil:
		p.packHalfA(dst, i0, i1, p0, kb)
	case p.g.TransA:
		p.packGroups(dst, i0, i1, span{kb, 0, kb}, p.a.data[p0*p.a.ld+i0:], p.a.ld)
	default:
		p.packGroups(dst, i0, i1, span{kb, 0, kb}, p.a.data[i0*p.a.ld+p0:], p.a.ld)
	}
}

func (p *product) packSharedA(lo, hi, packed int) {
	if p.halves.wideA {
		p.eachBlock(lo, hi, func(p0, kb int) {
			i0, i1 := p.w.part(p.m, p.shape.rows)
			p.widenA(p.shared[(p0-lo)*packed+i0*kb:], i0, i1, p0, kb)
		})
		return
	}
	groups := packed / p.shape.group
	p.eachBlock(lo, hi, func(p0, kb int) {
		dst := p.shared[(p0-lo)*packed:]
		g0, g1 := p.w.part(groups, 1)
		if g0 < g1 {
			i0 := p.packedFrom + g0*p.shape.group
			p.packA(dst[g0*p.shape.group*kb:], i0, min(p.packedFrom+g1*p.shape.group, p.m), p0, kb)
		}
	})
}

func (p *product) packSharedB(lo, hi, width int) {
	p.eachBlock(lo, hi, func(p0, kb int) {
		q0, q1 := p.w.part(p.panels, 1)
		if q0 < q1 {
			p.packB(p.shared[(p0-lo)*width+p.start(q0)*kb:], q0, q1, p0, kb)
		}
	})
}

// inPlaceA and packedA say where the tile's rows of A are.
func (p *product) inPlaceA(i, p0 int) {
	p.tile.a, p.tile.rsa, p.tile.csa, p.tile.nextA = unsafe.Pointer(&p.a.data[i*p.a.ld+p0]), 4*p.a.ld, 4, 4*p.a.ld*p.shape.rows
}

func (p *product) packedA(groups []float32, i, kb int) {
	g := p.shape.group
	p.tile.a, p.tile.rsa, p.tile.csa, p.tile.nextA = unsafe.Pointer(&groups[i/g*g*kb+i%g]), 4, 4*g, 4*g*kb
}
