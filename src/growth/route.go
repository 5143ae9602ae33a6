package growth

import (
	"fmt"
	"slices"

	"cambium/src/arch"
	"cambium/src/layout"
	"cambium/src/optim"
	"cambium/src/tensor"
)

// route is one kind of numbers on its way from the old layout to the new one: weights, master weights, a moment.
type route struct {
	kind     string
	from, to layout.Layout
	old, new map[string]held // by name
	dtype    tensor.DType
	*timetable
}

// held is what this rank holds of a tensor.
type held struct {
	data tensor.Tensor
	box  layout.Box
}

// timetable says in which message each transfer of this rank travels. All ranks make the same one, and keep their part.
type timetable struct {
	stay    []layout.Transfer   // on this rank
	batches [][]layout.Transfer // to and from this rank, message by message: as many on every rank
	out, in int                 // elements of this rank's largest message
	moved   int                 // elements that travel, all ranks together
}

// weights is the kind of a route that optim does not name: what the model computes with.
const weights = "weights"

// planRoutes plans all moves. Masters go where weights go, into the boxes of the optimizer; 16-bit weights that are
// multiplied do not move, they follow from their masters.
func (e *engine) planRoutes() error {
	p, t := e.Plan, &e.traffic
	heirs := func(x arch.Tensor) bool { return !p.silent(x) }
	w, err := e.redistribute(e.dtype, e.oldW, e.newW, p.Weights, func(x arch.Tensor) bool { return heirs(x) && !(e.masters && e.scaled(x)) })
	if err != nil {
		return err
	}
	e.send(&t.Weights, w, weights)
	moments, err := e.redistribute(tensor.F32, e.oldO, e.newO, p.State, func(arch.Tensor) bool { return true })
	if err != nil {
		return err
	}
	if e.masters {
		bound, err := layout.LowerBoundOf(e.oldW, e.newW, p.Weights, e.dtype.Size(), e.scaled)
		if err != nil {
			return err
		}
		t.Weights.Bytes, t.Weights.LowerBound = t.Weights.Bytes+e.published(), t.Weights.LowerBound+bound
		masters := moments
		if !slices.Equal(p.State.Layers, p.Weights.Layers) { // copied layers have old weights and no old moments
			if masters, err = e.redistribute(tensor.F32, e.oldO, e.newO, p.Weights, heirs); err != nil {
				return err
			}
		}
		e.send(&t.Masters, masters, optim.Weight)
	}
	e.send(&t.Moments, moments, optim.ExpAvg, optim.ExpAvgSq)
	return nil
}

// published is the number of bytes that PublishSome sends: each owner's rows of what was multiplied, to its dp group.
func (e *engine) published() int64 {
	n := 0
	for i, t := range e.newO.Tensors {
		if !e.scaled(t) {
			continue
		}
		for _, part := range e.newO.Parts(i) {
			n += part.Box.Volume() * len(part.Ranks) * (e.newO.Grid.DP - 1)
		}
	}
	return int64(n * e.dtype.Size())
}

// redistribution is the way that several kinds of numbers take together.
type redistribution struct {
	from, to layout.Layout
	dtype    tensor.DType
	times    *timetable
	bound    int64 // bytes that had to move, of one kind
}

// redistribute plans the moves of the parameters that keep wants.
func (e *engine) redistribute(dtype tensor.DType, from, to layout.Layout, embed layout.Embedding, keep func(arch.Tensor) bool) (*redistribution, error) {
	moves, err := layout.Plan(from, to, embed)
	if err != nil {
		return nil, err
	}
	wanted := moves[:0]
	for _, t := range moves {
		if keep(to.Tensors[t.DstTensor]) {
			wanted = append(wanted, t)
		}
	}
	times := newTimetable(wanted, e.newO.Grid.World(), e.rank, max(e.Staging/dtype.Size(), 1))
	bound, err := layout.LowerBoundOf(from, to, embed, dtype.Size(), keep)
	return &redistribution{from, to, dtype, times, bound}, err
}

// send makes the routes of some kinds, and counts what moves.
func (e *engine) send(count *Moved, d *redistribution, kinds ...string) {
	for _, kind := range kinds {
		e.routes = append(e.routes, &route{kind: kind, from: d.from, to: d.to, dtype: d.dtype, timetable: d.times})
		count.Bytes += int64(d.times.moved * d.dtype.Size())
		count.LowerBound += d.bound
	}
}

// newTimetable gives every transfer the first message in which both its ends have room for it. So pipeline stages, whose
// tensors follow each other in the plan, move at the same time. No message of a rank has more than limit elements each way,
// unless one row has. Transfers are cut along rows into parts that fill messages well.
func newTimetable(moves []layout.Transfer, ranks, rank, limit int) *timetable {
	t := &timetable{}
	out, in := make([]door, ranks), make([]door, ranks)
	for _, whole := range moves {
		if whole.Local() {
			if whole.SrcRank == rank {
				t.stay = append(t.stay, whole)
			}
			continue
		}
		eachCut(whole, max(limit/8, 1), func(x layout.Transfer) {
			n, src, dst := x.Src.Volume(), &out[x.SrcRank], &in[x.DstRank]
			at := max(src.open, dst.open)
			for !src.fits(at, n, limit) || !dst.fits(at, n, limit) {
				at++
			}
			t.moved += n
			leaves, comes := src.pass(at, n, limit), dst.pass(at, n, limit)
			for len(t.batches) <= at {
				t.batches = append(t.batches, nil)
			}
			if x.SrcRank == rank {
				t.out = max(t.out, leaves)
			}
			if x.DstRank == rank {
				t.in = max(t.in, comes)
			}
			if x.SrcRank == rank || x.DstRank == rank {
				t.batches[at] = append(t.batches[at], x)
			}
		})
	}
	return t
}

