package train

import (
	"time"

	"cambium/src/comm"
	"cambium/src/config"
	"cambium/src/eval"
)

// validate takes the loss over the stage's validation windows.
func (r *rank) validate(s *config.Stage) error {
	if r.windows[r.stage] == nil || s.Train.EvalIters == 0 {
		return nil
	}
	n := min(s.Train.EvalIters*s.Train.GlobalBatchSize, r.windows[r.stage].Len())
	r.model.SetMask(r.mask(r.place))
	r.state.Optimizer.Settle(r.stream)
	begin := time.Now()
	loss, err := r.meanLoss("validation", r.groups, r.eval, r.windows[r.stage], n)
	if err != nil {
		return err
	}
	r.lead(func(o *observer) error { return o.validated(r, loss, time.Since(begin)) })
	return nil
}

// meanLoss is the mean loss over the first n windows, shared among the replicas and told to all ranks.
func (r *rank) meanLoss(name string, g groups, e *eval.Evaluator, w eval.Windows, n int) (float64, error) {
	ranks, own := g.grid.DP, g.at.DP
	sum, err := e.Loss(r.stream, lively{w, r.job}, n*own/ranks, n*(own+1)/ranks)
	if err != nil {
		return 0, err
	}
	all := []float64{sum.Nats, float64(sum.Tokens)}
	if err := r.world.Reduce(name, comm.Sum, all); err != nil {
		return 0, err
	}
	return all[0] / all[1], nil
}
