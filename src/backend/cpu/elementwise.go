package cpu

import (
	"fmt"

	"cambium/src/tensor"
)

// chunk is the number of elements that a conversion handles at a time: small enough to stay in the first-level cache.
const chunk = 2048

// grain is the alignment in elements at which elementwise work is split between workers: a page of fp32.
const grain = 1024

// flat is a tensor, or several of one shape, seen as rows of the given length; when all are contiguous there is one row.
type flat struct{ n, cols int }

// flatten sees all tensors as one row when none has gaps.
func flatten(ts ...tensor.Tensor) flat {
	f := flat{ts[0].Len(), ts[0].Len()}
	for _, t := range ts {
		if !t.Contiguous() {
			f.cols = ts[0].Cols()
		}
	}
	return f
}

// next is the longest piece of one row that starts at element `at` and ends before hi, at most limit long.
func (f flat) next(at, hi, limit int) (row, col, n int) {
	row, col = at/f.cols, at%f.cols
	return row, col, min(f.cols-col, hi-at, limit)
}

// Fill sets every element.
func (s *stream) Fill(x tensor.Tensor, value float32) {
	mustBePresent("fill", x)
	t := s.begin("fill", runFill)
	t.vec = vecArgs{x: x, a: value}
	s.commit()
}

func runFill(w *worker, t *task) {
	x, a := t.vec.x, t.vec.a
	f := flatten(x)
	lo, hi := w.part(f.n, grain)
	for at := lo; at < hi; {
		r, c, n := f.next(at, hi, f.n)
		o := r*x.LD() + c
		switch x.DType() {
		case tensor.F32:
			fill(x.F32()[o:o+n], a)
		case tensor.F64:
			fill(x.F64()[o:o+n], float64(a))
		case tensor.I32:
			fill(x.I32()[o:o+n], int32(a))
		case tensor.BF16:
			fill(x.U16()[o:o+n], bf16From(a))
		case tensor.F16:
			fill(x.U16()[o:o+n], f16From(a))
		}
		at += n
	}
}

func fill[E float32 | float64 | int32 | uint16](x []E, v E) {
	if v == 0 {
		clear(x)
		return
	}
	for i := range x {
		x[i] = v
	}
}

// Copy is dst = src with conversion between floating-point types.
func (s *stream) Copy(dst, src tensor.Tensor) {
	mustBePresent("copy", dst, src)
	mustMatch("copy", dst, src)
	if dst.DType() != src.DType() && (!convertible(dst.DType()) || !convertible(src.DType())) {
		panic(fmt.Sprintf("cpu: copy: no conversion from %v to %v", src, dst))
	}
	t := s.begin("copy", runCopy)
	t.vec = vecArgs{x: dst, y: src}
	s.commit()
}

// convertible tells whether Copy converts d: fp32, bf16, fp16. (fp64 is for single sums and stays on its own.)
func convertible(d tensor.DType) bool { return d == tensor.F32 || d == tensor.BF16 || d == tensor.F16 }

func runCopy(w *worker, t *task) {
	k, dst, src := w.kernels(), t.vec.x, t.vec.y
	f := flatten(dst, src)
	lo, hi := w.part(f.n, grain)
	var via []float32
	if dst.DType() != src.DType() && dst.DType() != tensor.F32 && src.DType() != tensor.F32 {
		via = w.scratch(chunk)
	}
	for at := lo; at < hi; {
		limit := f.n
		if via != nil {
			limit = chunk
		}
		r, c, n := f.next(at, hi, limit)
		at += n
		d, o := r*dst.LD()+c, r*src.LD()+c
		switch {
		case dst.DType() == src.DType():
			size := dst.DType().Size()
			copy(dst.Memory().Host[dst.Offset()+d*size:][:n*size], src.Memory().Host[src.Offset()+o*size:])
		case via != nil:
			k.widen(via[:n], src, o)
			k.narrow(dst, d, via[:n])
		case dst.DType() == tensor.F32:
			k.widen(dst.F32()[d:d+n], src, o)
		default:
			k.narrow(dst, d, src.F32()[o:o+n])
		}
	}
}

