//go:build mpi

package mpi

import (
	"sort"

	"cambium/src/tensor"
)

// flat is a list of tensors seen as one run of bytes, without the gaps between rows.
type flat struct {
	segs []segment
	n    int // bytes
}

// segment is rows of row bytes each, ld bytes apart; a contiguous tensor is one row. end counts the bytes of the list so far.
type segment struct {
	mem     []byte
	row, ld int
	end     int
}

// set forgets what f was. Neighbours in memory become one segment. It reports whether all memory is on the host.
func (f *flat) set(list []tensor.Tensor) bool {
	f.segs, f.n = f.segs[:0], 0
	for i := range list {
		t := &list[i]
		if !t.Present() {
			continue
		}
		size, rows := t.DType().Size(), t.Rows()
		s := segment{row: t.Cols() * size, ld: t.LD() * size}
		bytes := rows * s.row
		if bytes == 0 {
			continue
		}
		if s.row == s.ld || rows == 1 {
			s.row, s.ld, rows = bytes, bytes, 1
		}
		host := t.Memory().Host
		if host == nil {
			return false
		}
		s.mem = host[t.Offset():][:(rows-1)*s.ld+s.row]
		f.n += bytes
		s.end = f.n
		if k := len(f.segs) - 1; k >= 0 && f.segs[k].joins(s) {
			last := &f.segs[k]
			last.mem = last.mem[:len(last.mem)+len(s.mem)]
			last.row, last.ld, last.end = len(last.mem), len(last.mem), s.end
			continue
		}
		f.segs = append(f.segs, s)
	}
	return true
}

// joins tells whether b follows a in the same block of memory.
func (a segment) joins(b segment) bool {
	return a.row == len(a.mem) && b.row == len(b.mem) && cap(a.mem) >= len(a.mem)+len(b.mem) &&
		&a.mem[:len(a.mem)+1][len(a.mem)] == &b.mem[0]
}

// each calls f with the memory of bytes [lo, hi), piece by piece.
func (f *flat) each(lo, hi int, do func(b []byte)) {
	k := sort.Search(len(f.segs), func(i int) bool { return f.segs[i].end > lo })
	for ; lo < hi; k++ {
		s := &f.segs[k]
		begin := s.end - s.bytes()
		for lo < min(hi, s.end) {
			row, col := (lo-begin)/s.row, (lo-begin)%s.row
			n := min(s.row-col, hi-lo)
			at := row*s.ld + col
			do(s.mem[at : at+n])
			lo += n
		}
	}
}

func (s *segment) bytes() int {
	if s.row == len(s.mem) {
		return s.row
	}
	return ((len(s.mem)-s.row)/s.ld + 1) * s.row
}

// direct is the memory of [lo, hi) where it is one piece, else nil.
func (f *flat) direct(lo, hi int) []byte {
	if lo >= hi {
		return []byte{}
	}
	k := sort.Search(len(f.segs), func(i int) bool { return f.segs[i].end > lo })
	s := &f.segs[k]
	at := lo - (s.end - s.bytes())
	row, col := at/s.row, at%s.row
	if hi-lo > s.row-col {
		return nil
	}
	return s.mem[row*s.ld+col:][:hi-lo]
}

func (f *flat) pack(dst []byte, lo int) {
	f.each(lo, lo+len(dst), func(b []byte) { dst = dst[copy(dst, b):] })
}

func (f *flat) unpack(src []byte, lo int) {
	f.each(lo, lo+len(src), func(b []byte) { src = src[copy(b, src):] })
}

// copyFrom copies all of src, which has as many bytes.
func (f *flat) copyFrom(src *flat) {
	at := 0
	src.each(0, src.n, func(b []byte) {
		if &b[0] != f.first(at) || f.direct(at, at+len(b)) == nil {
			f.unpack(b, at)
		}
		at += len(b)
	})
}

// first is the address of byte at.
func (f *flat) first(at int) *byte {
	var p *byte
	f.each(at, at+1, func(b []byte) { p = &b[0] })
	return p
}
