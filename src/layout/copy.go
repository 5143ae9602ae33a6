package layout

// Copy moves the elements of box `from` to box `to`, element by element in row-major order. src holds srcBox and dst
// holds dstBox, row-major without gaps, with elements of the given size in bytes; from lies in srcBox, to in dstBox, and
// both have the same sides. All boxes are in the global indices of their tensors. dst and src must not overlap.
func Copy(dst []byte, dstBox, to Box, src []byte, srcBox, from Box, size int) {
	outer := max(outerDims(srcBox, from), outerDims(dstBox, to))
	eachRun(from, outer, func(at []int, run int) {
		d, s, n := offset(dstBox, to, at)*size, offset(srcBox, from, at)*size, run*size
		copy(dst[d:d+n], src[s:s+n])
	})
}

// Runs calls f for the contiguous runs that the elements of part form in a row-major buffer that holds whole: the first
// element's number in the buffer and the run's length, in elements. Runs come in the order of the elements.
func Runs(whole, part Box, f func(first, n int)) {
	eachRun(part, outerDims(whole, part), func(at []int, run int) { f(offset(whole, part, at), run) })
}

// outerDims is how many leading dimensions must be walked through, so that part is contiguous in whole along the
// remaining ones: these have the sides of whole, but for the first of them.
func outerDims(whole, part Box) int {
	d := len(part.Lo) - 1
	for d > 0 && part.Lo[d] == whole.Lo[d] && part.Hi[d] == whole.Hi[d] {
		d--
	}
	return max(d, 0)
}

// eachRun calls f with every index, relative to part, of part's first outer dimensions, in order, and the number of elements
// that part has in the remaining ones.
func eachRun(part Box, outer int, f func(at []int, run int)) {
	if part.Empty() {
		return
	}
	run := 1
	for d := outer; d < len(part.Lo); d++ {
		run *= part.Hi[d] - part.Lo[d]
	}
	at := make([]int, outer)
	for {
		f(at, run)
		d := outer - 1
		for ; d >= 0; d-- {
			if at[d]++; at[d] < part.Hi[d]-part.Lo[d] {
				break
			}
			at[d] = 0
		}
		if d < 0 {
			return
		}
	}
}

// offset is the number, in a buffer that holds whole, of the element of part whose index relative to part begins with at
// and goes on with zeros.
func offset(whole, part Box, at []int) int {
	n := 0
	for d := range whole.Lo {
		x := part.Lo[d] - whole.Lo[d]
		if d < len(at) {
			x += at[d]
		}
		n = n*(whole.Hi[d]-whole.Lo[d]) + x
	}
	return n
}
