package optim

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/tensor"
)

// bucket is a run of groups of parameters (model.Shard.Group) whose gradients and weights travel together.
type bucket struct {
	groups, ready int // how many it has, and how many have their gradients
	reduced       bool
	gathering     bool // its weights are on their way in the communication stream

	shards                   []int             // own shards, indices into Optimizer.shards
	grads, weights           [][]tensor.Tensor // [dp rank] rows of their owner
	gradsName, weightsName   string
	filled, updated, arrived backend.Event
}

// progress is how far the gradients of a group are.
type progress struct {
	bucket *bucket // nil: this rank holds nothing of the group
	passes int     // backward passes that have left it
}

// fillBuckets cuts the parameters into buckets, from the last group on: the order in which gradients become ready. A bucket is
// full when it has BucketSize elements; groups that do not follow each other (chunks of an interleaved pipeline) part it.
func (o *Optimizer) fillBuckets() {
	byGroup := o.byGroup()
	o.groups = make([]progress, len(byGroup))
	var open *bucket
	size := 0
	for g := len(byGroup) - 1; g >= 0; g-- {
		if len(byGroup[g]) == 0 {
			open = nil
			continue
		}
		if open == nil || size >= o.parallel.BucketSize {
			open, size = o.newBucket(), 0
		}
		open.groups++
		o.groups[g].bucket = open
		for _, x := range byGroup[g] {
			size += x.Box.Volume()
		}
	}
	for g, shards := range byGroup {
		for _, x := range shards {
			b := o.groups[g].bucket
			enter(b.grads, o.params.Grad(x.Name), x, o.owned)
			enter(b.weights, o.params.Weight(x.Name), x, o.owned)
		}
	}
	at := map[string]int{}
	for i := range o.shards {
		at[o.shards[i].t.Name] = i
	}
	for g, shards := range byGroup {
		for _, x := range shards {
			if i, own := at[x.Name]; own {
				b := o.groups[g].bucket
				b.shards = append(b.shards, i)
			}
		}
	}
}

// byGroup are the parameters of every group.
func (o *Optimizer) byGroup() [][]model.Shard {
	var out [][]model.Shard
	for _, x := range o.params.Shards() {
		for len(out) <= x.Group {
			out = append(out, nil)
		}
		out[x.Group] = append(out[x.Group], x)
	}
	return out
}

func (o *Optimizer) newBucket() *bucket {
	n, dp, b := len(o.buckets), o.parallel.DP.Size(), o.backend
	x := &bucket{
		grads: make([][]tensor.Tensor, dp), weights: make([][]tensor.Tensor, dp),
		gradsName: fmt.Sprintf("gradients bucket %d", n), weightsName: fmt.Sprintf("weights bucket %d", n),
		filled: b.NewEvent(), updated: b.NewEvent(), arrived: b.NewEvent(),
	}
	o.buckets = append(o.buckets, x)
	return x
}

// enter adds one parameter to a list by dp rank: every owner's rows of it.
func enter(list [][]tensor.Tensor, t tensor.Tensor, x model.Shard, owned []map[string]layout.Shard) {
	for r, theirs := range owned {
		if s, ok := theirs[x.Name]; ok {
			list[r] = append(list[r], rows(t, x.Box, s.Box))
		}
	}
}

// Begin announces a step whose gradients are the sums of so many backward passes through every group. From then on GradsReady
// starts the reduce-scatter of a bucket as soon as the last of them has left it. Without Begin, or without
// OverlapGradReduce, Step reduces everything.
func (o *Optimizer) Begin(passes int) {
	o.passes, o.overshot = 0, nil
	if o.parallel.OverlapGradReduce {
		o.passes = passes
	}
	for g := range o.groups {
		o.groups[g].passes = 0
	}
	for _, b := range o.buckets {
		b.ready, b.reduced = 0, false
	}
}

// Hooks are what a model calls in its passes: see Begin, and OverlapParamGather. They are empty where nothing overlaps.
func (o *Optimizer) Hooks() model.Hooks {
	var h model.Hooks
	if o.parallel.OverlapGradReduce {
		h.GradsReady = o.gradsReady
	}
	if o.parallel.OverlapParamGather {
		h.WeightsNeeded = o.weightsNeeded
	}
	return h
}

