package schedule

import (
	"fmt"
	"sort"
)

// Stage is the length of one growth stage and what a step of it consumes.
type Stage struct {
	Tokens    int64 // at least this many; the last step may go beyond
	SeqLength int
	Batch     Batch
}

// Timeline is a run's growth stages over consumed tokens. A stage takes whole steps, so it ends at the first step that
// reaches its length, and the next one begins there.
type Timeline struct {
	stages []Stage
	steps  []int64 // of each stage
	begin  []int64 // consumed tokens at the start of each stage, and at the end of the last
	sample []int64 // consumed samples likewise
}

// NewTimeline lays the stages end to end. With a constant batch a stage takes ceil(Tokens / (batch x SeqLength)) steps.
func NewTimeline(stages []Stage) (*Timeline, error) {
	t := &Timeline{stages: append([]Stage(nil), stages...), begin: []int64{0}, sample: []int64{0}}
	if len(stages) == 0 {
		return nil, fmt.Errorf("a run needs at least one growth stage")
	}
	for i, s := range stages {
		if s.Tokens < 1 || s.SeqLength < 1 {
			return nil, fmt.Errorf("growth stage %d: %d tokens in sequences of %d: want at least 1 each", i, s.Tokens, s.SeqLength)
		}
		if err := s.Batch.Check(); err != nil {
			return nil, fmt.Errorf("growth stage %d: %w", i, err)
		}
		steps, samples := s.walk(s.Tokens)
		t.steps = append(t.steps, steps)
		t.sample = append(t.sample, t.sample[i]+samples)
		t.begin = append(t.begin, t.begin[i]+samples*int64(s.SeqLength))
	}
	return t, nil
}

// walk takes steps until the stage consumed tokens, and returns how many steps and samples that were. Steps after a batch
// ramp are counted together.
func (s Stage) walk(tokens int64) (steps, samples int64) {
	seq := int64(s.SeqLength)
	for samples*seq < tokens {
		size, n := int64(s.Batch.At(samples)), int64(1)
		if samples > s.Batch.RampSamples || s.Batch.RampSamples == 0 {
			n = (tokens - samples*seq + size*seq - 1) / (size * seq)
		}
		steps, samples = steps+n, samples+n*size
	}
	return steps, samples
}

// Stages is their number.
func (t *Timeline) Stages() int { return len(t.stages) }

// Steps is the number of steps of a stage, TotalSteps of the run.
func (t *Timeline) Steps(stage int) int64 { return t.steps[stage] }

// TotalSteps is the number of steps of the run: --train-iters.
func (t *Timeline) TotalSteps() int64 {
	n := int64(0)
	for _, s := range t.steps {
		n += s
	}
	return n
}

// Begin is the number of consumed tokens at which a stage begins; Begin(Stages()) is where the run ends.
func (t *Timeline) Begin(stage int) int64 { return t.begin[stage] }

// Place is a point of a run between two steps.
type Place struct {
	Stage     int   // the growth stage that the next step belongs to; the number of stages when the run is over
	Step      int64 // steps of this stage that were taken
	Iteration int64 // steps of the run that were taken
	Tokens    int64 // consumed tokens
	Samples   int64 // consumed samples
	BatchSize int   // global batch size of the next step; 0 when the run is over
}

// At is the place after consumed tokens. It is an error when no step ends there: the stages are not those of the run that
// consumed them.
func (t *Timeline) At(consumed int64) (Place, error) {
	last := len(t.stages)
	if consumed < 0 || consumed > t.begin[last] {
		return Place{}, fmt.Errorf("%d consumed tokens: this run's growth stages end at %d", consumed, t.begin[last])
	}
	stage := sort.Search(last+1, func(i int) bool { return t.begin[i] > consumed }) - 1
	p := Place{Stage: stage, Tokens: consumed}
	for i := range stage {
		p.Iteration += t.steps[i]
	}
	if stage == last {
		p.Samples = t.sample[last]
		return p, nil
	}
	s, inside := t.stages[stage], consumed-t.begin[stage]
	steps, samples := s.walk(inside)
	if samples*int64(s.SeqLength) != inside {
		return Place{}, fmt.Errorf("%d consumed tokens lie inside a step of growth stage %d: its batch size or sequence length differs from the run's that consumed them", consumed, stage)
	}
	p.Step, p.Iteration, p.Samples = steps, p.Iteration+steps, t.sample[stage]+samples
	p.BatchSize = s.Batch.At(samples)
	return p, nil
}

// Next is the place after one more step.
func (t *Timeline) Next(p Place) Place {
	if p.Stage >= len(t.stages) {
		return p
	}
	s := t.stages[p.Stage]
	p.Samples += int64(p.BatchSize)
	p.Tokens += int64(p.BatchSize) * int64(s.SeqLength)
	p.Step, p.Iteration = p.Step+1, p.Iteration+1
	if p.Step == t.steps[p.Stage] {
		p.Stage, p.Step = p.Stage+1, 0
	}
	p.BatchSize = 0
	if p.Stage < len(t.stages) {
		p.BatchSize = t.stages[p.Stage].Batch.At(p.Samples - t.sample[p.Stage])
	}
	return p
}

// MaskAt is the strength v of the growth mask in step k (from 0) of a stage whose ramp has length steps:
//
//	v(k) = (k+1)/length for k < length, then 1
//
// It is never 0, where every new parameter has exactly zero gradient: no training step would move it.
func MaskAt(k, length int64) float64 {
	if k+1 >= length {
		return 1
	}
	return float64(k+1) / float64(length)
}
