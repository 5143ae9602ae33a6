package conformance

import (
	"math"

	"cambium/src/backend"
	"cambium/src/rng"
	"cambium/src/tensor"
)

// shape is rows x cols with rows ld apart.
type shape struct{ rows, cols, ld int }

// shapes are odd on purpose; the last is long enough to be cut into pieces for workers.
var shapes = []shape{{1, 1, 1}, {1, 7, 7}, {3, 5, 9}, {5, 16, 16}, {4, 33, 40}, {7, 64, 64}, {13, 100, 131}, {3, 4099, 4099}}

// some is all sizes, or with -short every third, and for 16-bit types every fifth.
func some[E any](l *lab, all []E) []E {
	if !l.short() {
		return all
	}
	step := 3
	switch {
	case l.aligned:
		step = 2 // the last and every second: some of them are whole vectors
	case l.stored != tensor.F32:
		step = 5
	}
	var few []E
	for i := len(all) - 1; i >= 0; i -= step {
		few = append(few, all[i])
	}
	return few
}

func caseFill(l *lab) {
	for _, d := range []tensor.DType{tensor.F32, tensor.F64, tensor.BF16, tensor.F16, tensor.I32} {
		for _, s := range some(l, shapes) {
			for _, v := range []float32{0, -3, 0.1} {
				want := rounded(float64(v), d)
				if d == tensor.I32 {
					want = math.Trunc(want)
				}
				x := l.buffer("x", write, d, s.rows, s.cols, s.ld, nil)
				l.run(func(st backend.Stream) { st.Fill(x.view, v) })
				l.near(x, constant(s.rows*s.cols, want), boundExact)
			}
		}
	}
}

// caseFillNormal wants the bits of package rng: in boxes that begin and end inside a block of four, and far behind 2^32.
func caseFillNormal(l *lab) {
	key := rng.NewKey(11, "conformance")
	for _, s := range append(some(l, shapes), shape{37, 64, 64}) {
		for _, first := range []uint64{0, 3, 1<<40 + 5} {
			for _, gap := range []int{0, 1, 6} {
				val := make([]float32, s.rows*s.cols)
				for i := range s.rows {
					key.FillNormal(val[i*s.cols:][:s.cols], first+uint64(i*(s.cols+gap)), 0.02)
				}
				want := make([]float64, len(val))
				for i, v := range val {
					want[i] = rounded(float64(v), l.stored)
				}
				x := l.out("x", s.rows, s.cols, s.ld)
				l.run(func(st backend.Stream) {
					st.FillNormal(backend.Normal{X: x.view, Key: key, First: first, Stride: uint64(s.cols + gap), Std: 0.02})
				})
				l.near(x, want, boundExact)
			}
		}
	}
}

func constant(n int, v float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = v
	}
	return x
}

// mapped is f of every element.
func mapped(x []float64, f func(i int, v float64) float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = f(i, v)
	}
	return y
}

var floats = []tensor.DType{tensor.F32, tensor.BF16, tensor.F16}

func caseCopy(l *lab) {
	for _, s := range some(l, shapes) {
		for _, from := range floats {
			for _, to := range floats {
				val := l.normal(s.rows*s.cols, 100)
				for i := range val {
					if i%3 == 0 { // awkward ones: ties, subnormals, overflow, infinities, NaN
						val[i] = awkward[i/3%len(awkward)]
					}
					val[i] = rounded(val[i], from)
				}
				src := l.buffer("src", read, from, s.rows, s.cols, s.ld, val)
				dst := l.buffer("dst", write, to, s.rows, s.cols, s.cols+s.rows, nil)
				l.run(func(st backend.Stream) { st.Copy(dst.view, src.view) })
				l.near(dst, mapped(val, func(_ int, v float64) float64 { return rounded(v, to) }), boundExact)
			}
		}
		for _, d := range []tensor.DType{tensor.F64, tensor.I32} {
			val := mapped(l.normal(s.rows*s.cols, 1000), func(_ int, v float64) float64 { return math.Trunc(v) })
			src := l.buffer("src", read, d, s.rows, s.cols, s.ld, val)
			dst := l.buffer("dst", write, d, s.rows, s.cols, s.cols, nil)
			l.run(func(st backend.Stream) { st.Copy(dst.view, src.view) })
			l.near(dst, val, boundExact)
		}
	}
}

var awkward = []float64{
	0, math.Copysign(0, -1), 1, 1 + 1.0/256, 1 + 3.0/256, 1 + 1.0/2048, 1 + 3.0/2048, 65504, 65519, 65520, -70000,
	0x1p-14, 0x1p-15, 0x1.8p-24, 0x1p-24, 0x1p-25, 0x1.8p-25, 0x1.004p-14, 1e-8, 1e-30, 0x1p-130, 3e38, 0x1.ffp127, 0x1.fffffep127,
	math.Inf(1), math.Inf(-1), math.NaN(), float64(math.Float32frombits(0x7fffffff)), float64(math.Float32frombits(0xffffffff)),
}

