package train

import (
	"fmt"
	"time"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/config"
	"cambium/src/eval"
	"cambium/src/execute"
	"cambium/src/growth"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/optim"
	"cambium/src/pipeline"
	"cambium/src/schedule"
	"cambium/src/tensor"
)

// rank is one rank's live state.
type rank struct {
	*job
	world    comm.Communicator
	backend  backend.Backend
	stream   backend.Stream
	traffic  backend.Stream // gradients and weights on their way, beside the passes; nil when nobody shares them
	groups   groups         // of the live stage's grid
	place    schedule.Place // what the next step is
	stage    int            // whose model is alive: behind place.Stage until growth has happened
	function arch.Function
	state    growth.State

	model    *model.Model
	executor *execute.Executor
	samples  *samples
	forward  *forward
	eval     *eval.Evaluator

	scale      lossScale
	skipped    int // steps in a row without a finite gradient
	allSkipped int
	started    time.Time
}

// runRank is the life of a rank.
func (j *job) runRank(world comm.Communicator) error {
	if err := j.meet(world); err != nil {
		return err
	}
	return j.withRank(world, (*rank).train)
}

// withRank makes a rank that stands where the run begins or goes on, has f use it, and closes it.
func (j *job) withRank(world comm.Communicator, f func(*rank) error) (err error) {
	r, err := j.newRank(world)
	if err != nil {
		return err
	}
	defer func() {
		r.tellWhere(err)
		if closeErr := r.close(); err == nil {
			err = closeErr
		}
	}()
	if err := r.enter(); err != nil {
		return err
	}
	return f(r)
}

// train takes the rank through all stages that are left.
func (r *rank) train() error {
	for r.place.Stage < r.timeline.Stages() {
		if r.place.Stage != r.stage {
			if err := r.grow(); err != nil {
				return err
			}
		}
		n := r.place.Iteration + 1
		done, err := r.iteration()
		if err != nil {
			return fmt.Errorf("iteration %d: %w", n, err)
		}
		if done {
			return nil
		}
	}
	return r.finish()
}

func (j *job) newRank(world comm.Communicator) (*rank, error) {
	r := &rank{job: j, started: time.Now()}
	var err error
	if r.backend, r.world, err = j.openDevice(world); err != nil {
		return nil, err
	}
	j.watch(r.world)
	r.stream = r.backend.NewStream("compute")
	if world.Size() > 1 {
		r.traffic = r.backend.NewStream("communication")
	}
	return r, nil
}

// enter builds the state of the first step: new, or as a checkpoint left it.
func (r *rank) enter() error {
	start, err := r.start()
	if err != nil {
		return err
	}
	r.place, r.stage, r.function = start.place, start.stage, r.functions[start.stage]
	if r.groups, err = r.split(r.stage); err != nil {
		return err
	}
	if r.state, err = r.newState(r.stage, r.groups); err != nil {
		return err
	}
	r.scale = r.newLossScale()
	if r.resume != nil {
		err = r.load()
	} else {
		err = r.initialise()
	}
	if err != nil {
		return err
	}
	if err := r.build(); err != nil {
		return err
	}
	memory, err := r.memory()
	if err != nil {
		return err
	}
	// Metrics are cut back to the checkpoint, so only once every rank has read it.
	if err := r.world.Barrier("start"); err != nil {
		return err
	}
	r.lead(func(o *observer) error { return o.begin(r, memory) })
	return nil
}

// newState allocates what a rank trains in a growth stage: its shards of the weights, and its boxes of the optimizer's state.
func (r *rank) newState(stage int, g groups) (s growth.State, err error) {
	m := r.cfg.Stages[stage].Model
	weights, err := layout.Weights(m, g.grid)
	if err != nil {
		return s, err
	}
	if s.Params, err = model.NewParams(r.backend, weights, r.world.Rank(), model.ParamOptions{DType: r.dtype(), Grads: true}); err != nil {
		return s, err
	}
	p, err := r.sharing(stage, g)
	if err != nil {
		return s, err
	}
	s.Optimizer, err = optim.New(r.backend, p, s.Params, r.optimizerConfig())
	return s, err
}

