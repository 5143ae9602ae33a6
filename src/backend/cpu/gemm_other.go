//go:build !amd64

package cpu

import "unsafe"

func (l level) multiply(p *product, rows, cols int) { p.multiplyWhole(tileGo, rows, cols) }

// packPanels packs a span of the panels [q0, q1); src is the first column's first step of the span, rows of B ld apart.
func (p *product) packPanels(dst []float32, q0, q1 int, s span, src []float32, ld int) {
	p.packPanelsGo(dst, q0, q1, s, src, ld)
}

// packGroups packs a span of the rows [i0, i1); src is the first row's first step of the span, rows of A ld apart.
func (p *product) packGroups(dst []float32, i0, i1 int, s span, src []float32, ld int) {
	p.packGroupsGo(dst, i0, i1, s, src, ld)
}

// geluTile is c = gelu(z) and, when pre is not nil, pre = z, for rows x cols elements; distances of rows in bytes.
func (l level) geluTile(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int) {
	geluGo(c, z, pre, ldc, ldz, ldpre, rows, cols)
}

// geluGradTile is c = z gelu'(pre); c may be z or pre.
func (l level) geluGradTile(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int) {
	geluGradGo(c, z, pre, ldc, ldz, ldpre, rows, cols)
}
