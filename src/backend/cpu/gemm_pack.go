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

// packPanelsGo is packPanels for any level.
func (p *product) packPanelsGo(dst []float32, q0, q1 int, s span, src []float32, ld int) {
	line, next := 1, ld
	if p.g.TransB {
		line, next = ld, 1
	}
	j0 := p.start(q0)
	for q := q0; q < q1; q++ {
		j := p.start(q)
		cols := p.start(q+1) - j
		width := roundUp(cols, p.panelAlign())
		packGo(dst[(j-j0)*s.kb+s.at*width:], width, width, src[(j-j0)*line:], line, next, cols, s.n)
	}
}

// packGroupsGo is packGroups for any level.
func (p *product) packGroupsGo(dst []float32, i0, i1 int, s span, src []float32, ld int) {
	line, next, g := ld, 1, p.shape.group
	if p.g.TransA {
		line, next = 1, ld
	}
	for i := i0; i < i1; i += g {
		packGo(dst[(i-i0)*s.kb+s.at*g:], g, g, src[(i-i0)*line:], line, next, min(g, i1-i), s.n)
	}
}