// widen converts len(dst) elements of a 16-bit tensor from element o on.
func (k *kernels) widen(dst []float32, src tensor.Tensor, o int) {
	raw := src.U16()[o : o+len(dst)]
	if src.DType() == tensor.BF16 {
		k.fromBF16(dst, raw)
	} else {
		k.fromF16(dst, raw)
	}
}

// narrow rounds src into a 16-bit tensor from element o on.
func (k *kernels) narrow(dst tensor.Tensor, o int, src []float32) {
	raw := dst.U16()[o : o+len(src)]
	if dst.DType() == tensor.BF16 {
		k.toBF16(raw, src)
	} else {
		k.toF16(raw, src)
	}
}

// Axpy is y += a x.
func (s *stream) Axpy(y, x tensor.Tensor, a float32) {
	mustBeF32("axpy", y)
	mustBePresent("axpy", x)
	mustMatch("axpy", y, x)
	if !convertible(x.DType()) {
		panic(fmt.Sprintf("cpu: axpy: x is %v: want fp32, bf16 or fp16", x))
	}
	t := s.begin("axpy", runAxpy)
	t.vec = vecArgs{x: x, y: y, a: a}
	s.commit()
}

func runAxpy(w *worker, t *task) {
	k, x, y := w.kernels(), t.vec.x, t.vec.y
	f := flatten(y, x)
	lo, hi := w.part(f.n, grain)
	limit := f.n
	var via []float32
	if x.DType() != tensor.F32 {
		via, limit = w.scratch(chunk), chunk
	}
	dst := y.F32()
	for at := lo; at < hi; {
		r, c, n := f.next(at, hi, limit)
		at += n
		d, o := r*y.LD()+c, r*x.LD()+c
		if via != nil {
			k.widen(via[:n], x, o)
			k.axpy(dst[d:d+n], via[:n], t.vec.a)
			continue
		}
		k.axpy(dst[d:d+n], x.F32()[o:o+n], t.vec.a)
	}
}

// Scale is x *= a.
func (s *stream) Scale(x tensor.Tensor, a float32) {
	mustBeF32("scale", x)
	t := s.begin("scale", runScale)
	t.vec = vecArgs{x: x, a: a}
	s.commit()
}

func runScale(w *worker, t *task) {
	k, x := w.kernels(), t.vec.x
	f := flatten(x)
	lo, hi := w.part(f.n, grain)
	v := x.F32()
	for at := lo; at < hi; {
		r, c, n := f.next(at, hi, f.n)
		at += n
		k.scale(v[r*x.LD()+c:][:n], t.vec.a)
	}
}

// ScaleColumns is x[n,j] *= v[j].
func (s *stream) ScaleColumns(x, v tensor.Tensor) {
	mustBeF32("scale columns", x, v)
	mustHold("scale columns", v, x.Cols())
	t := s.begin("scale columns", runScaleColumns)
	t.vec = vecArgs{x: x, y: v}
	s.commit()
}

func runScaleColumns(w *worker, t *task) {
	k, x, v := w.kernels(), matrixOf(t.vec.x), t.vec.y.F32()
	lo, hi := w.part(t.vec.x.Rows(), 1)
	for i := lo; i < hi; i++ {
		k.mul(x.row(i), v)
	}
}

// matrix is an fp32 tensor as its rows: what Tensor.F32 checks each time is checked once an operation.
type matrix struct {
	data     []float32
	ld, cols int
}

// matrixOf is empty for an absent tensor.
func matrixOf(x tensor.Tensor) matrix {
	if !x.Present() {
		return matrix{}
	}
	return matrix{x.F32(), x.LD(), x.Cols()}
}

func (m *matrix) row(i int) []float32 { return m.data[i*m.ld:][:m.cols] }
