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
//	norm  = sqrt(sum g^2) over all parameters, in fp64
//	g     = g * min(1, ClipGrad / (norm + 1e-6))
//	AdamW with g, learning rate lr * LRMult, weight decay WeightDecay * DecayMult (backend.AdamW)
//
// When norm is not finite every rank skips: weights, moments and the step count stay. It waits for the stream once,
// for the norm; the update itself is in flight when it returns. Gradients are left scaled and reduced: zero them.
func (o *Optimizer) Step(s backend.Stream, lr, gradScale float64) (Result, error) {
	norm, err := o.gradNorm(s)
	if err != nil {
		return Result{}, err
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
	if o.dp.Size() > 1 {
		o.dp.AllGather(s, "weights", o.weightsIn[o.own], o.weightsIn)
	}
	return r, nil
}

// gradNorm reduces the gradients to their owners and returns the norm of the sum over all parameters.
func (o *Optimizer) gradNorm(s backend.Stream) (float64, error) {
	if o.dp.Size() > 1 {
		o.dp.ReduceScatter(s, "gradients", o.gradsOut, o.gradsOut[o.own])
	}
	if len(o.shards) == 0 {
		s.Fill(o.sumSquares, 0)
	}
	for i := range o.shards {
		s.SumSquares(o.sumSquares, o.shards[i].g, i > 0)
	}
	s.Download(o.sum[:], o.sumSquares)
	if err := s.Sync(); err != nil {
		return 0, fmt.Errorf("optim: gradient norm: %w", err)
	}
	o.norm[0] = math.Float64frombits(binary.NativeEndian.Uint64(o.sum[:]))
	if o.dp.Size() > 1 {
		if err := o.dp.Reduce("gradient norm", comm.Sum, o.norm[:]); err != nil {
			return 0, fmt.Errorf("optim: gradient norm: %w", err)
		}
	}
	return math.Sqrt(o.norm[0]), nil
}

func (o *Optimizer) update(s backend.Stream, lr, gradScale float64) {
	c := o.config
	op := backend.AdamW{Step: o.step, Beta1: float32(c.Beta1), Beta2: float32(c.Beta2), Eps: float32(c.Eps), GradScale: float32(gradScale)}
	for i := range o.shards {
		x := &o.shards[i]
		op.W, op.G, op.M, op.V, op.BirthRow, op.BirthCol = x.w, x.g, x.m, x.v, x.birthRow, x.birthCol
		op.LR, op.WeightDecay = float32(lr*x.t.LRMult), float32(c.WeightDecay*x.t.DecayMult)
		s.AdamW(op)
	}
}
