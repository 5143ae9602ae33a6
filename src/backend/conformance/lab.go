package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/x448/float16"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// lab is one backend with one stream, and the buffers of the case under way.
type lab struct {
	*testing.T
	stored tensor.DType // the type of weights and activations, T of backend.Operations
	// aligned puts every tensor at a multiple of 64 bytes, and rows of 8 elements or more at a multiple of 8 elements, as a model has them: what kernels
	// that take 16 bytes at a time, or the tensor cores, need. Otherwise nothing happens to be aligned.
	aligned bool
	b       backend.Backend
	s       backend.Stream
	rng     *rand.Rand
	bufs    []*buf
	sum     hash.Hash64 // of everything that operations wrote, for comparing two backends bit by bit
}

// use says what an operation may do with a buffer.
type use uint8

const (
	read  use = iota // comes back as it was
	write            // holds NaN before
	both             // in and out
)

// buf is one tensor in a block of its own: guard elements before it, behind it and between its rows.
type buf struct {
	name   string
	use    use
	mem    *tensor.Memory
	view   tensor.Tensor
	offset int       // elements before the first
	raw    []byte    // what was uploaded
	host   []byte    // what came back
	val    []float64 // the elements before the operation, row-major without gaps
	got    []float64 // and after it
}

// guardWord is a NaN in every 16- and 32-bit type, with a pattern that no arithmetic makes.
const guardWord = 0x7fe57fe5

// oddGap and evenGap are the number of guard elements in front of a tensor.
const oddGap, evenGap = 19, 32

// buffer makes a tensor of rows x cols, rows ld apart, from val (nil: NaN everywhere).
func (l *lab) buffer(name string, u use, d tensor.DType, rows, cols, ld int, val []float64) *buf {
	l.Helper()
	size, gap := d.Size(), oddGap
	if l.aligned {
		if gap = evenGap; rows > 1 && cols >= 8 {
			ld = (ld + 7) / 8 * 8
		}
	}
	words := ((gap+rows*ld+gap)*size + 63) / 64 * 16
	x := &buf{name: name, use: u, offset: gap, raw: make([]byte, words*4), val: val}
	for i := 0; i < len(x.raw); i += 4 {
		binary.LittleEndian.PutUint32(x.raw[i:], guardWord)
	}
	if val != nil {
		for i := range rows {
			for j := range cols {
				encode(x.raw[(gap+i*ld+j)*size:], d, val[i*cols+j])
			}
		}
	}
	var err error
	if x.mem, err = l.b.Alloc("conformance", len(x.raw)); err != nil {
		l.Fatal(err)
	}
	x.view = tensor.New(x.mem, gap*size, d, rows, ld).Columns(0, cols)
	l.bufs = append(l.bufs, x)
	return x
}

// vector is a tensor of one dimension.
func (l *lab) vector(name string, u use, d tensor.DType, val []float64, n int) *buf {
	x := l.buffer(name, u, d, 1, n, n, val)
	x.view = x.view.Reshape(n)
	return x
}

// in, inout, out and inVec make operands of the stored type; those with 32 in their names are fp32 in any case.
func (l *lab) in(name string, rows, cols, ld int) *buf {
	return l.buffer(name, read, l.stored, rows, cols, ld, l.values(rows*cols, 1))
}
func (l *lab) inout(name string, rows, cols, ld int) *buf {
	return l.buffer(name, both, l.stored, rows, cols, ld, l.values(rows*cols, 1))
}
func (l *lab) out(name string, rows, cols, ld int) *buf {
	return l.buffer(name, write, l.stored, rows, cols, ld, nil)
}
func (l *lab) inVec(name string, n int) *buf {
	return l.vector(name, read, l.stored, l.values(n, 1), n)
}
func (l *lab) in32(name string, rows, cols, ld int) *buf {
	return l.buffer(name, read, tensor.F32, rows, cols, ld, l.normal(rows*cols, 1))
}
func (l *lab) inout32(name string, rows, cols, ld int) *buf {
	return l.buffer(name, both, tensor.F32, rows, cols, ld, l.normal(rows*cols, 1))
}
func (l *lab) out32(name string, rows, cols, ld int) *buf {
	return l.buffer(name, write, tensor.F32, rows, cols, ld, nil)
}
func (l *lab) inVec32(name string, n int) *buf {
	return l.vector(name, read, tensor.F32, l.normal(n, 1), n)
}
func (l *lab) inoutVec32(name string, n int) *buf {
	return l.vector(name, both, tensor.F32, l.normal(n, 1), n)
}
func (l *lab) outVec32(name string, n int) *buf { return l.vector(name, write, tensor.F32, nil, n) }

