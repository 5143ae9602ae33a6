//go:build mpi

package mpi

import (
	"unsafe"

	"cambium/src/comm"
	"cambium/src/comm/parts"
	"cambium/src/tensor"
)

// views are bytes seen as vectors of numbers, and memory for those that do not lie in one piece. They are used again.
type views struct {
	memories []*tensor.Memory
	list     []tensor.Tensor
	own, to  []byte
}

// of is b as a vector, in the i-th header.
func (v *views) of(i int, b []byte, d tensor.DType) tensor.Tensor {
	for len(v.memories) <= i {
		v.memories = append(v.memories, &tensor.Memory{})
	}
	m := v.memories[i]
	m.Host, m.Bytes = b, len(b)
	return tensor.New(m, 0, d, len(b)/d.Size())
}

// grown is n bytes of *b.
func grown(b *[]byte, n int) []byte {
	if cap(*b) < n {
		*b = make([]byte, n)
	}
	return (*b)[:n]
}

// sum combines n bytes of all ranks into bytes at on of out: this rank's are in's from lo on, the others' where other says.
func (v *views) sum(c *call, in *flat, lo int, out *flat, at, n int, other func(q int) []byte) {
	own := in.direct(lo, lo+n)
	if own == nil {
		own = grown(&v.own, n)
		in.pack(own, lo)
	}
	to := out.direct(at, at+n)
	packed := to == nil
	if packed {
		to = grown(&v.to, n)
	}
	of := func(q int) []byte {
		if q == c.m.index {
			return own
		}
		return other(q)
	}
	if c.m.Size() == 2 && c.op == comm.Sum && c.dtype == tensor.F32 { // the commonest: a short one takes less time than its views
		parts.Add(floats(to), floats(of(0)), floats(of(1)))
	} else {
		v.combine(c, of, to)
	}
	if packed {
		out.unpack(to, at)
	}
}

// combine combines every rank's bytes into to.
func (v *views) combine(c *call, of func(q int) []byte, to []byte) {
	list := v.list[:0]
	for q := range c.m.Size() {
		list = append(list, v.of(q, of(q), c.dtype))
	}
	v.list = append(list, v.of(len(list), to, c.dtype))
	parts.Combine(c.op, list, v.list[len(list):], 0, len(to)/c.dtype.Size())
	for _, m := range v.memories {
		m.Host = nil
	}
}

// floats is b as fp32 values, of which it is a whole number.
func floats(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}
