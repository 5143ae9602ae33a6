package cpu

// packGo copies count lines of a matrix, n steps of k, side by side: dst[p*step+r] = src[r*line+p*next] for r < count, and
// zeros from there to width.
func packGo(dst []float32, step, width int, src []float32, line, next, count, k int) {
	for p := range k {
		d := dst[p*step : p*step+width]
		for r := range count {
			d[r] = src[r*line+p*next]
		}
		clear(d[count:])
	}
}

// packPanelsGo is packB for any level.
func (p *product) packPanelsGo(dst []float32, q0, q1, p0, kb int) {
	line, next := 1, p.ldb
	if p.g.TransB {
		line, next = p.ldb, 1
	}
	j0 := p.start(q0)
	for q := q0; q < q1; q++ {
		j := p.start(q)
		cols := p.start(q+1) - j
		width := roundUp(cols, p.panelAlign())
		packGo(dst[(j-j0)*kb:], width, width, p.b[j*line+p0*next:], line, next, cols, kb)
	}
}

// packGroupsGo is packA for any level.
func (p *product) packGroupsGo(dst []float32, i0, i1, p0, kb int) {
	line, next, g := p.lda, 1, p.shape.group
	if p.g.TransA {
		line, next = 1, p.lda
	}
	for i := i0; i < i1; i += g {
		packGo(dst[(i-i0)*kb:], g, g, p.a[i*line+p0*next:], line, next, min(g, i1-i), kb)
	}
}