// ints makes an int32 vector that is only read.
func (l *lab) ints(name string, v []int) *buf {
	val := make([]float64, len(v))
	for i, x := range v {
		val[i] = float64(x)
	}
	return l.vector(name, read, tensor.I32, val, len(v))
}

// normal is n fp32 values of a normal distribution.
func (l *lab) normal(n int, std float64) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = float64(float32(l.rng.NormFloat64() * std))
	}
	return v
}

// values is n values of a normal distribution as the stored type has them.
func (l *lab) values(n int, std float64) []float64 { return l.asStored(l.normal(n, std)) }

// asStored is x rounded to the stored type.
func (l *lab) asStored(x []float64) []float64 {
	return mapped(x, func(_ int, v float64) float64 { return rounded(v, l.stored) })
}

// run uploads every buffer, lets f enqueue the operation, downloads everything, and checks guards and inputs.
func (l *lab) run(f func(s backend.Stream)) {
	l.Helper()
	for _, x := range l.bufs {
		l.s.Upload(x.all(), x.raw)
	}
	f(l.s)
	for _, x := range l.bufs {
		x.host = make([]byte, len(x.raw))
		l.s.Download(x.host, x.all())
	}
	if err := l.s.Sync(); err != nil {
		l.Fatal(err)
	}
	for _, x := range l.bufs {
		l.inspect(x)
		l.b.Free(x.mem)
	}
	l.bufs = l.bufs[:0]
}

func (x *buf) all() tensor.Tensor { return tensor.New(x.mem, 0, tensor.I32, len(x.raw)/4) }

// inspect decodes a buffer and checks that nothing else of its block changed.
func (l *lab) inspect(x *buf) {
	l.Helper()
	rows, cols, ld, size := x.view.Rows(), x.view.Cols(), x.view.LD(), x.view.DType().Size()
	x.got = make([]float64, 0, rows*cols)
	end := 0 // of what was compared so far
	for i := range rows {
		from := (x.offset + i*ld) * size
		to := from + cols*size
		l.unchanged(x, end, from, "wrote outside")
		if end = to; x.use == read {
			l.unchanged(x, from, to, "changed an input")
		} else if l.sum != nil {
			l.sum.Write(x.host[from:to])
		}
		for at := from; at < to; at += size {
			x.got = append(x.got, decode(x.host[at:], x.view.DType()))
		}
	}
	l.unchanged(x, end, len(x.raw), "wrote outside")
}

// unchanged compares the bytes [from, to) of a block with what they were.
func (l *lab) unchanged(x *buf, from, to int, blame string) {
	l.Helper()
	if bytes.Equal(x.raw[from:to], x.host[from:to]) {
		return
	}
	for i := from; i < to; i++ {
		if x.raw[i] != x.host[i] {
			at := i/x.view.DType().Size() - x.offset
			l.Errorf("%s %v: %s: element %d counted from its start, rows %d apart", x.name, x.view, blame, at, x.view.LD())
			return
		}
	}
}

// near compares what an operation left in x with the reference.
func (l *lab) near(x *buf, want []float64, bound float64) {
	l.Helper()
	l.nearAt(x, want, bound, 0)
}

