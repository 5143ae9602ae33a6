//go:build mpi

package mpi

import (
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
	list := v.list[:0]
	for q := range c.m.Size() {
		b := []byte(nil)
		if q != c.m.index {
			b = other(q)
		} else if b = in.direct(lo, lo+n); b == nil {
			b = grown(&v.own, n)
			in.pack(b, lo)
		}
		list = append(list, v.of(q, b, c.dtype))
	}
	to := out.direct(at, at+n)
	packed := to == nil
	if packed {
		to = grown(&v.to, n)
	}
	v.list = append(list, v.of(len(list), to, c.dtype))
	parts.Combine(c.op, list, v.list[len(list):], 0, n/c.dtype.Size())
	if packed {
		out.unpack(to, at)
	}
	for _, m := range v.memories {
		m.Host = nil
	}
}
