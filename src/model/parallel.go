package model

import (
	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/tensor"
)

// shares is a rank's place among the ranks that share each layer (Megatron-LM, arXiv 1909.08053, section 3). Matrices that
// read the residual stream are split by output ("column-parallel"): every rank computes its own heads and FFN units from
// the whole input. Matrices that write it are split by input ("row-parallel"): every rank computes a part of the sum.
//
// Without sequence parallelism the residual stream is on every rank, and the parts are all-reduced. With it
// (arXiv 2205.05198, section 4.2.2) each rank has N/size rows of the stream and of the norms; inputs are all-gathered
// into Wide, parts are made there and reduce-scattered. The sums are the same.
type shares struct {
	comm       comm.Communicator
	size, rank int
	sequence   bool
	wide       tensor.Tensor     // [N, C], with sequence parallelism only
	rows       [][]tensor.Tensor // wide's rows, by rank
	one        [1]tensor.Tensor
}

func newShares(p Parallel) *shares {
	t := &shares{comm: p.TP, size: 1}
	if p.TP != nil {
		t.size, t.rank = p.TP.Size(), p.TP.Rank()
	}
	t.sequence = p.SequenceParallel && t.size > 1
	return t
}

func (t *shares) plan(a *backend.Arena, d *dims) {
	if !t.sequence {
		return
	}
	t.wide, t.rows = a.Tensor(d.dtype, d.tokens, d.hidden), nil
	for r := range t.size {
		t.rows = append(t.rows, []tensor.Tensor{t.wide.Slice(r*d.rows, (r+1)*d.rows)})
	}
}

// gather is x [rows, C] with the rows of all ranks, [N, C]. What it returns holds until the next gather or partial.
func (t *shares) gather(s backend.Stream, name string, x tensor.Tensor) tensor.Tensor {
	if !t.sequence {
		return x
	}
	t.one[0] = x
	t.comm.AllGather(s, name, t.one[:], t.rows)
	return t.wide
}

// partial is where a rank puts its part [N, C] of a sum that add then makes.
func (t *shares) partial(dst tensor.Tensor) tensor.Tensor {
	if t.sequence {
		return t.wide
	}
	return dst
}

// add makes dst [rows, C] the sum of all ranks' parts, which they put where partial(dst) says.
func (t *shares) add(s backend.Stream, name string, dst tensor.Tensor) {
	if t.size == 1 {
		return
	}
	t.one[0] = dst
	if t.sequence {
		t.comm.ReduceScatter(s, name, t.rows, t.one[:])
	} else {
		t.comm.AllReduce(s, name, comm.Sum, t.one[:]...)
	}
}

// first is t on the first rank, absent on the others: what must enter a sum over the ranks once.
func (t *shares) first(x tensor.Tensor) tensor.Tensor {
	if t.rank == 0 {
		return x
	}
	return tensor.Tensor{}
}