// nearAt is near for results that may cancel to nothing: size is that of the terms.
func (l *lab) nearAt(x *buf, want []float64, bound, size float64) {
	l.Helper()
	if len(want) != len(x.got) {
		l.Fatalf("%s: %d reference values for %v", x.name, len(want), x.view)
	}
	if err := compareIn(x.view.DType(), x.got, want, bound, size); err != nil {
		l.Errorf("%s %v: %v", x.name, x.view, err)
	}
}

// compare is nil when every element is within bound x (|want| + the larger of root mean square and size); non-finite
// values must be equal.
func compare(got, want []float64, bound, size float64) error {
	return compareIn(tensor.F32, got, want, bound, size)
}

// compareIn is compare for results that were rounded to d: beside the bound of the arithmetic, which is fp32, one rounding
// is allowed. What lies beyond the largest value of d is infinite. A bound of 0 asks for the very value.
func compareIn(d tensor.DType, got, want []float64, bound, size float64) error {
	square, n := 0.0, 0
	for _, w := range want {
		if !math.IsNaN(w) && !math.IsInf(w, 0) {
			square, n = square+w*w, n+1
		}
	}
	rms := max(size, math.Sqrt(square/float64(max(n, 1))))
	var unit, least float64
	if bound != boundExact {
		unit, least = roundoff(d)
	}
	worst, at := 0.0, -1
	for i, w := range want {
		g := got[i]
		if w == g || math.IsNaN(w) && math.IsNaN(g) || math.IsInf(g, 0) && rounded(w, d) == g {
			continue
		}
		e := math.Abs(g-w) / (bound*(math.Abs(w)+rms) + unit*math.Abs(w) + least)
		if !(e <= 1) && (at < 0 || !(e <= worst)) {
			worst, at = e, i
		}
	}
	if at >= 0 {
		return fmt.Errorf("element %d is %v, want %v: %.3g times the error that is allowed (%.3g, and a rounding to %v)", at, got[at], want[at], worst, bound, d)
	}
	return nil
}

func encode(b []byte, d tensor.DType, v float64) {
	switch d {
	case tensor.F32:
		binary.LittleEndian.PutUint32(b, math.Float32bits(float32(v)))
	case tensor.F64:
		binary.LittleEndian.PutUint64(b, math.Float64bits(v))
	case tensor.I32:
		binary.LittleEndian.PutUint32(b, uint32(int32(v)))
	case tensor.BF16:
		binary.LittleEndian.PutUint16(b, uint16(math.Float32bits(float32(v))>>16))
	case tensor.F16:
		binary.LittleEndian.PutUint16(b, float16.Fromfloat32(float32(v)).Bits())
	}
}

func decode(b []byte, d tensor.DType) float64 {
	switch d {
	case tensor.F32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case tensor.F64:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	case tensor.I32:
		return float64(int32(binary.LittleEndian.Uint32(b)))
	case tensor.BF16:
		return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
	case tensor.F16:
		return float64(float16.Frombits(binary.LittleEndian.Uint16(b)).Float32())
	}
	panic(d)
}

// rounded is v rounded to d, to nearest even.
func rounded(v float64, d tensor.DType) float64 {
	switch d {
	case tensor.BF16:
		f := float32(v)
		if f != f || math.IsInf(float64(f), 0) {
			return float64(f)
		}
		// The two neighbours in bf16; the nearer, or the one whose last bit is 0.
		low := math.Float32bits(f) &^ 0xffff
		a, b := bf16Value(low), bf16Value(low+0x10000)
		da, db := math.Abs(float64(f)-a), math.Abs(b-float64(f))
		if math.IsInf(b, 0) { // beyond the largest finite value: as if the exponent went on
			db = math.Abs(math.Copysign(0x1p128, b) - float64(f))
		}
		if da < db || da == db && low&0x10000 == 0 {
			return a
		}
		return b
	case tensor.F16:
		return float64(float16.Fromfloat32(float32(v)).Float32())
	case tensor.F32:
		return float64(float32(v))
	}
	return v
}

func bf16Value(bits uint32) float64 { return float64(math.Float32frombits(bits)) }
