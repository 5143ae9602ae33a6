package train

import (
	"context"
	"time"

	"cambium/src/comm"
	"cambium/src/config"
)

// Measurement is what Measure saw.
type Measurement struct {
	Backend string
	World   int
	Steps   []time.Duration // of the leading rank, which waits for the others in every step
	Loss    float64         // of the last step
	Peak    map[string]int  // bytes that the leading rank had allocated at most, by label at the end
}

// Measure takes warmup steps and then steps more, of the first stage of cfg, on synthetic tokens, and writes nothing.
func Measure(ctx context.Context, cfg *config.Run, warmup, steps int) (*Measurement, error) {
	short := *cfg
	short.Data = config.Data{Mock: true}
	short.Tokenizer = config.Tokenizer{Type: config.TokenizerNone}
	first := cfg.Stages[0]
	first.Train.TrainIters, first.Train.TrainSamples, first.Train.TrainTokens = config.Count(warmup+steps), 0, 0
	first.Train.DecayStyle, first.Train.DecayIters = config.DecayConstant, 0
	first.Train.WarmupIters, first.Train.WarmupSamples, first.Train.WarmupFraction = 0, 0, 0
	short.Stages = []config.Stage{first}
	j := &job{cfg: &short, ctx: ctx}
	if err := j.prepare(); err != nil {
		return nil, err
	}
	defer j.close()
	if err := j.findWorld(); err != nil {
		return nil, err
	}
	m := &Measurement{World: short.World()}
	return m, j.world.Run(func(world comm.Communicator) error { return j.measure(world, warmup, m) })
}

func (j *job) measure(world comm.Communicator, warmup int, m *Measurement) (err error) {
	r := j.newRank(world)
	defer func() {
		if closeErr := r.close(); err == nil {
			err = closeErr
		}
	}()
	if err := r.enter(); err != nil {
		return err
	}
	for i := 0; r.place.Stage < r.timeline.Stages(); i++ {
		o, err := r.step()
		if err != nil {
			return err
		}
		if o.stop {
			return context.Cause(j.ctx)
		}
		if i >= warmup && r.leads() {
			m.Steps, m.Loss = append(m.Steps, o.took), o.loss
		}
	}
	if r.leads() {
		m.Backend, m.Peak = r.backend.Name(), r.backend.Usage().ByLabel
	}
	return nil
}
