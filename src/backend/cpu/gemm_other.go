//go:build !amd64

package cpu

import "unsafe"

func (l level) multiply(p *product, rows, cols int) { p.multiplyWhole(tileGo, rows, cols) }

// packB brings the panels [q0, q1) of op(B), steps [p0, p0+kb), into dst: the panel that begins at column j lies at (j-j0) kb,
// a row of it is its columns, padded with zeros.
func (p *product) packB(dst []float32, q0, q1, p0, kb int) { p.packPanelsGo(dst, q0, q1, p0, kb) }

// packA brings the rows [i0, i1) of op(A), steps [p0, p0+kb), into dst: groups of shape.group rows, side by side for every
// step, padded with zeros.
func (p *product) packA(dst []float32, i0, i1, p0, kb int) { p.packGroupsGo(dst, i0, i1, p0, kb) }

// geluTile is c = gelu(z) and, when pre is not nil, pre = z, for rows x cols elements; distances of rows in bytes.
func (l level) geluTile(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int) {
	geluGo(c, z, pre, ldc, ldz, ldpre, rows, cols)
}

// geluGradTile is c = z gelu'(pre); c may be z or pre.
func (l level) geluGradTile(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int) {
	geluGradGo(c, z, pre, ldc, ldz, ldpre, rows, cols)
}
