package train

import (
	"errors"
	"fmt"
	"time"

	"cambium/src/arch"
	"cambium/src/comm"
	"cambium/src/config"
	"cambium/src/eval"
	"cambium/src/growth"
)

// grow takes the live state over the boundary into the next stage, on all ranks together:
//
//  1. the probe's loss, by the old model on the old grid;
//  2. the larger weights and optimizer state beside the old ones, laid out over the new grid (growth.Grow);
//  3. the probe's loss, by the new model on the new grid, with its masks at v = 0;
//  4. where it stayed, the old state goes; where it did not, the old state is saved and the run ends.
func (r *rank) grow() error {
	begin := time.Now()
	last, next := r.stage, r.stage+1
	plan := r.plans[next]
	r.state.Optimizer.Settle(r.stream)
	before, err := r.probe(r.groups, last, last, r.state, r.lastMask())
	if err != nil {
		return err
	}
	r.dismantle()
	to, err := r.split(next)
	if err != nil {
		return err
	}
	grown, err := r.enlarge(plan, next, to)
	if err != nil {
		return r.stay(err)
	}
	after, err := r.probe(to, last, next, grown.State, plan.MaskAt(0))
	if err != nil {
		grown.Abort()
		return r.stay(err)
	}
	change, err := plan.CheckProbe(before, after, r.tolerance(next))
	if err != nil {
		grown.Abort()
		return r.stay(err)
	}
	old := r.groups
	if err := grown.Commit(); err != nil {
		return fmt.Errorf("growth to stage %q: %w", r.cfg.Stages[next].Name, err)
	}
	r.state, r.stage, r.function, r.groups = grown.State, next, r.functions[next], to
	if err := r.build(); err != nil {
		return err
	}
	if old.tp != to.tp {
		if err := old.free(); err != nil {
			return err
		}
	}
	memory, err := r.memory()
	if err != nil {
		return err
	}
	r.lead(func(o *observer) error {
		e := growthEvent{before: before, after: after, change: change, took: time.Since(begin), stats: grown.Stats, from: old.grid}
		return o.grown(r, e, memory)
	})
	return nil
}

// enlarge makes the larger state on the new grid.
func (r *rank) enlarge(plan *growth.Plan, next int, to groups) (*growth.Grown, error) {
	p, err := r.sharing(next, to)
	if err != nil {
		return nil, err
	}
	return growth.Grow(growth.Job{
		Plan: plan, Backend: r.backend, Stream: r.stream, Old: r.state, Parallel: p, Seed: r.cfg.Seed, Growth: next,
	})
}

// stay saves the old state after a growth that failed, and says so.
func (r *rank) stay(cause error) error {
	name := r.cfg.Stages[r.stage+1].Name
	if err := r.save(); err != nil {
		return fmt.Errorf("growth to stage %q: %w; and the state before it could not be saved: %v", name, cause, err)
	}
	err := fmt.Errorf("growth to stage %q: %w; the state before it is saved", name, cause)
	if errors.Is(cause, growth.ErrElsewhere) && !r.alone() {
		return &comm.Elsewhere{Text: err.Error()} // the process of that rank tells
	}
	return err
}

// tolerance is the largest relative change of the probe's loss.
func (r *rank) tolerance(stage int) float64 {
	if t := r.cfg.Stages[stage].Growth.Tolerance; t > 0 {
		return t
	}
	return growth.Tolerance(r.dtype())
}

// probeWindows is the number of windows whose loss is compared before and after growth.
const probeWindows = 16

// probe is the loss of a stage's probe windows, by the weights of a state with the shape of stage shape, on the grid of g,
// under a mask. Windows and sequence length are those of the stage that ends, so that both sides of a growth see the same
// tokens.
func (r *rank) probe(g groups, stage, shape int, state growth.State, k arch.Mask) (float64, error) {
	t := r.cfg.Stages[stage].Train
	f, err := r.newInference(g, shape, state, t.MicroBatchSize, t.SeqLength, k)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := r.probes[stage]
	return r.meanLoss("probe", g, eval.Over(f), w, min(probeWindows, w.Len()))
}

// lastMask is the mask at the end of the live stage: none, unless its ramp is longer than the stage.
func (r *rank) lastMask() arch.Mask {
	plan := r.plans[r.stage]
	if plan == nil {
		return arch.Mask{}
	}
	return plan.MaskAt(1)
}

// planGrowth plans all growths of a run before anything is allocated: what cannot be grown is refused at once.
func planGrowth(cfg *config.Run) (plans []*growth.Plan, functions []arch.Function, err error) {
	plans, functions = []*growth.Plan{nil}, []arch.Function{cfg.Stages[0].Model.Function()}
	for i := 1; i < len(cfg.Stages); i++ {
		s := &cfg.Stages[i]
		p, err := growth.NewPlan(cfg.Stages[i-1].Model, functions[i-1], s.Model, growth.Options{
			Operator: growth.Operator(s.Growth.Operator), Statistics: s.Growth.Statistics,
			LayerPlacement: s.Growth.LayerPlacement, NewLayers: s.Growth.NewLayers,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("stages.%d: %w", i, err)
		}
		plans, functions = append(plans, p), append(functions, p.Function)
	}
	return plans, functions, nil
}
