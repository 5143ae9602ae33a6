package cpu

import "unsafe"

//go:noescape
func tile8x48(t *tile)

//go:noescape
func tile8x32(t *tile)

//go:noescape
func tile8x16(t *tile)

//go:noescape
func transpose16(dst, src unsafe.Pointer, dstStep, ld, quads int)

//go:noescape
func copy48(dst, src unsafe.Pointer, panel, ld, k, panels int)

//go:noescape
func copy16(dst, src unsafe.Pointer, dstStep, group, ld, k, groups int, mask uint64)

//go:noescape
func tile6x16(t *tile)

//go:noescape
func transpose8(dst, src unsafe.Pointer, dstStep, ld, quads int)

//go:noescape
func copyPanels16(dst, src unsafe.Pointer, panel, ld, k, panels int)

//go:noescape
func copyGroups6(dst, src unsafe.Pointer, group, ld, k, groups int)

func (l level) multiply(p *product, rows, cols int) {
	switch l {
	case avx512:
		multiply512(&p.tile, cols)
	case avx2:
		p.multiplyWhole(tile6x16, rows, cols)
	default:
		p.multiplyWhole(tileGo, rows, cols)
	}
}

// multiply512 masks the columns that do not exist instead of computing them apart.
func multiply512(t *tile, cols int) {
	t.mask = 1<<cols - 1
	t.add, t.biasMask = t.mask, t.mask
	if t.c == nil {
		t.add, t.c = 0, t.out
	}
	if t.bias == nil {
		t.biasMask, t.bias = 0, t.out
	}
	switch {
	case cols > 32:
		tile8x48(t)
	case cols > 16:
		tile8x32(t)
	default:
		tile8x16(t)
	}
}

// packPanels packs a span of the panels [q0, q1); src is the first column's first step of the span, rows of B ld apart.
func (p *product) packPanels(dst []float32, q0, q1 int, s span, src []float32, ld int) {
	switch {
	case p.w.level == portable:
		p.packPanelsGo(dst, q0, q1, s, src, ld)
	case p.g.TransB:
		p.transposeB(dst, q0, q1, s, src, ld)
	default:
		p.copyB(dst, q0, q1, s, src, ld)
	}
}

// copyB packs B as it lies: panels of the tile's width together, narrower ones one by one.
func (p *product) copyB(dst []float32, q0, q1 int, s span, src []float32, ld int) {
	width, j0, whole := p.shape.cols, p.start(q0), q0
	for whole < q1 && p.start(whole+1)-p.start(whole) == width {
		whole++
	}
	if whole > q0 {
		pack := copyPanels16
		if p.w.level == avx512 {
			pack = copy48
		}
		pack(unsafe.Pointer(&dst[s.at*width]), unsafe.Pointer(&src[0]), 4*width*s.kb, 4*ld, s.n, whole-q0)
	}
	for q := whole; q < q1; q++ {
		j := p.start(q)
		cols := p.start(q+1) - j
		step := roundUp(cols, 16)
		if p.w.level == avx512 {
			copyGroups16(dst[(j-j0)*s.kb+s.at*step:], step, 16, src[j-j0:], ld, cols, s.n)
		} else {
			packGo(dst[(j-j0)*s.kb+s.at*step:], step, step, src[j-j0:], 1, ld, cols, s.n)
		}
	}
}

// transposeB packs B whose rows are the panels' columns, 16 or 8 at a time.
func (p *product) transposeB(dst []float32, q0, q1 int, s span, src []float32, ld int) {
	j0, group := p.start(q0), 8
	if p.w.level == avx512 {
		group = 16
	}
	for q := q0; q < q1; q++ {
		j, end := p.start(q), p.start(q+1)
		step := roundUp(end-j, 16)
		for c := 0; c < step; c += group {
			p.w.level.transpose(dst[(j-j0)*s.kb+s.at*step+c:], step, src, (j+c-j0)*ld, ld, max(0, min(group, end-j-c)), s.n)
		}
	}
}