// sharing is how the optimizers of a growth stage share the work.
func (r *rank) sharing(stage int, g groups) (optim.Parallel, error) {
	s := &r.cfg.Stages[stage]
	l, err := layout.Optimizer(s.Model, g.grid)
	p := s.Parallel
	return optim.Parallel{
		World: r.world, DP: g.dp, TP: g.tp, Embedding: g.embedding, GridLayout: l, SequenceParallel: p.SequenceParallel,
		BucketSize: int(p.BucketSize), Stream: r.traffic, OverlapGradReduce: p.OverlapGradReduce, OverlapParamGather: p.OverlapParamGather,
	}, err
}

// initialise gives a new model its initial weights: masters first, so that 16-bit weights are rounded from them.
func (r *rank) initialise() error {
	if err := r.state.Params.Init(r.stream, r.cfg.Seed); err != nil {
		return err
	}
	if r.state.Optimizer.Masters() {
		r.initialiseMasters()
	}
	r.state.Optimizer.PublishWeights(r.stream)
	return r.stream.Sync()
}

func (r *rank) initialiseMasters() {
	for _, p := range r.state.Optimizer.State() {
		if p.Kind == optim.Weight {
			model.Initialise(r.stream, p.Data, r.cfg.Stages[r.stage].Model, p.Tensor, r.cfg.Seed, p.Box.Lo, p.Box.Hi)
		}
	}
}

// build plans what the live stage computes with: activations, messages between pipeline stages, batch, evaluation.
func (r *rank) build() (err error) {
	s := &r.cfg.Stages[r.stage]
	sched, err := r.schedule(s, r.groups)
	if err != nil {
		return err
	}
	recompute, err := model.ParseRecompute(s.Parallel.Recompute)
	if err != nil {
		return err
	}
	_, slots := pipeline.Slots(sched[r.groups.at.PP])
	o := model.Options{
		MicroBatch: s.Train.MicroBatchSize, SeqLength: s.Train.SeqLength, Recompute: recompute, Slots: slots, SplitBackward: sched.Split(),
		LogitBytes: model.LogitBytes(r.cfg.Backend == config.BackendCUDA),
	}
	if r.model, err = model.New(r.backend, r.function, r.state.Params, r.parallel(s, r.groups), o); err != nil {
		return err
	}
	r.executor, err = execute.New(r.backend, r.groups.pp, r.model, execute.Options{
		Schedule: sched, Shape: shape(r.model), Hooks: r.state.Optimizer.Hooks(), Clock: r.clock,
	})
	if err != nil {
		return err
	}
	if r.forward, err = r.newForward(r.groups, r.model); err != nil {
		return err
	}
	r.eval = eval.Over(r.forward)
	r.samples = r.newSamples(s)
	return nil
}

// dismantle frees what build made. Nothing may be in flight.
func (r *rank) dismantle() {
	if r.samples != nil {
		r.samples.stop()
		r.samples = nil
	}
	if r.forward != nil {
		r.forward.Close()
		r.forward, r.eval = nil, nil
	}
	if r.executor != nil {
		r.executor.Close()
		r.executor = nil
	}
	if r.model != nil {
		r.model.Close()
		r.model = nil
	}
}

func (r *rank) close() error {
	err := r.stream.Sync()
	if r.samples != nil {
		r.samples.stop()
	}
	if closeErr := r.backend.Close(); err == nil {
		err = closeErr
	}
	return err
}

// dtype is the type of weights and activations.
func (j *job) dtype() tensor.DType {
	switch j.cfg.Precision.ParamsDType {
	case config.BF16:
		return tensor.BF16
	case config.FP16:
		return tensor.F16
	}
	return tensor.F32
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
