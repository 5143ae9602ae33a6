package conformance

import (
	"encoding/binary"
	"math"

	"cambium/src/backend"
	"cambium/src/tensor"
)

var types = [...]tensor.DType{tensor.F32, tensor.F64, tensor.BF16, tensor.F16, tensor.I32}

// value is a small integer that every type holds exactly, and so does any sum of eight of them, in any order.
func value(rank, part, element int) float64 { return float64((rank*7+part*5+element*3)%17 - 8) }

// tensor allocates a tensor and fills it.
func (r *rank) tensor(d tensor.DType, f func(i int) float64, dims ...int) tensor.Tensor {
	n := d.Size()
	for _, x := range dims {
		n *= x
	}
	mem, err := r.Backend.Alloc("test", n)
	r.must(err)
	t := tensor.New(mem, 0, d, dims...)
	r.set(t, f)
	return t
}

func (r *rank) set(t tensor.Tensor, f func(i int) float64) {
	if t.Len() == 0 {
		return
	}
	raw := make([]byte, t.Bytes())
	for i := range t.Len() {
		encode(raw[i*t.DType().Size():], t.DType(), f(i))
	}
	r.stream.Upload(t, raw)
	r.sync()
}

// get waits for the stream and reads a tensor.
func (r *rank) get(t tensor.Tensor) []float64 { return r.getFrom(r.stream, t) }

func (r *rank) getFrom(s backend.Stream, t tensor.Tensor) []float64 {
	raw := make([]byte, t.Bytes())
	if len(raw) > 0 {
		s.Download(raw, t)
	}
	r.must(s.Sync())
	out := make([]float64, t.Len())
	for i := range out {
		out[i] = decode(raw[i*t.DType().Size():], t.DType())
	}
	return out
}

// want compares a tensor, NaN equal to NaN, zeros by sign too.
func (r *rank) want(t tensor.Tensor, f func(i int) float64) {
	r.t.Helper()
	r.compare(r.get(t), t, f)
}

func (r *rank) compare(got []float64, t tensor.Tensor, f func(i int) float64) {
	for i, g := range got {
		if w := f(i); math.Float64bits(g) != math.Float64bits(w) && !(math.IsNaN(g) && math.IsNaN(w)) {
			r.errorf("%v element %d of %d is %v, want %v", t, i, len(got), g, w)
		}
	}
}

// The test's values are small integers, NaN or fp32 numbers: truncation is exact for the 16-bit types.
func encode(to []byte, d tensor.DType, x float64) {
	le := binary.LittleEndian
	switch d {
	case tensor.F32:
		le.PutUint32(to, math.Float32bits(float32(x)))
	case tensor.F64:
		le.PutUint64(to, math.Float64bits(x))
	case tensor.BF16:
		le.PutUint16(to, uint16(math.Float32bits(float32(x))>>16))
	case tensor.F16:
		le.PutUint16(to, f16(x))
	case tensor.I32:
		le.PutUint32(to, uint32(int32(x)))
	}
}

func f16(x float64) uint16 {
	switch {
	case x != x:
		return 0x7e00
	case x == 0:
		return 0
	}
	frac, exp := math.Frexp(math.Abs(x))
	h := uint16(exp+14)<<10 | uint16(frac*2048)&0x3ff
	if x < 0 {
		h |= 0x8000
	}
	return h
}

func decode(from []byte, d tensor.DType) float64 {
	le := binary.LittleEndian
	switch d {
	case tensor.F64:
		return math.Float64frombits(le.Uint64(from))
	case tensor.BF16:
		return float64(math.Float32frombits(uint32(le.Uint16(from)) << 16))
	case tensor.F16:
		return fromF16(le.Uint16(from))
	case tensor.I32:
		return float64(int32(le.Uint32(from)))
	}
	return float64(math.Float32frombits(le.Uint32(from)))
}

func fromF16(h uint16) float64 {
	exp, frac := int(h>>10&0x1f), float64(h&0x3ff)
	x := math.Ldexp(1024+frac, exp-25)
	switch {
	case exp == 0x1f && frac != 0:
		return math.NaN()
	case exp == 0x1f:
		x = math.Inf(1)
	case exp == 0:
		x = math.Ldexp(frac, -24)
	}
	if h&0x8000 != 0 {
		return -x
	}
	return x
}