// caseCopyEveryHalf widens all 65536 bit patterns of both 16-bit types, and narrows them again together with the values
// beside and halfway between them.
func caseCopyEveryHalf(l *lab) {
	for _, d := range []tensor.DType{tensor.BF16, tensor.F16} {
		n := 1 << 16
		val := make([]float64, n)
		for i := range val {
			val[i] = decode([]byte{byte(i), byte(i >> 8)}, d)
		}
		src := l.vector("src", read, d, val, n)
		dst := l.outVec32("dst", n)
		l.run(func(st backend.Stream) { st.Copy(dst.view, src.view) })
		l.near(dst, val, boundExact)

		for _, nudge := range some(l, []int32{-1, 0, 1, 0x0fff, 0x1001, 0x7fff, 0x8001, 0x1000, 0x8000}) {
			beside := mapped(val, func(_ int, v float64) float64 {
				if math.IsNaN(v) {
					return v
				}
				w := math.Float32frombits(math.Float32bits(float32(v)) + uint32(nudge))
				if w != w {
					w = 0
				}
				return float64(w)
			})
			src = l.vector("src", read, tensor.F32, beside, n)
			dst = l.vector("dst", write, d, nil, n)
			l.run(func(st backend.Stream) { st.Copy(dst.view, src.view) })
			l.near(dst, mapped(beside, func(_ int, v float64) float64 { return rounded(v, d) }), boundExact)
		}
	}
}

func caseAxpy(l *lab) {
	for _, s := range some(l, shapes) {
		for _, d := range floats {
			val := mapped(l.normal(s.rows*s.cols, 1), func(_ int, v float64) float64 { return rounded(v, d) })
			x := l.buffer("x", read, d, s.rows, s.cols, s.ld, val)
			y := l.inout("y", s.rows, s.cols, s.cols+3)
			l.run(func(st backend.Stream) { st.Axpy(y.view, x.view, -0.7) })
			l.near(y, mapped(y.val, func(i int, v float64) float64 { return v + float64(float32(-0.7))*val[i] }), boundElementwise)
		}
	}
}

func caseScale(l *lab) {
	for _, s := range some(l, shapes) {
		x := l.inout("x", s.rows, s.cols, s.ld)
		l.run(func(st backend.Stream) { st.Scale(x.view, 1.7) })
		l.near(x, mapped(x.val, func(_ int, v float64) float64 { return v * float64(float32(1.7)) }), boundElementwise)
	}
	hard := l.asStored(awkward)
	x := l.vector("x", both, l.stored, hard, len(hard))
	l.run(func(st backend.Stream) { st.Scale(x.view, 0.5) })
	l.near(x, l.asStored(mapped(hard, func(_ int, v float64) float64 { return float64(float32(v) * 0.5) })), boundExact)
}

func caseScaleColumns(l *lab) {
	for _, s := range some(l, shapes) {
		x, v := l.inout("x", s.rows, s.cols, s.ld), l.inVec32("v", s.cols)
		l.run(func(st backend.Stream) { st.ScaleColumns(x.view, v.view) })
		l.near(x, mapped(x.val, func(i int, e float64) float64 { return e * v.val[i%s.cols] }), boundElementwise)
	}
}

func caseColumnSum(l *lab) {
	for _, s := range append(some(l, shapes), shape{137, 3, 3}, shape{66, 200, 257}) {
		for _, accumulate := range []bool{false, true} {
			x := l.in("x", s.rows, s.cols, s.ld)
			out := l.inoutVec32("out", s.cols)
			want := out.val
			if !accumulate {
				want = make([]float64, s.cols)
				l.bufs = l.bufs[:len(l.bufs)-1]
				out = l.outVec32("out", s.cols)
			}
			want = append([]float64(nil), want...)
			for i, v := range x.val {
				want[i%s.cols] += v
			}
			l.run(func(st backend.Stream) { st.ColumnSum(out.view, x.view, accumulate) })
			l.near(out, want, boundSum)
		}
	}
}

func caseSumSquares(l *lab) {
	for _, s := range append(some(l, shapes), shape{300, 1000, 1001}) {
		l.sumSquares(s, l.values(s.rows*s.cols, 1))
	}
	big := l.values(4097, 1e25) // squares that fp32 cannot hold; infinite in fp16
	l.sumSquares(shape{1, len(big), len(big)}, big)
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, at := range []int{0, 17, 4096, 4098} {
			x := l.values(4099, 1)
			x[at] = bad
			l.sumSquares(shape{1, len(x), len(x)}, x)
		}
	}
}

func (l *lab) sumSquares(s shape, val []float64) {
	for _, accumulate := range []bool{false, true} {
		x := l.buffer("x", read, l.stored, s.rows, s.cols, s.ld, val)
		start, want := math.NaN(), 0.0
		if accumulate {
			start, want = 3.25, 3.25
		}
		out := l.vector("out", both, tensor.F64, []float64{start}, 1)
		for _, v := range val {
			want += v * v
		}
		l.run(func(st backend.Stream) { st.SumSquares(out.view, x.view, accumulate) })
		if math.IsNaN(want) || math.IsInf(want, 0) {
			if g := out.got[0]; !math.IsNaN(g) && !math.IsInf(g, 0) {
				l.Errorf("SumSquares of %v with a non-finite element is %v", s, g)
			}
			continue
		}
		l.near(out, []float64{want}, boundFP64)
	}
}
