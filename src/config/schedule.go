package config

import "cambium/src/schedule"

// TokensPerIteration is what one step of the stage consumes.
func (s *Stage) TokensPerIteration() int64 {
	return int64(s.Train.GlobalBatchSize) * int64(s.Train.SeqLength)
}

// Timeline lays the stages end to end over consumed tokens.
func (r *Run) Timeline() (*schedule.Timeline, error) {
	var stages []schedule.Stage
	for _, s := range r.Stages {
		stages = append(stages, schedule.Stage{Tokens: s.Tokens(), SeqLength: s.Train.SeqLength, Batch: schedule.Batch{Global: s.Train.GlobalBatchSize}})
	}
	return schedule.NewTimeline(stages)
}

// LearningRates are the curves of the stages over consumed tokens. A curve begins in the first stage, or in one that
// restarts, and goes on through all stages that continue it; lr_decay_iters counts steps of the stage in which it begins.
func (r *Run) LearningRates() []schedule.LearningRate {
	var out []schedule.LearningRate
	begin := int64(0)
	for i, s := range r.Stages {
		tokens := s.TokensPerIteration()
		if i > 0 && s.Growth.LRSchedule == ScheduleContinue {
			l := out[i-1]
			l.Start, l.Warmup, l.From = float64(begin), float64(int64(s.Growth.RewarmIters)*tokens), s.Growth.RewarmFrom
			out = append(out, l)
		} else {
			out = append(out, r.curve(i, float64(begin)))
		}
		begin += s.Tokens()
	}
	return out
}

// curve is the learning rate of a stage in which a curve begins.
func (r *Run) curve(i int, begin float64) schedule.LearningRate {
	s := r.Stages[i]
	t, tokens := s.Train, float64(s.TokensPerIteration())
	l := schedule.LearningRate{
		Max: t.LR, Min: t.MinLR, Style: schedule.Style(t.DecayStyle), Start: begin, DecayShape: schedule.Decay(t.WSDDecayStyle),
	}
	length := float64(t.DecayIters) * tokens
	if t.DecayIters == 0 {
		length = float64(s.Tokens())
		for _, next := range r.Stages[i+1:] {
			if next.Growth.LRSchedule != ScheduleContinue {
				break
			}
			length += float64(next.Tokens())
		}
	}
	l.End = begin + length
	switch {
	case i > 0:
		l.Warmup, l.From = float64(s.Growth.RewarmIters)*tokens, s.Growth.RewarmFrom
	default:
		l.From = t.WarmupInit / t.LR
		switch {
		case t.WarmupSamples > 0:
			l.Warmup = float64(t.WarmupSamples) * float64(t.SeqLength)
		case t.WarmupFraction > 0:
			l.Warmup = t.WarmupFraction * length
		default:
			l.Warmup = float64(t.WarmupIters) * tokens
		}
	}
	l.Top = begin + l.Warmup
	l.DecayPart = min(t.WSDDecayFraction*length, length-l.Warmup)
	return l
}
