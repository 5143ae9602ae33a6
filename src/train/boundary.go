package train

import (
	"fmt"
	"time"

	"cambium/src/arch"
	"cambium/src/config"
	"cambium/src/eval"
	"cambium/src/growth"
	"cambium/src/model"
)

// grow takes the live state over the boundary into the next stage, on all ranks together:
//
//  1. the probe's loss, by the old model;
//  2. the larger weights and moments beside the old ones (growth.Grow);
//  3. the probe's loss, by the new model, with its masks at v = 0;
//  4. where it stayed, the old state goes; where it did not, the old state is saved and the run ends.
func (r *rank) grow() error {
	begin := time.Now()
	last, next := r.stage, r.stage+1
	plan := r.plans[next]
	before, err := r.probe(last, last, r.state, r.lastMask())
	if err != nil {
		return err
	}
	r.dismantle()
	grown, err := growth.Grow(growth.Job{
		Plan: plan, Backend: r.backend, Stream: r.stream, DP: r.dp, Old: r.state, Seed: r.cfg.Seed, Growth: next,
	})
	if err != nil {
		return r.stay(err)
	}
	after, err := r.probe(last, next, grown.State, plan.MaskAt(0))
	if err != nil {
		grown.Abort()
		return r.stay(err)
	}
	change, err := plan.CheckProbe(before, after, r.tolerance(next))
	if err != nil {
		grown.Abort()
		return r.stay(err)
	}
	grown.Commit()
	r.state, r.stage, r.function = grown.State, next, r.functions[next]
	if err := r.build(); err != nil {
		return err
	}
	r.lead(func(o *observer) error {
		return o.grown(r, growthEvent{before: before, after: after, change: change, took: time.Since(begin), stats: grown.Stats})
	})
	return nil
}

// stay saves the old state after a growth that failed, and says so.
func (r *rank) stay(cause error) error {
	name := r.cfg.Stages[r.stage+1].Name
	if err := r.save(); err != nil {
		return fmt.Errorf("growth to stage %q: %w; and the state before it could not be saved: %v", name, cause, err)
	}
	return fmt.Errorf("growth to stage %q: %w; the state before it is saved", name, cause)
}

// tolerance is the largest relative change of the probe's loss.
func (r *rank) tolerance(stage int) float64 {
	if t := r.cfg.Stages[stage].Growth.Tolerance; t > 0 {
		return t
	}
	return growth.Tolerance(r.state.Params.Weight(arch.WordEmbeddings).DType())
}

// probeWindows is the number of windows whose loss is compared before and after growth.
const probeWindows = 16

// probe is the loss of a stage's probe windows, by the weights of a state with the shape of stage shape, under a mask. Windows
// and sequence length are those of the stage that ends, so that both sides of a growth see the same tokens.
func (r *rank) probe(stage, shape int, state growth.State, k arch.Mask) (float64, error) {
	t := r.cfg.Stages[stage].Train
	o := model.Options{MicroBatch: t.MicroBatchSize, SeqLength: t.SeqLength, Inference: true}
	m, err := model.New(r.backend, r.functions[shape], state.Params, model.Parallel{}, o)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	e, err := eval.New(r.backend, m)
	if err != nil {
		return 0, err
	}
	defer e.Close()
	m.SetMask(k)
	w := r.probes[stage]
	return r.meanLoss("probe", e, w, min(probeWindows, w.Len()))
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
