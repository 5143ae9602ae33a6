package parts

import (
	"cambium/src/comm"
	"cambium/src/tensor"
)

// block is the number of elements combined at a time: accumulators stay in the first-level cache.
const block = 1024

// Combine does to[k][e] = op over ranks q of from[q][e], in rank order, for elements lo <= e < hi (counted without the gaps
// between rows). Each block is read from all ranks before it is written, so that to may alias from.
func Combine(op comm.Op, from, to []tensor.Tensor, lo, hi int) {
	cols, flat := from[0].Cols(), true
	for _, list := range [2][]tensor.Tensor{from, to} {
		for _, t := range list {
			flat = flat && t.Contiguous()
		}
	}
	if flat {
		cols = max(hi, 1) // one row
	}
	if flat && op == comm.Sum && len(from) == 2 && len(to) == 1 && from[0].DType() == tensor.F32 { // the commonest: no blocks
		Add(to[0].F32()[lo:hi], from[0].F32()[lo:hi], from[1].F32()[lo:hi])
		return
	}
	run := dispatch(from[0].DType())
	for at := lo; at < hi; {
		row, col := at/cols, at%cols
		n := min(hi-at, cols-col, block)
		run(op, from, to, row, col, n)
		at += n
	}
}

type runner func(op comm.Op, from, to []tensor.Tensor, row, col, n int)

func dispatch(d tensor.DType) runner {
	switch d {
	case tensor.F64:
		return combineF64
	case tensor.I32:
		return combineI32
	case tensor.BF16:
		return combineBF16
	case tensor.F16:
		return combineF16
	}
	return combineF32
}

func combineF32(op comm.Op, from, to []tensor.Tensor, row, col, n int) {
	var acc [block]float32
	combineBlock(op, from, to, row, col, acc[:n], tensor.Tensor.F32)
}

func combineF64(op comm.Op, from, to []tensor.Tensor, row, col, n int) {
	var acc [block]float64
	combineBlock(op, from, to, row, col, acc[:n], tensor.Tensor.F64)
}

func combineI32(op comm.Op, from, to []tensor.Tensor, row, col, n int) {
	var acc [block]int32
	combineBlock(op, from, to, row, col, acc[:n], tensor.Tensor.I32)
}

type number interface{ float32 | float64 | int32 }

// combineBlock works in acc, which stays in the first-level cache; two ranks' sum needs no way through it.
func combineBlock[E number](op comm.Op, from, to []tensor.Tensor, row, col int, acc []E, view func(tensor.Tensor) []E) {
	at := func(t tensor.Tensor) []E { return view(t)[row*t.LD()+col:][:len(acc)] }
	if op == comm.Sum && len(from) > 1 {
		if len(from) == 2 && len(to) == 1 {
			acc, to = at(to[0]), nil
		}
		addTo(acc, at(from[0]), at(from[1]))
		from = from[2:]
	} else {
		copy(acc, at(from[0]))
		from = from[1:]
	}
	for _, t := range from {
		if op == comm.Sum {
			addTo(acc, acc, at(t))
		} else {
			maximum(acc, at(t))
		}
	}
	for _, t := range to {
		copy(at(t), acc)
	}
}

// Add does out = a + b, of vectors of one length; out may be a or b.
func Add(out, a, b []float32) { addTo(out, a, b) }

// addTo is Add of any numbers.
func addTo[E number](out, a, b []E) {
	if len(out) == 0 {
		return
	}
	n := addVectors(out, a, b)
	out, a, b = out[n:], a[n:], b[n:]
	a, b = a[:len(out)], b[:len(out)]
	for i := range out {
		out[i] = a[i] + b[i]
	}
}

// maximum keeps a NaN of either side.
func maximum[E number](acc, x []E) {
	x = x[:len(acc)]
	for i, v := range x {
		if v > acc[i] || v != v {
			acc[i] = v
		}
	}
}

func combineBF16(op comm.Op, from, to []tensor.Tensor, row, col, n int) {
	var acc, x [block]float32
	for q, t := range from {
		in := t.U16()[row*t.LD()+col:][:n]
		if q == 0 {
			widenBF16(acc[:n], in)
			continue
		}
		widenBF16(x[:n], in)
		combineWide(op, acc[:n], x[:n])
	}
	for _, t := range to {
		narrowBF16(t.U16()[row*t.LD()+col:][:n], acc[:n])
	}
}

func combineF16(op comm.Op, from, to []tensor.Tensor, row, col, n int) {
	var acc, x [block]float32
	for q, t := range from {
		in := t.U16()[row*t.LD()+col:][:n]
		if q == 0 {
			widenF16(acc[:n], in)
			continue
		}
		widenF16(x[:n], in)
		combineWide(op, acc[:n], x[:n])
	}
	for _, t := range to {
		narrowF16(t.U16()[row*t.LD()+col:][:n], acc[:n])
	}
}

// combineWide is for 16-bit types, which are summed in fp32 and rounded once.
func combineWide(op comm.Op, acc, x []float32) {
	if op == comm.Sum {
		addTo(acc, acc, x)
	} else {
		maximum(acc, x)
	}
}

func widenBF16(out []float32, in []uint16) {
	n := widenBF16Vectors(out, in)
	in = in[:len(out)]
	for i := n; i < len(out); i++ {
		out[i] = fromBF16(in[i])
	}
}

func narrowBF16(out []uint16, in []float32) {
	n := narrowBF16Vectors(out, in)
	in = in[:len(out)]
	for i := n; i < len(out); i++ {
		out[i] = toBF16(in[i])
	}
}

func widenF16(out []float32, in []uint16) {
	n := widenF16Vectors(out, in)
	in = in[:len(out)]
	for i := n; i < len(out); i++ {
		out[i] = fromF16(in[i])
	}
}

func narrowF16(out []uint16, in []float32) {
	n := narrowF16Vectors(out, in)
	in = in[:len(out)]
	for i := n; i < len(out); i++ {
		out[i] = toF16(in[i])
	}
}