// door is what a rank sends, or receives: the elements of each message. Those before open are as good as full.
type door struct {
	elements []int
	open     int
}

func (d *door) fits(message, n, limit int) bool {
	return message >= len(d.elements) || d.elements[message] == 0 || d.elements[message]+n <= limit
}

// pass lets n elements through in a message, and returns how many it has now.
func (d *door) pass(message, n, limit int) int {
	for len(d.elements) <= message {
		d.elements = append(d.elements, 0)
	}
	d.elements[message] += n
	for d.open < len(d.elements) && d.elements[d.open] > limit-limit/8 {
		d.open++
	}
	return d.elements[message]
}

// eachCut calls f with the parts of a transfer that have at most limit elements, or one row.
func eachCut(t layout.Transfer, limit int, f func(layout.Transfer)) {
	rows, n := t.Src.Hi[0]-t.Src.Lo[0], t.Src.Volume()
	if n <= limit || rows == 1 {
		f(t)
		return
	}
	step := max(limit/(n/rows), 1)
	for lo := 0; lo < rows; lo += step {
		hi, x := min(lo+step, rows), t
		x.Src = t.Src.Narrow(0, t.Src.Lo[0]+lo, t.Src.Lo[0]+hi)
		x.Dst = t.Dst.Narrow(0, t.Dst.Lo[0]+lo, t.Dst.Lo[0]+hi)
		f(x)
	}
}

// connect gives the routes their memory.
func (e *engine) connect() {
	ends := func(s State, kind string) map[string]held {
		out := map[string]held{}
		if kind == weights {
			for _, x := range s.Params.Shards() {
				out[x.Name] = held{s.Params.Weight(x.Name), x.Box}
			}
			return out
		}
		for _, p := range s.Optimizer.State() {
			if p.Kind == kind {
				out[p.Tensor.Name] = held{p.Data, p.Box}
			}
		}
		return out
	}
	for _, r := range e.routes {
		r.old, r.new = ends(e.Old, r.kind), ends(e.new, r.kind)
	}
}

func (r *route) source(t layout.Transfer) tensor.Tensor {
	return r.old[r.from.Tensors[t.SrcTensor].Name].view(t.Src)
}

func (r *route) target(t layout.Transfer) tensor.Tensor {
	return r.new[r.to.Tensors[t.DstTensor].Name].view(t.Dst)
}

// view is a box of what is held.
func (h held) view(want layout.Box) tensor.Tensor {
	x := h.data.Slice(want.Lo[0]-h.box.Lo[0], want.Hi[0]-h.box.Lo[0])
	if len(want.Lo) > 1 {
		x = x.Columns(want.Lo[1]-h.box.Lo[1], want.Hi[1]-h.box.Lo[1])
	}
	return x
}

// carry moves everything along a route.
func (e *engine) carry(r *route) {
	for _, t := range r.stay {
		e.Stream.Copy(r.target(t), r.source(t))
	}
	for n, batch := range r.batches {
		e.exchange(r, fmt.Sprintf("growth %s %d/%d", r.kind, n+1, len(r.batches)), batch)
	}
}

// exchange sends one batch: pack by receiver, one all-to-all, unpack by sender. Both sides meet the transfers of a pair in
// the order of the plan. What goes out lies in staging before what comes in.
func (e *engine) exchange(r *route, name string, batch []layout.Transfer) {
	ranks, size := e.world.Size(), r.dtype.Size()
	out, in := make([]int, ranks+1), make([]int, ranks+1) // where each peer's piece begins
	for _, t := range batch {
		if t.SrcRank == e.rank {
			out[t.DstRank+1] += t.Src.Volume()
		} else {
			in[t.SrcRank+1] += t.Src.Volume()
		}
	}
	send, recv := make([]tensor.Tensor, ranks), make([]tensor.Tensor, ranks)
	for p := range ranks {
		if n := out[p+1]; n > 0 {
			send[p] = e.stage(out[p]*size, r.dtype, n)
		}
		if n := in[p+1]; n > 0 {
			recv[p] = e.stage((r.out+in[p])*size, r.dtype, n)
		}
		out[p+1] += out[p]
		in[p+1] += in[p]
	}
	for _, t := range batch {
		if t.SrcRank == e.rank {
			x := r.source(t)
			e.Stream.Copy(e.stage(out[t.DstRank]*size, r.dtype, x.Dims()...), x)
			out[t.DstRank] += x.Len()
		}
	}
	e.world.AllToAll(e.Stream, name, send, recv)
	for _, t := range batch {
		if t.DstRank == e.rank {
			x := r.target(t)
			e.Stream.Copy(x, e.stage((r.out+in[t.SrcRank])*size, r.dtype, x.Dims()...))
			in[t.SrcRank] += x.Len()
		}
	}
}
