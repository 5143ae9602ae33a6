package telemetry

import (
	"fmt"
	"io"
	"math"
)

// Log is the sink that writes Megatron's lines, one every interval iterations.
type Log struct {
	w          io.Writer
	interval   int
	trainIters int
	sum        TrainLine // since the last line
	iterations int
	advanced   int // iterations that were not skipped
}

// NewLog writes to w, for a log that is not a terminal. An interval below 1 is 1.
func NewLog(w io.Writer, interval int) *Log { return &Log{w: w, interval: max(interval, 1)} }

// Close does nothing: every line is out already, and w belongs to the caller.
func (l *Log) Close() error { return nil }

// Write prints what Megatron prints of such a record, and one line of growth, stages and the run's beginning and end.
func (l *Log) Write(r Record) error {
	if run, ok := r.(*Run); ok {
		l.trainIters = run.TrainIters
	}
	it, ok := r.(*Iteration)
	if !ok {
		if text := eventText(r); text != "" {
			return l.print(text)
		}
		return nil
	}
	l.add(it)
	if it.Iteration%l.interval != 0 {
		return nil
	}
	line := l.line(it)
	l.sum, l.iterations, l.advanced = TrainLine{}, 0, 0
	return l.print(line.String())
}

func (l *Log) print(text string) error {
	_, err := io.WriteString(l.w, text+"\n")
	if err != nil {
		return fmt.Errorf("telemetry: log: %w", err)
	}
	return nil
}

// add follows Megatron: the loss of a skipped iteration counts as NaN or not at all.
func (l *Log) add(it *Iteration) {
	l.iterations++
	l.sum.ElapsedMS += it.ElapsedMS
	l.sum.TFLOPs += it.ModelTFLOPs * it.ElapsedMS // operations, in the end divided by the time
	if !it.Skipped {
		l.advanced++
		l.sum.LMLoss += it.LMLoss
		return
	}
	l.sum.SkippedIterations++
	if math.IsNaN(it.LMLoss) || math.IsInf(it.LMLoss, 0) {
		l.sum.NaNIterations++
	}
}

func (l *Log) line(it *Iteration) TrainLine {
	s := l.sum
	s.Time, s.Iteration, s.TrainIters, s.ConsumedSamples = it.Time, it.Iteration, l.trainIters, it.ConsumedSamples
	s.LearningRate, s.GlobalBatchSize, s.LossScale = it.LearningRate, it.GlobalBatchSize, it.LossScale
	s.GradNorm = it.GradNorm
	if s.ElapsedMS > 0 {
		s.TFLOPs /= s.ElapsedMS
	}
	s.ElapsedMS /= float64(l.iterations)
	s.LMLoss /= math.Max(1, float64(l.advanced))
	return s
}

// eventText is what the log says of a record that is not an iteration.
func eventText(r Record) string {
	switch r := r.(type) {
	case *Stage:
		return stageText(r)
	case *Growth:
		return GrowthLine(r)
	case *Validation:
		return ValidationLine(r.Iteration, r.LMLoss)
	case *Checkpoint:
		return fmt.Sprintf("  successfully saved checkpoint from iteration %7d to %s", r.Iteration, r.Path)
	case *Run:
		if r.Resumed {
			return fmt.Sprintf("resumed from iteration %d on %s, %d ranks", r.Iteration, r.Backend, r.World)
		}
		return fmt.Sprintf("training on %s, %d ranks", r.Backend, r.World)
	case *End:
		return fmt.Sprintf("%s at iteration %d after %s", r.Reason, r.Iteration, clock(r.Seconds))
	}
	return ""
}

// stageText is how a stage begins: its model, its grid, and what both cost.
func stageText(r *Stage) string {
	text := fmt.Sprintf("growth stage %d of %d (%s): %s, %s parameters, %s", r.Index+1, r.Count, r.Name, r.Model, count(r.Parameters), r.Grid)
	if r.Schedule != "" {
		text += fmt.Sprintf(", %s with %d micro-batches (bubble %.1f %%)", r.Schedule, r.MicroBatches, 100*r.BubbleShare)
	}
	if r.SequenceParallel {
		text += ", sequence parallel"
	}
	if r.Recompute != "" && r.Recompute != "none" {
		text += ", recompute " + r.Recompute
	}
	if n := r.MemoryBytes(); n > 0 {
		text += fmt.Sprintf(", %.1f MiB on rank %d", float64(n)/(1<<20), r.MemoryRank)
	}
	return text + memoryTable(r)
}
