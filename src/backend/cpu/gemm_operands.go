package cpu

import "unsafe"

// How a product divides its worker's scratch memory among operands, and where the kernels find them.

// superBlock is how many steps of K the shared operand is packed for at a time: whole blocks.
func (p *product) superBlock(width int) int {
	return max(1, sharedFloats/(width*p.kc)) * p.kc
}

// panelAlign is what a panel's width is padded to.
func (p *product) panelAlign() int { return min(p.shape.cols, 16) }

// carve takes this worker's scratch memory: a packed piece of width columns or rows, and a tile.
func (p *product) carve(width int) {
	all := p.w.scratch(maxTile + width*min(p.kc, roundUp(p.k, 4)))
	p.z, p.mine = all[:maxTile], all[maxTile:]
}

func (p *product) packSharedA(lo, hi, packed int) {
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
	p.tile.a, p.tile.rsa, p.tile.csa = unsafe.Pointer(&p.a[i*p.lda+p0]), 4*p.lda, 4
}

func (p *product) packedA(groups []float32, i, kb int) {
	g := p.shape.group
	p.tile.a, p.tile.rsa, p.tile.csa = unsafe.Pointer(&groups[i/g*g*kb+i%g]), 4, 4*g
}