// gradsReady: a backward pass has added to the gradients of a group, in stream s.
func (o *Optimizer) gradsReady(s backend.Stream, group int) {
	if o.passes == 0 || group >= len(o.groups) || o.groups[group].bucket == nil {
		return
	}
	p := &o.groups[group]
	p.passes++
	switch {
	case p.passes > o.passes:
		o.overshot = fmt.Errorf("optim: %d backward passes through group %d, but %d were announced", p.passes, group, o.passes)
	case p.passes == o.passes:
		if p.bucket.ready++; p.bucket.ready == p.bucket.groups {
			o.reduce(s, p.bucket)
		}
	}
}

// reduce starts the reduce-scatter of a bucket whose gradients are complete in stream s.
func (o *Optimizer) reduce(s backend.Stream, b *bucket) {
	b.reduced = true
	dp := o.parallel.DP
	if dp.Size() == 1 {
		return
	}
	dp.ReduceScatter(o.travel(s, b.filled), b.gradsName, b.grads, b.grads[dp.Rank()])
}

// gather starts the all-gather of a bucket whose own weights are up to date in stream s. Where there is a communication
// stream s does not wait for it yet.
func (o *Optimizer) gather(s backend.Stream, b *bucket) {
	dp := o.parallel.DP
	if dp.Size() == 1 {
		return
	}
	t := o.travel(s, b.updated)
	dp.AllGather(t, b.weightsName, b.weights[dp.Rank()], b.weights)
	if t != s {
		t.Record(b.arrived)
		b.gathering = true
	}
}

// travel is the stream in which the dp group talks; it goes on from where s is now. All calls of the group go through
// it, so that they are made in one order on all ranks.
func (o *Optimizer) travel(s backend.Stream, e backend.Event) backend.Stream {
	t := o.parallel.Stream
	if t == nil {
		return s
	}
	s.Record(e)
	t.Wait(e)
	return t
}

// weightsNeeded: a forward pass is about to read the weights of a group in stream s.
func (o *Optimizer) weightsNeeded(s backend.Stream, group int) {
	if group < len(o.groups) && o.groups[group].bucket != nil {
		o.groups[group].bucket.wait(s)
	}
}

func (b *bucket) wait(s backend.Stream) {
	if b.gathering {
		s.Wait(b.arrived)
		b.gathering = false
	}
}

// Settle makes s wait for all weights that are still on their way. Whoever reads weights in a stream without Hooks calls it
// first: evaluation, checkpoints. Passes of the same stream that follow need not wait again.
func (o *Optimizer) Settle(s backend.Stream) {
	for _, b := range o.buckets {
		b.wait(s)
	}
}

// PublishWeights fills the weights of all dp ranks from their owners' master weights: after masters were written into the
// pieces of State. It is a call of all dp ranks together.
func (o *Optimizer) PublishWeights(s backend.Stream) {
	o.PublishSome(s, func(arch.Tensor) bool { return true })
}

// PublishSome is PublishWeights of the parameters that want names.
func (o *Optimizer) PublishSome(s backend.Stream, want func(arch.Tensor) bool) {
	o.Settle(s)
	some := &bucket{weights: make([][]tensor.Tensor, len(o.owned)), weightsName: "published weights", updated: o.before, arrived: o.after}
	n := 0
	for _, x := range o.params.Shards() {
		if want(x.Tensor) {
			n++
			enter(some.weights, o.params.Weight(x.Name), x, o.owned)
		}
	}
	for i := range o.shards {
		if x := &o.shards[i]; x.out.Present() && want(x.t) {
			s.Copy(x.out, x.w)
		}
	}
	if n > 0 {
		o.gather(s, some)
		some.wait(s)
	}
}

// AdoptWeights sets the master weights to the model's: for a new model, or weights that come from elsewhere.
func (o *Optimizer) AdoptWeights(s backend.Stream) {
	o.Settle(s)
	for i := range o.shards {
		if x := &o.shards[i]; x.out.Present() {
			s.Copy(x.w, x.out)
		}
	}
}
