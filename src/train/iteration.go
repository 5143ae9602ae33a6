package train

import (
	"cambium/src/config"
	"cambium/src/schedule"
)

// iteration takes one step and does what is due after it: log, validation, checkpoint, stop. It returns true when the
// run ends here although stages are left.
func (r *rank) iteration() (bool, error) {
	o, err := r.step()
	if err != nil {
		return false, err
	}
	s := &r.cfg.Stages[r.stage]
	r.progress.Add(1)
	r.lead(func(w *observer) error { return w.step(r, o) })
	last := r.place.Stage != r.stage // of the stage
	if due(s.Train.EvalInterval, r.place) || last {
		if err := r.validate(s); err != nil {
			return false, err
		}
	}
	over := r.place.Stage == r.timeline.Stages()
	stop := !over && (o.stop || due(r.cfg.Exit.Interval, r.place))
	if r.saves(s, last, over) || stop {
		if err := r.save(); err != nil {
			return false, err
		}
	}
	if stop {
		r.stopped.Store(o.stop)
		r.lead(func(w *observer) error { return w.finish(r, "stopped") })
	}
	return stop, nil
}

// saves tells whether a checkpoint is due after a step.
func (r *rank) saves(s *config.Stage, last, over bool) bool {
	switch {
	case due(s.Train.SaveInterval, r.place):
		return true
	case over:
		return r.cfg.Checkpoint.AtEnd
	}
	return last && r.cfg.Checkpoint.BeforeGrowth
}

// due tells whether something that happens every interval iterations happens now; never when interval is 0.
func due(interval int, p schedule.Place) bool {
	return interval > 0 && p.Iteration%int64(interval) == 0
}
