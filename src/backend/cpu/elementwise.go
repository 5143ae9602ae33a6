package cpu

import (
	"fmt"

	"cambium/src/backend"
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

// FillNormal draws random numbers, chunk by chunk.
func (s *stream) FillNormal(n backend.Normal) {
	mustBeStored("normal numbers", n.X)
	t := s.begin("normal numbers", runFillNormal)
	t.normal = n
	s.commit()
}

func runFillNormal(w *worker, t *task) {
	a, k := &t.normal, w.kernels()
	f := flat{a.X.Len(), a.X.Cols()}
	via := w.scratch(chunk)
	lo, hi := w.part(f.n, grain)
	for at := lo; at < hi; {
		r, c, n := f.next(at, hi, chunk)
		at += n
		dst := via[:n]
		if a.X.DType() == tensor.F32 {
			dst = a.X.F32()[r*a.X.LD()+c:][:n]
		}
		a.Key.FillNormal(dst, a.First+uint64(r)*a.Stride+uint64(c), a.Std)
		if a.X.DType() != tensor.F32 {
			k.narrow(a.X, r*a.X.LD()+c, dst)
		}
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

// Axpy is y += a x.
func (s *stream) Axpy(y, x tensor.Tensor, a float32) {
	mustBeStored("axpy", y)
	mustBeStored("axpy", x)
	mustMatch("axpy", y, x)
	t := s.begin("axpy", runAxpy)
	t.vec = vecArgs{x: x, y: y, a: a}
	s.commit()
}

func runAxpy(w *worker, t *task) {
	k, x, y := w.kernels(), t.vec.x, t.vec.y
	f := flatten(y, x)
	lo, hi := w.part(f.n, grain)
	if wide(x) && wide(y) {
		for at := lo; at < hi; {
			r, c, n := f.next(at, hi, f.n)
			at += n
			k.axpy(y.F32()[r*y.LD()+c:][:n], x.F32()[r*x.LD()+c:][:n], t.vec.a)
		}
		return
	}
	via := w.scratch(2 * chunk)
	for at := lo; at < hi; {
		r, c, n := f.next(at, hi, chunk)
		at += n
		term, _ := k.block(x, r, c, 1, n, via[:chunk], chunk)
		sum, _ := k.block(y, r, c, 1, n, via[chunk:], chunk)
		k.axpy(sum[:n], term[:n], t.vec.a)
		if !wide(y) {
			k.keepBlock(y, r, c, 1, n, sum, chunk)
		}
	}
}

// Scale is x *= a.
func (s *stream) Scale(x tensor.Tensor, a float32) {
	mustBeStored("scale", x)
	t := s.begin("scale", runScale)
	t.vec = vecArgs{x: x, a: a}
	s.commit()
}

func runScale(w *worker, t *task) {
	k, x := w.kernels(), t.vec.x
	f := flatten(x)
	lo, hi := w.part(f.n, grain)
	limit := f.n
	var via []float32
	if !wide(x) {
		via, limit = w.scratch(chunk), chunk
	}
	for at := lo; at < hi; {
		r, c, n := f.next(at, hi, limit)
		at += n
		v, _ := k.block(x, r, c, 1, n, via, chunk)
		k.scale(v[:n], t.vec.a)
		if via != nil {
			k.keepBlock(x, r, c, 1, n, v, chunk)
		}
	}
}

// ScaleColumns is x[n,j] *= v[j].
func (s *stream) ScaleColumns(x, v tensor.Tensor) {
	mustBeStored("scale columns", x)
	mustBeF32("scale columns", v)
	mustHold("scale columns", v, x.Cols())
	t := s.begin("scale columns", runScaleColumns)
	t.vec = vecArgs{x: x, y: v}
	s.commit()
}

func runScaleColumns(w *worker, t *task) {
	k, l, v := w.kernels(), w.lanes(t.vec.x), t.vec.y.F32()
	x := l.matrix(t.vec.x)
	lo, hi := w.part(t.vec.x.Rows(), 1)
	for i := lo; i < hi; i++ {
		k.mul(x.row(i), v)
		x.keep(i)
	}
}
