package telemetry

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// TrainLine is one line of the training log in Megatron-LM's format, to the character and with nothing behind it, because
// scrapers know it: growth stage and tokens/s are in the metrics, and a growth has its own line. Sums and means are over the
// iterations since the line before.
type TrainLine struct {
	Time              time.Time
	Iteration         int
	TrainIters        int
	ConsumedSamples   int64
	ElapsedMS         float64 // a mean
	TFLOPs            float64 // TFLOP/s a rank; Megatron's --log-throughput. Left out when 0
	LearningRate      float64
	GlobalBatchSize   int
	LMLoss            float64 // a mean over iterations that were not skipped; Megatron prints it when it is above 0
	LossScale         float64
	GradNorm          float64
	SkippedIterations int
	NaNIterations     int
}

// String is the line, without a newline.
func (l TrainLine) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, " [%s] iteration %8d/%8d |", l.Time.Format("2006-01-02 15:04:05.000000"), l.Iteration, l.TrainIters)
	fmt.Fprintf(&b, " consumed samples: %12d |", l.ConsumedSamples)
	fmt.Fprintf(&b, " elapsed time per iteration (ms): %s |", float("%.1f", l.ElapsedMS))
	if l.TFLOPs != 0 {
		fmt.Fprintf(&b, " throughput per GPU (TFLOP/s/GPU): %s |", float("%.1f", l.TFLOPs))
	}
	fmt.Fprintf(&b, " learning rate: %s |", float("%.6E", l.LearningRate))
	fmt.Fprintf(&b, " global batch size: %5d |", l.GlobalBatchSize)
	if l.LMLoss > 0 {
		fmt.Fprintf(&b, " lm loss: %s |", float("%.6E", l.LMLoss))
	}
	fmt.Fprintf(&b, " loss scale: %s |", float("%.1f", l.LossScale))
	fmt.Fprintf(&b, " grad norm: %s |", float("%.3f", l.GradNorm))
	fmt.Fprintf(&b, " number of skipped iterations: %3d |", l.SkippedIterations)
	fmt.Fprintf(&b, " number of nan iterations: %3d |", l.NaNIterations)
	return b.String()
}

// ValidationLine is what Megatron prints after an evaluation, between two rules.
func ValidationLine(iteration int, loss float64) string {
	line := fmt.Sprintf(" validation loss at iteration %d | lm loss value: %s | lm loss PPL: %s | ", iteration,
		float("%.6E", loss), float("%.6E", perplexity(loss)))
	rule := strings.Repeat("-", len(line)+1)
	return rule + "\n" + line + "\n" + rule
}

// perplexity is exp(loss), with Megatron's bound.
func perplexity(loss float64) float64 { return math.Exp(math.Min(20, loss)) }

// GrowthLine tells of a growth event in the manner of the training log.
func GrowthLine(g *Growth) string {
	var b strings.Builder
	fmt.Fprintf(&b, " [%s] growth at iteration %8d |", g.Time.Format("2006-01-02 15:04:05.000000"), g.Iteration)
	fmt.Fprintf(&b, " growth stage: %d -> %d | operator: %s |", g.FromStage, g.ToStage, g.Operator)
	fmt.Fprintf(&b, " parameters: %d -> %d |", g.FromParameters, g.ToParameters)
	fmt.Fprintf(&b, " loss before: %s | loss after: %s |", float("%.6E", g.LossBefore), float("%.6E", g.LossAfter))
	fmt.Fprintf(&b, " relative difference: %s |", float("%.1E", g.Relative))
	fmt.Fprintf(&b, " grid: %s -> %s |", g.FromGrid, g.ToGrid)
	fmt.Fprintf(&b, " bytes moved: %d | least possible: %d | moved in (ms): %s |", g.BytesMoved, g.BytesLowerBound, float("%.1f", g.MoveSeconds*1000))
	fmt.Fprintf(&b, " elapsed time (ms): %s |", float("%.1f", g.Seconds*1000))
	return b.String()
}

// float formats as Python does: nan, inf, -inf (upper case with %E).
func float(format string, x float64) string {
	s := ""
	switch {
	case math.IsNaN(x):
		s = "nan"
	case math.IsInf(x, 1):
		s = "inf"
	case math.IsInf(x, -1):
		s = "-inf"
	default:
		return fmt.Sprintf(format, x)
	}
	if strings.HasSuffix(format, "E") {
		return strings.ToUpper(s)
	}
	return s
}
