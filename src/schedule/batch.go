package schedule

import "fmt"

// Batch is the global batch size in samples over consumed samples. With RampSamples > 0 it is Megatron's
// --rampup-batch-size START INCREMENT SAMPLES, otherwise constant:
//
//	n = (Global - Start)/Increment,   batch(c) = Start + Increment floor(c n / RampSamples)  for c <= RampSamples, Global after
//
// RoundTo (micro-batch x dp) rounds a ramp's batch down to what the ranks can share, as --decrease-batch-size-if-needed.
type Batch struct {
	Global           int
	Start, Increment int
	RampSamples      int64
	RoundTo          int
}

// Check tells in one sentence what is impossible.
func (b Batch) Check() error {
	if b.Global < 1 {
		return fmt.Errorf("global_batch_size %d: want at least 1", b.Global)
	}
	if b.RoundTo > 0 && b.Global%b.RoundTo != 0 {
		return fmt.Errorf("global_batch_size %d: want a multiple of micro_batch_size x data-parallel ranks, %d", b.Global, b.RoundTo)
	}
	if b.RampSamples == 0 {
		return nil
	}
	if b.RampSamples < 0 || b.Start < 1 || b.Start > b.Global || b.Increment < 1 || (b.Global-b.Start)%b.Increment != 0 {
		return fmt.Errorf("rampup_batch_size %d %d %d: want a start and an increment of at least 1 that lead in whole increments to global_batch_size %d, over at least 1 sample",
			b.Start, b.Increment, b.RampSamples, b.Global)
	}
	if b.RoundTo > b.Start {
		return fmt.Errorf("rampup_batch_size: the first batch of %d samples is less than micro_batch_size x data-parallel ranks, %d", b.Start, b.RoundTo)
	}
	return nil
}

// At is the batch size of the step that begins when consumed samples have gone.
func (b Batch) At(consumed int64) int {
	n := 0
	if b.Increment > 0 {
		n = (b.Global - b.Start) / b.Increment
	}
	if b.RampSamples == 0 || consumed > b.RampSamples || n == 0 {
		return b.Global
	}
	size := b.Start + b.Increment*int(float64(consumed)/(float64(b.RampSamples)/float64(n)))
	if b.RoundTo > 0 {
		size = size / b.RoundTo * b.RoundTo
	}
	return min(size, b.Global)
}
