package train

import (
	"fmt"
	"time"

	"cambium/src/backend"
	"cambium/src/comm"
)

// maxSkipped is how many steps in a row may have a gradient that is not finite, when no smaller loss scale is left to try:
// nothing brings such a run back.
const maxSkipped = 10

// outcome is what one step did, the same on all ranks.
type outcome struct {
	loss     float64 // mean over the global batch, nats a token
	gradNorm float64
	lr       float64
	scale    float64 // of the loss
	skipped  bool
	took     time.Duration
	stop     bool // some rank was asked to stop
}

// step trains on one global batch. The gradient is that of the mean loss over the batch's tokens, times the loss scale.
// The last backward pass through each run of layers starts the reduction of its gradients.
func (r *rank) step() (outcome, error) {
	begin := time.Now()
	s := &r.cfg.Stages[r.stage]
	o := outcome{lr: r.rates[r.stage].At(float64(r.place.Tokens + s.TokensPerIteration())), scale: r.scale.Scale}
	r.model.SetMask(r.mask(r.place))
	backend.Gather(r.stream)
	r.state.Params.RenewGrads(r.stream)
	backend.HandOver(r.stream)
	r.state.Optimizer.Begin(1)
	if err := r.executor.Run(r.stream, float32(o.scale/float64(s.TokensPerIteration())), r.samples.next); err != nil {
		return o, err
	}
	result, err := r.state.Optimizer.Step(r.stream, o.lr, 1/o.scale)
	if err != nil {
		return o, err
	}
	o.gradNorm, o.skipped = result.GradNorm, result.Skipped
	if err := r.conclude(&o); err != nil {
		return o, err
	}
	if err := r.stream.Sync(); err != nil {
		return o, err
	}
	o.took = time.Since(begin)
	r.place = r.timeline.Next(r.place)
	return o, r.judge(o)
}

// conclude reduces what all ranks must know of a step: its loss, which the last pipeline stages know and of each
// tensor-parallel group one rank tells, and whether anybody was asked to stop.
func (r *rank) conclude(o *outcome) error {
	all := []float64{0, 0}
	if r.groups.at.TP == 0 {
		for _, losses := range r.executor.Losses() {
			for _, l := range losses {
				all[0] += float64(l)
			}
		}
	}
	if r.stopping() {
		all[1] = 1
	}
	if err := r.world.Reduce("loss", comm.Sum, all); err != nil {
		return err
	}
	o.loss = all[0] / float64(r.cfg.Stages[r.stage].TokensPerIteration())
	o.stop = all[1] > 0
	return nil
}

// judge counts steps without a finite gradient, and gives up when nothing else comes.
func (r *rank) judge(o outcome) error {
	fell := r.scale.canFall()
	r.scale.next(o.skipped)
	if !o.skipped {
		r.skipped = 0
		return nil
	}
	r.allSkipped++
	if fell {
		return nil
	}
	if r.skipped++; r.skipped < maxSkipped {
		return nil
	}
	return fmt.Errorf("the gradient was not finite in %d steps in a row (loss %g): lower lr or clip_grad; the last checkpoint is not touched", r.skipped, o.loss)
}
