package cpu

import (
	"fmt"
	"unsafe"

	"cambium/src/tensor"
)

// columnGrain is the alignment in columns at which workers split a matrix by columns: a few cache lines.
const columnGrain = 64

// sumRows is the number of 16-bit rows that are widened together: few enough for the first-level cache, and a multiple of
// the rows that portable loops add at a time.
const sumRows = 8

// sumParts is the number of partial sums of a reduction over elements. It must not depend on the number of workers.
const sumParts = 64

// ColumnSum is out[j] (+)= sum_n x[n,j].
func (s *stream) ColumnSum(out, x tensor.Tensor, accumulate bool) {
	mustBeF32("column sum", out)
	mustBeStored("column sum", x)
	mustHold("column sum", out, x.Cols())
	t := s.begin("column sum", runColumnSum)
	t.vec = vecArgs{x: x, y: out, accumulate: accumulate}
	s.commit()
}

// runColumnSum gives every worker a range of columns, whose rows it adds in their order.
func runColumnSum(w *worker, t *task) {
	k, x := w.kernels(), t.vec.x
	lo, hi := w.part(x.Cols(), columnGrain)
	if lo == hi {
		return
	}
	out := t.vec.y.F32()[lo:hi]
	if !t.vec.accumulate {
		clear(out)
	}
	if wide(x) {
		if x.Rows() > 0 {
			k.addRows(out, x.F32()[lo:], x.LD(), x.Rows())
		}
		return
	}
	step := roundUp(hi-lo, lineFloats)
	via := w.scratch(sumRows * step)
	for r := 0; r < x.Rows(); r += sumRows {
		n := min(sumRows, x.Rows()-r)
		v, ld := k.block(x, r, lo, n, hi-lo, via, step)
		k.addRows(out, v, ld, n)
	}
}

// SumSquares is out[0] (+)= sum x^2 in fp64.
func (s *stream) SumSquares(out, x tensor.Tensor, accumulate bool) {
	mustBePresent("sum of squares", out)
	mustBeStored("sum of squares", x)
	if out.DType() != tensor.F64 || out.Len() != 1 {
		panic(fmt.Sprintf("cpu: sum of squares: out is %v: want fp64[1]", out))
	}
	t := s.begin("sum of squares", runSumSquares)
	t.vec = vecArgs{x: x, y: out, accumulate: accumulate}
	s.commit()
}

func runSumSquares(w *worker, t *task) {
	k, x := w.kernels(), t.vec.x
	f := flatten(x)
	partial := float64s(w.shared(2 * sumParts))
	limit := f.n
	var via []float32
	if !wide(x) {
		via, limit = w.scratch(chunk), chunk
	}
	lo, hi := w.part(sumParts, 1)
	for p := lo; p < hi; p++ {
		from, to := part(f.n, p, sumParts, grain)
		sum := 0.0
		for at := from; at < to; {
			r, c, n := f.next(at, to, limit)
			at += n
			v, _ := k.block(x, r, c, 1, n, via, chunk)
			sum += k.sumSquares(v[:n])
		}
		partial[p] = sum
	}
	w.barrier()
	if w.index != 0 {
		return
	}
	out := t.vec.y.F64()
	sum := 0.0
	if t.vec.accumulate {
		sum = out[0]
	}
	for _, p := range partial {
		sum += p
	}
	out[0] = sum
}

// float64s sees aligned scratch memory as fp64.
func float64s(x []float32) []float64 {
	return unsafe.Slice((*float64)(unsafe.Pointer(&x[0])), len(x)/2)
}
