package local

import (
	"fmt"

	"cambium/src/comm"
	"cambium/src/comm/parts"
	"cambium/src/tensor"
)

// shareAlign is the number of elements that a rank's share of an all-reduce is a multiple of, so that two ranks do not
// write to one cache line.
const shareAlign = 64

// allReduceShare combines this rank's share of the elements of all parts, over all ranks, into every rank's memory.
// Nobody else touches the share, so no copy is needed.
func (c *call) allReduceShare(s *slot) {
	n := len(s.calls)
	if n == 1 {
		return
	}
	all := c.in.of(0)
	total := 0
	for _, t := range all {
		total += t.Len()
	}
	per := ((total+n-1)/n + shareAlign - 1) / shareAlign * shareAlign
	lo, hi := min(c.m.index*per, total), min((c.m.index+1)*per, total)
	same := c.views(n)
	at := 0
	for i, t := range all {
		from, to := max(lo-at, 0), min(hi-at, t.Len())
		at += t.Len()
		if from >= to {
			continue
		}
		for q, other := range s.calls {
			same[q] = other.in.of(0)[i]
		}
		parts.Combine(c.op, same, same, from, to)
	}
}

// reduceOwn sums what all ranks have for this one. It writes to out alone.
func (c *call) reduceOwn(s *slot) {
	from := c.views(len(s.calls))
	for i := range c.out.of(0) {
		for q, other := range s.calls {
			from[q] = other.in.of(c.m.index)[i]
		}
		to := c.out.flat[i : i+1]
		parts.Combine(comm.Sum, from, to, 0, to[0].Len())
	}
}

// views is room for one tensor of each of n ranks.
func (c *call) views(n int) []tensor.Tensor {
	if len(c.scratch) < n {
		c.scratch = make([]tensor.Tensor, n)
	}
	return c.scratch[:n]
}

// pieces copies what all ranks have for this one.
func (c *call) pieces(s *slot) error {
	for q, from := range s.calls {
		src, dst := from.in.flat[c.m.index], c.out.flat[q]
		if !src.Present() && !dst.Present() || parts.SameShape(src, dst) {
			copyParts(c.out.flat[q:q+1], from.in.flat[c.m.index:c.m.index+1])
			continue
		}
		if !src.Present() || !dst.Present() || src.Bytes() != dst.Bytes() || !src.Contiguous() || !dst.Contiguous() {
			return fmt.Errorf("comm: %s: rank %d sends %v to rank %d, which expects %v", c.title(), from.m.rank, src, c.m.rank, dst)
		}
		copy(raw(dst), raw(src))
	}
	return nil
}

// copyParts copies src to dst, part by part; they have the same shapes.
func copyParts(dst, src []tensor.Tensor) {
	for i, d := range dst {
		s := src[i]
		switch {
		case !d.Present() || d.Len() == 0 || d.Memory() == s.Memory() && d.Offset() == s.Offset() && d.LD() == s.LD():
		case d.Contiguous() && s.Contiguous():
			copy(raw(d), raw(s))
		default:
			copyRows(d, s)
		}
	}
}

func copyRows(d, s tensor.Tensor) {
	size := d.DType().Size()
	to, from, row := d.Memory().Host[d.Offset():], s.Memory().Host[s.Offset():], d.Cols()*size
	for r := range d.Rows() {
		copy(to[r*d.LD()*size:][:row], from[r*s.LD()*size:][:row])
	}
}

// raw is the memory of a contiguous tensor.
func raw(t tensor.Tensor) []byte {
	if t.Len() == 0 {
		return nil
	}
	return t.Memory().Host[t.Offset() : t.Offset()+t.Bytes()]
}
