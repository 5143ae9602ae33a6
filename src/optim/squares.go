package optim

import "cambium/src/tensor"

// maxRun is the most elements that one sum of squares takes.
const maxRun = 1 << 30

// findSquares lists the gradients whose squares make this rank's part of the norm. Parameters that this rank owns as a whole and that follow
// each other in memory are one tensor there, for what lies between them is zero: a sum over a model of many small parameters is a few large
// ones.
func (o *Optimizer) findSquares() {
	mine := map[string]*shard{}
	for i := range o.shards {
		if x := &o.shards[i]; x.counted {
			mine[x.t.Name] = x
		}
	}
	var run run
	for _, p := range o.params.Shards() {
		switch x := mine[p.Name]; {
		case x == nil:
			o.squares = run.end(o.squares)
		case x.g.Len() < p.LocalLen(): // the rest is other ranks'
			o.squares = append(run.end(o.squares), x.g)
		default:
			if !run.takes(x.g) {
				o.squares = run.end(o.squares)
			}
			run.add(x.g)
		}
	}
	o.squares = run.end(o.squares)
}

// run is a stretch of memory from the first to the last of some tensors.
type run struct{ first, last tensor.Tensor }

func (r *run) takes(g tensor.Tensor) bool {
	return r.first.Present() && g.Memory() == r.first.Memory() && g.Offset() >= r.last.Offset()+r.last.Bytes() && r.elements(g) <= maxRun
}

// elements is how many there are from the first tensor to the end of g.
func (r *run) elements(g tensor.Tensor) int {
	return (g.Offset() + g.Bytes() - r.first.Offset()) / g.DType().Size()
}

func (r *run) add(g tensor.Tensor) {
	if r.last = g; !r.first.Present() {
		r.first = g
	}
}

// end adds the run to a list, and begins anew.
func (r *run) end(list []tensor.Tensor) []tensor.Tensor {
	if r.first.Present() {
		list = append(list, tensor.New(r.first.Memory(), r.first.Offset(), r.first.DType(), r.elements(r.last)))
	}
	*r = run{}
	return list
}
