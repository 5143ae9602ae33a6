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

func combineBlock[E number](op comm.Op, from, to []tensor.Tensor, row, col int, acc []E, view func(tensor.Tensor) []E) {
	for q, t := range from {
		x := view(t)[row*t.LD()+col:]
		if q == 0 {
			copy(acc, x)
			continue
		}
		if op == comm.Sum {
			add(acc, x)
		} else {
			maximum(acc, x)
		}
	}
	for _, t := range to {
		copy(view(t)[row*t.LD()+col:], acc)
	}
}

func add[E number](acc, x []E) {
	x = x[:len(acc)]
	for i, v := range x {
		acc[i] += v
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
	combineHalf(op, from, to, row, col, n, fromBF16, toBF16)
}

func combineF16(op comm.Op, from, to []tensor.Tensor, row, col, n int) {
	combineHalf(op, from, to, row, col, n, fromF16, toF16)
}

// combineHalf sums in fp32 and rounds once.
func combineHalf(op comm.Op, from, to []tensor.Tensor, row, col, n int, widen func(uint16) float32, narrow func(float32) uint16) {
	var acc, x [block]float32
	for q, t := range from {
		in := t.U16()[row*t.LD()+col:][:n]
		for i, h := range in {
			x[i] = widen(h)
		}
		switch {
		case q == 0:
			acc = x
		case op == comm.Sum:
			add(acc[:n], x[:n])
		default:
			maximum(acc[:n], x[:n])
		}
	}
	for _, t := range to {
		out := t.U16()[row*t.LD()+col:][:n]
		for i := range out {
			out[i] = narrow(acc[i])
		}
	}
}
