package cpu

import "unsafe"

// ahead hands out the cache lines of a rectangle of memory to the tiles that are computed before it is needed, a few to
// each, so that weights arrive from memory while the arithmetic goes on. Down the rows first: a rectangle has enough of
// them for every tile to fetch about as many lines.
type ahead struct {
	base        unsafe.Pointer
	stride      int // bytes from row to row
	rows, lines int
	each        int // rows that a tile fetches
	row, line   int
}

// lineFloats is the number of floats in a cache line.
const lineFloats = cacheLine / 4

// set describes rows pieces of cols elements of src, a row apart, from element at on, and the number of tiles to come.
func (a *ahead) set(src *factor, at, rows, cols, tiles int, below bool) {
	*a = ahead{}
	if rows <= 0 || cols <= 0 || tiles <= 0 {
		return
	}
	*a = ahead{base: src.address(at), stride: src.size() * src.ld, rows: rows, lines: ceilDiv(cols*src.size(), cacheLine)}
	if below {
		a.each = ceilDiv(rows*a.lines, tiles)
	} else {
		a.each = ceilDiv(rows, max(1, tiles/a.lines)) // a tile stays within a column of lines
	}
}

// next gives the n tiles of a call their share.
func (a *ahead) next(t *tile, n int, below bool) {
	if a.line >= a.lines {
		t.fetches = 0
		return
	}
	t.fetch = uintptr(a.base) + uintptr(a.row*a.stride+a.line*cacheLine)
	t.fetchStep, t.fetches = a.stride, min(a.each, a.rows-a.row)
	if below {
		t.each, t.fetches = a.each, min(n*a.each, (a.lines-a.line)*a.rows-a.row)
		t.fetchRows, t.fetchLeft, t.fetchWrap = a.rows, a.rows-a.row, cacheLine-a.rows*a.stride
	}
	for a.row += t.fetches; a.row >= a.rows; a.row -= a.rows {
		a.line++
	}
}
