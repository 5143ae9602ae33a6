package train

import (
	"context"
	"fmt"
	"time"

	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/config"
	"cambium/src/pipeline"
	"cambium/src/tensor"
)

// MeasureOptions say what Measure does.
type MeasureOptions struct {
	Warmup, Steps int  // steps that do not count, and that do
	Profile       bool // one step more, in which the device times its kernels
}

// Measurement is what Measure saw.
type Measurement struct {
	Backend string
	DType   tensor.DType // of weights and activations
	World   int
	Threads int             // of a rank's backend
	Steps   []time.Duration // of the leading rank, which waits for the others in every step
	CPU     []time.Duration // processor time of the whole process, step by step, where the system tells it
	Loss    float64         // of the last step
	Peak    map[string]int  // bytes that the leading rank had allocated at most, by label at the end
	Most    int             // bytes that the rank with most of them had allocated at most, inner memory of operations included

	// The share of time in which pipeline stages compute nothing while a step's passes run: measured, and what the schedule
	// foretells for equal stages whose backward passes take twice as long as their forward passes. 0 without a pipeline.
	Bubble, BubbleForetold float64

	Profiled time.Duration        // the step more
	Kernels  []backend.KernelTime // of it on the leading rank, the longest total first
}

// Measure takes o.Warmup steps and then o.Steps more, of the first stage of cfg, on synthetic tokens, and writes nothing. The
// ranks are those of a world, or goroutines when it is nil. Every process calls it; what it saw is known where rank 0 is, on
// others it is nil.
func Measure(ctx context.Context, cfg *config.Run, world comm.World, o MeasureOptions) (*Measurement, error) {
	all := o.Warmup + o.Steps
	if o.Profile {
		all++
	}
	short := *cfg
	short.Data = config.Data{Mock: true}
	short.Tokenizer = config.Tokenizer{Type: config.TokenizerNone}
	first := cfg.Stages[0]
	first.Train.TrainIters, first.Train.TrainSamples, first.Train.TrainTokens = config.Count(all), 0, 0
	first.Train.DecayStyle, first.Train.DecayIters = config.DecayConstant, 0
	first.Train.WarmupIters, first.Train.WarmupSamples, first.Train.WarmupFraction = 0, 0, 0
	short.Stages = []config.Stage{first}
	j := &job{cfg: &short, ctx: ctx, options: Options{World: world}, clock: first.Parallel.PipelineSize > 1}
	if err := j.findWorld(); err != nil {
		return nil, err
	}
	defer j.close()
	if j.unable = j.prepare(); j.unable != nil && j.alone() {
		return nil, j.unable
	}
	m := &Measurement{World: short.World()}
	err := j.world.Run(func(world comm.Communicator) error { return j.measure(world, o, m) })
	if err != nil || !j.leading() {
		return nil, err
	}
	return m, nil
}

func (j *job) measure(world comm.Communicator, options MeasureOptions, m *Measurement) error {
	if err := j.meet(world); err != nil {
		return err
	}
	return j.withRank(world, func(r *rank) error { return r.measure(options, m) })
}

func (r *rank) measure(options MeasureOptions, m *Measurement) error {
	var busy, wall float64
	for i := range options.Warmup + options.Steps {
		begin, used := time.Now(), processorTime()
		o, err := r.step()
		if err != nil {
			return err
		}
		if o.stop {
			return context.Cause(r.ctx)
		}
		b, w, err := r.busy(begin)
		if err != nil {
			return err
		}
		if i < options.Warmup {
			continue
		}
		busy, wall = busy+b, wall+w
		if r.leads() {
			m.Steps, m.CPU, m.Loss = append(m.Steps, o.took), append(m.CPU, processorTime()-used), o.loss
		}
	}
	if options.Profile {
		if err := r.profile(m); err != nil {
			return err
		}
	}
	used := r.backend.Usage()
	most := []float64{float64(used.Peak + used.Scratch)}
	if err := r.world.Reduce("peak memory", comm.Max, most); err != nil || !r.leads() {
		return err
	}
	m.Backend, m.DType, m.Threads, m.Peak, m.Most = r.backend.Name(), r.dtype(), r.backend.Workers(), used.ByLabel, int(most[0])
	if !r.clock {
		return nil
	}
	m.Bubble = 1 - busy/wall
	foretold, err := r.bubble()
	m.BubbleForetold = foretold
	return err
}

// profile takes a step whose kernels the leading rank's device times.
func (r *rank) profile(m *Measurement) error {
	p, can := r.backend.(backend.Profiler)
	if !can {
		return fmt.Errorf("the backend %s does not time its kernels", r.backend.Name())
	}
	if r.leads() {
		p.StartProfile()
	}
	o, err := r.step()
	if err != nil || !r.leads() {
		return err
	}
	for _, s := range []backend.Stream{r.stream, r.traffic} {
		if s == nil {
			continue
		}
		if err := s.Sync(); err != nil {
			return err
		}
	}
	m.Profiled = o.took
	m.Kernels, err = p.StopProfile()
	return err
}

// busy is the time that the ranks' passes of a step took, and that the pipelines took, both summed over all ranks, in
// seconds. The ranks begin a step together, because the one before ends with a sum over all of them.
func (r *rank) busy(begin time.Time) (busy, wall float64, err error) {
	if !r.clock {
		return 0, 0, nil
	}
	mine, last := []float64{0}, []float64{0}
	for _, s := range r.executor.Spans() {
		mine[0] += s.End.Sub(s.Begin).Seconds()
		last[0] = max(last[0], s.End.Sub(begin).Seconds())
	}
	if err := r.world.Reduce("busy time", comm.Sum, mine); err != nil {
		return 0, 0, err
	}
	err = r.world.Reduce("wall time", comm.Max, last)
	return mine[0], last[0] * float64(r.world.Size()), err
}

// bubble is the share of idle time that the live stage's schedule foretells.
func (r *rank) bubble() (float64, error) {
	sched, err := r.schedule(&r.cfg.Stages[r.stage], r.groups)
	if err != nil {
		return 0, err
	}
	line, err := pipeline.Simulate(sched, pipeline.Costs{Forward: 1, Backward: 2, BackwardInput: 1, BackwardWeight: 1})
	return line.BubbleShare(), err
}