// transpose is dst[p*step+r] = src[at+r*ld+p] for r < 16 (AVX-512) or 8 (AVX2) and p < k, with zeros for r >= count.
func (l level) transpose(dst []float32, step int, src []float32, at, ld, count, k int) {
	group, kernel := 8, transpose8
	if l == avx512 {
		group, kernel = 16, transpose16
	}
	done := 0
	if count == group && k >= 4 {
		done = k &^ 3
		kernel(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[at]), 4*step, 4*ld, k/4)
	}
	if done < k {
		packGo(dst[done*step:], step, group, src[min(at+done, len(src)):], ld, 1, count, k-done)
	}
}

// copyGroups16 is dst[i/16*group*k + p*step + i%16] = src[p*ld+i] for i < count, p < k; columns that are missing in the
// last 16 become zero.
func copyGroups16(dst []float32, step, group int, src []float32, ld, count, k int) {
	groups := ceilDiv(count, 16)
	mask := uint64(1)<<(count-16*(groups-1)) - 1
	copy16(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), 4*step, 4*group, 4*ld, k, groups, mask)
}

// packGroups packs a span of the rows [i0, i1); src is the first row's first step of the span, rows of A ld apart.
func (p *product) packGroups(dst []float32, i0, i1 int, s span, src []float32, ld int) {
	switch {
	case p.w.level == portable:
		p.packGroupsGo(dst, i0, i1, s, src, ld)
	case p.w.level == avx512 && p.g.TransA:
		copyGroups16(dst[16*s.at:], 16, 16*s.kb, src, ld, i1-i0, s.n)
	case p.w.level == avx512:
		for i := i0; i < i1; i += 16 {
			p.w.level.transpose(dst[(i-i0)*s.kb+16*s.at:], 16, src, (i-i0)*ld, ld, min(16, i1-i), s.n)
		}
	case p.g.TransA:
		whole := (i1 - i0) / 6
		if whole > 0 {
			copyGroups6(unsafe.Pointer(&dst[6*s.at]), unsafe.Pointer(&src[0]), 4*6*s.kb, 4*ld, s.n, whole)
		}
		if i := i0 + 6*whole; i < i1 {
			p.packGroupsGo(dst[6*whole*s.kb:], i, i1, s, src[6*whole:], ld)
		}
	default:
		for i := i0; i < i1; i += 6 {
			transpose6Rows(dst[(i-i0)*s.kb+6*s.at:], src[(i-i0)*ld:], ld, min(6, i1-i), s.n)
		}
	}
}

//go:noescape
func transpose6(dst, src unsafe.Pointer, ld, quads int)

// transpose6Rows is dst[p*6+r] = src[r*ld+p] for r < 6 and p < k, with zeros for r >= count.
func transpose6Rows(dst, src []float32, ld, count, k int) {
	done := 0
	if count == 6 && k >= 4 {
		done = k &^ 3
		transpose6(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), 4*ld, k/4)
	}
	if done < k {
		packGo(dst[6*done:], 6, 6, src[done:], ld, 1, count, k-done)
	}
}

//go:noescape
func geluAVX512(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int)

//go:noescape
func geluGradAVX512(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int)

//go:noescape
func geluAVX2(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int)

//go:noescape
func geluGradAVX2(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int)

// geluTile is c = gelu(z) and, when pre is not nil, pre = z, for rows x cols elements; distances of rows in bytes.
func (l level) geluTile(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int) {
	if pre == nil {
		pre, ldpre = c, ldc // written before c is
	}
	switch l {
	case avx512:
		geluAVX512(c, z, pre, ldc, ldz, ldpre, rows, cols)
	case avx2:
		geluAVX2(c, z, pre, ldc, ldz, ldpre, rows, cols)
	default:
		geluGo(c, z, pre, ldc, ldz, ldpre, rows, cols)
	}
}

// geluGradTile is c = z gelu'(pre); c may be z or pre.
func (l level) geluGradTile(c, z, pre unsafe.Pointer, ldc, ldz, ldpre, rows, cols int) {
	switch l {
	case avx512:
		geluGradAVX512(c, z, pre, ldc, ldz, ldpre, rows, cols)
	case avx2:
		geluGradAVX2(c, z, pre, ldc, ldz, ldpre, rows, cols)
	default:
		geluGradGo(c, z, pre, ldc, ldz, ldpre, rows, cols)
	}
}
