package train

import (
	"fmt"
	"time"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/eval"
	"cambium/src/grid"
	"cambium/src/growth"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/optim"
	"cambium/src/schedule"
)

// rank is one rank's live state.
type rank struct {
	*job
	world   comm.Communicator
	dp      comm.Communicator
	grid    grid.Grid
	backend backend.Backend
	stream  backend.Stream

	place    schedule.Place // what the next step is
	stage    int            // whose model is alive: behind place.Stage until growth has happened
	function arch.Function
	state    growth.State
	model    *model.Model
	batch    *batch
	eval     *eval.Evaluator

	skipped    int // steps in a row without a finite gradient
	allSkipped int
	started    time.Time
}

// runRank is the life of a rank.
func (j *job) runRank(world comm.Communicator) (err error) {
	r := &rank{job: j, world: world, backend: j.newBackend(), started: time.Now()}
	defer func() {
		if closeErr := r.close(); err == nil {
			err = closeErr
		}
	}()
	r.stream = r.backend.NewStream("compute")
	if err := r.enter(); err != nil {
		return err
	}
	for r.place.Stage < r.timeline.Stages() {
		if r.place.Stage != r.stage {
			if err := r.grow(); err != nil {
				return err
			}
		}
		done, err := r.iteration()
		if err != nil {
			return fmt.Errorf("iteration %d: %w", r.place.Iteration+1, err)
		}
		if done {
			return nil
		}
	}
	return r.finish()
}

// enter builds the state of the first step: new, or as a checkpoint left it.
func (r *rank) enter() error {
	start, err := r.start()
	if err != nil {
		return err
	}
	r.place, r.stage, r.function = start.place, start.stage, r.functions[start.stage]
	if err := r.regroup(); err != nil {
		return err
	}
	m := r.cfg.Stages[r.stage].Model
	if r.state.Params, err = model.NewParams(r.backend, layout.Single(m), 0, model.ParamOptions{Grads: true}); err != nil {
		return err
	}
	p := optim.Parallel{World: r.world, DP: r.dp}
	if p.GridLayout, err = layout.Optimizer(m, r.grid); err != nil {
		return err
	}
	if r.state.Optimizer, err = optim.New(r.backend, p, r.state.Params, r.optimizerConfig()); err != nil {
		return err
	}
	if r.resume != nil {
		err = r.load()
	} else {
		err = r.state.Params.Init(r.stream, r.cfg.Seed)
	}
	if err != nil {
		return err
	}
	if err := r.build(); err != nil {
		return err
	}
	// Metrics are cut back to the checkpoint, so only once every rank has read it.
	if err := r.world.Barrier("start"); err != nil {
		return err
	}
	r.lead(func(o *observer) error { return o.begin(r) })
	return nil
}

// regroup makes the process groups of the stage's grid.
func (r *rank) regroup() error {
	p := r.cfg.Stages[r.stage].Parallel
	var err error
	if r.grid, err = grid.New(r.world.Size(), p.TensorSize, p.PipelineSize); err != nil {
		return err
	}
	color, key := r.grid.Split(grid.DP, r.world.Rank())
	r.dp, err = r.world.Split("data-parallel group", color, key)
	return err
}

// build plans what the live stage computes with: activations, batch, evaluation.
func (r *rank) build() (err error) {
	s := &r.cfg.Stages[r.stage]
	o := model.Options{MicroBatch: s.Train.MicroBatchSize, SeqLength: s.Train.SeqLength}
	if r.model, err = model.New(r.backend, r.function, r.state.Params, model.Parallel{}, o); err != nil {
		return err
	}
	if r.eval, err = eval.New(r.backend, r.model); err != nil {
		return err
	}
	r.batch, err = r.newBatch(s)
	return err
}

// dismantle frees what build made. Nothing may be in flight.
func (r *rank) dismantle() {
	if r.batch != nil {
		r.batch.close()
		r.batch = nil
	}
	if r.eval != nil {
		r.eval.Close()
		r.eval = nil
	}
	if r.model != nil {
		r.model.Close()
		r.model = nil
	}
}

func (r *rank) close() error {
	err := r.stream.Sync()
	if r.batch != nil {
		r.batch.stop()
	}
	if closeErr := r.backend.Close(); err == nil {
		err = closeErr
	}
	return err
}

// mask is the growth mask of the step at place p of the live stage; the zero Mask outside ramps.
func (r *rank) mask(p schedule.Place) arch.Mask {
	plan := r.plans[r.stage]
	if plan == nil || p.Stage != r.stage {
		return arch.Mask{}
	}
	return plan.MaskAt(schedule.MaskAt(p.Step, int64(r.cfg.Stages[r.stage].Growth.RampIters)))
}

// leads tells whether this rank observes and reports for all.
func (r *rank) leads() bool { return r.world.Rank() == 0 }

// lead runs f on the leading rank. An error of an observer (a full disk) ends the run, on all ranks.
func (r *rank) lead(f func(*observer) error) {
	if !r.leads() || r.observer == nil {
		return
	}
	if err := f(r.observer); err != nil {
		r.world.Abort(err)
	}
}
