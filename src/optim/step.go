package optim

import (
	"encoding/binary"
	"fmt"
	"math"

	"cambium/src/backend"
	"cambium/src/comm"
)

// Result says what a step did.
type Result struct {
	GradNorm float64 // global, before clipping, unscaled; not finite when the step was skipped
	Clip     float64 // factor of the gradients, 1 when nothing was clipped
	Skipped  bool    // some gradient on some rank was not finite: nothing was changed
}

// clipEps keeps the clip factor below 1 by rounding's worth: torch.nn.utils.clip_grad_norm_ and Megatron use 1e-6.
const clipEps = 1e-6

// Step reduces the gradients over the ranks, and updates all weights on all ranks:
//
//	g     = gradScale * sum over ranks of Grad               (gradScale: 1 / loss scale)
//	norm  = sqrt(sum g^2) over all parameters of the global model, each element once, in fp64
//	g     = g * min(1, ClipGrad / (norm + 1e-6))
//	AdamW with g, learning rate lr * LRMult, weight decay WeightDecay * DecayMult (backend.AdamW)
//
// When norm is not finite every rank of the world skips: weights, moments and the step count stay. It waits for the stream
// once, for the norm; the update itself is in flight when it returns. Gradients are left reduced, on their owners alone: zero
// them.
func (o *Optimizer) Step(s backend.Stream, lr, gradScale float64) (Result, error) {
	norm, err := o.gradNorm(s)
	o.Begin(0)
	if err != nil {
		return Result{}, fmt.Errorf("optim: gradient norm: %w", err)
	}
	norm *= math.Abs(gradScale)
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return Result{GradNorm: norm, Clip: 1, Skipped: true}, nil
	}
	r := Result{GradNorm: norm, Clip: 1}
	if c := o.config.ClipGrad; c > 0 {
		r.Clip = min(1, c/(norm+clipEps))
	}
	o.step++
	o.forgetBirths()
	o.update(s, lr, gradScale*r.Clip)
	return r, nil
}

// gradNorm completes the gradients on their owners and returns the norm of their sum over all parameters.
func (o *Optimizer) gradNorm(s backend.Stream) (float64, error) {
	if o.overshot != nil {
		return 0, o.overshot
	}
	o.complete(s)
	for i, g := range o.squares {
		s.SumSquares(o.sumSquares, g, i > 0)
	}
	if len(o.squares) == 0 {
		s.Fill(o.sumSquares, 0)
	}
	s.Download(o.sum[:], o.sumSquares)
	err := s.Sync()
	if t := o.parallel.Stream; t != nil { // its failures do not reach s, which waited for it
		if e := t.Sync(); e != nil {
			err = e
		}
	}
	if err != nil {
		return 0, err
	}
	o.norm[0] = math.Float64frombits(binary.NativeEndian.Uint64(o.sum[:]))
	if many(o.parallel.World) {
		if err := o.parallel.World.Reduce("gradient norm", comm.Sum, o.norm[:]); err != nil {
			return 0, err
		}
	}
	return math.Sqrt(o.norm[0]), nil
}

// complete reduces what no backward pass has started, lets s wait for all, and then sums what stands on several ranks: rows
// of 1/dp of a tied table over its two stages, of norms over tp.
func (o *Optimizer) complete(s backend.Stream) {
	o.Settle(s)
	for _, b := range o.buckets {
		if !b.reduced {
			o.reduce(s, b)
		}
	}
	if t := o.parallel.Stream; t != nil {
		t.Record(o.after)
		s.Wait(o.after)
	}
	if len(o.tied) > 0 {
		o.parallel.Embedding.AllReduce(s, "gradients of the tied table", comm.Sum, o.tied...)
	}
	if len(o.partial) > 0 {
		o.parallel.TP.AllReduce(s, "gradients of norms", comm.Sum, o.partial...)
	}
}

// update takes the step on what this rank owns, bucket by bucket in the order in which a forward pass needs them, and sends
// each on its way. Where none travels it is taken on all at once.
func (o *Optimizer) update(s backend.Stream, lr, gradScale float64) {
	c := o.config
	op := backend.AdamW{Step: o.step, Beta1: float32(c.Beta1), Beta2: float32(c.Beta2), Eps: float32(c.Eps), GradScale: float32(gradScale)}
	list := o.updates[:0]
	for n := len(o.buckets) - 1; n >= 0; n-- {
		b := o.buckets[n]
		for _, i := range b.shards {
			x := &o.shards[i]
			op.W, op.G, op.M, op.V, op.Out, op.BirthRow, op.BirthCol = x.w, x.g, x.m, x.v, x.out, x.birthRow, x.birthCol
			op.LR, op.WeightDecay = float32(lr*x.t.LRMult), float32(c.WeightDecay*x.t.DecayMult)
			list = append(list, op)
		}
		if o.parallel.DP.Size() > 1 {
			s.AdamW(list...)
			o.gather(s, b)
			list = list[:0]
		}
	}
	s.AdamW(list...)
	o.updates = list
	if !o.parallel.OverlapParamGather {
		o.Settle(s)
	}
}
