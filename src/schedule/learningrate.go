package schedule

import (
	"fmt"
	"math"
)

// Style is the shape of a learning-rate curve, spelled as --lr-decay-style.
type Style string

// The styles.
const (
	Constant Style = "constant"
	Linear   Style = "linear"
	Cosine   Style = "cosine" // SGDR's half period, arXiv 1608.03983, equation 5
	WSD      Style = "WSD"    // warm-up, stable, decay: arXiv 2404.06395
)

// Decay is the shape of WSD's last part, spelled as --lr-wsd-decay-style.
type Decay string

// The decay shapes. DecaySqrt is 1 - sqrt(share), the best of arXiv 2405.18392.
const (
	DecayLinear Decay = "linear"
	DecaySqrt   Decay = "minus_sqrt"
	DecayCosine Decay = "cosine"
)

// LearningRate is a learning rate over a position x. Any unit that grows with training will do (tokens, samples,
// iterations, FLOPs), the same for all fields. With c the coefficient of the style, 1 until Top and 0 from End on,
//
//	curve(x) = Min + (Max - Min) c(x)
//	lr(x)    = curve(x)                                                          x >= Start + Warmup
//	lr(x)    = curve(Start + Warmup) (From + (1-From) (x-Start)/Warmup)          before that
//
// A growth stage that restarts begins at Start, has its own Max and End, and Top = Start + Warmup as in Megatron. One that
// continues keeps Max, Top and End of the stage before: it "inherits the previous learning rate and adheres to the same
// schedule" (FLM-101B, arXiv 2309.03852, section 2.4), and only warms up anew at its own Start.
type LearningRate struct {
	Max, Min   float64
	Style      Style
	Top, End   float64 // where the curve begins to fall, and where it has come down to Min. Constant ignores both
	Start      float64 // where the growth stage and its warm-up begin
	Warmup     float64 // length of the linear warm-up
	From       float64 // share of the learning rate at which the warm-up starts: 0 at first, 0.1 at growth
	DecayShape Decay   // WSD; "" is linear
	DecayPart  float64 // WSD: length of the decay that ends at End
}

// Check tells in one sentence what is impossible.
func (l LearningRate) Check() error {
	switch {
	case !(l.Max >= 0) || math.IsInf(l.Max, 0):
		return fmt.Errorf("learning rate %g: want a number of at least 0", l.Max)
	case !(l.Min >= 0) || l.Min > l.Max:
		return fmt.Errorf("min_lr %g: want a number between 0 and lr %g", l.Min, l.Max)
	case !(l.Warmup >= 0) || !(l.From >= 0 && l.From <= 1):
		return fmt.Errorf("learning-rate warm-up of length %g from share %g: want a length of at least 0 and a share between 0 and 1", l.Warmup, l.From)
	}
	switch l.Style {
	case Constant:
		return nil
	case Linear, Cosine, WSD:
	default:
		return fmt.Errorf("lr_decay_style %q: want constant, linear, cosine or WSD", string(l.Style))
	}
	if l.Warmup > l.End-l.Start {
		return fmt.Errorf("learning-rate warm-up of length %g is longer than what is left of the curve, %g", l.Warmup, l.End-l.Start)
	}
	if l.Top > l.End {
		return fmt.Errorf("learning rate: the curve begins to fall at %g, after its end at %g", l.Top, l.End)
	}
	if l.Style != WSD {
		return nil
	}
	switch l.DecayShape {
	case "", DecayLinear, DecaySqrt, DecayCosine:
	default:
		return fmt.Errorf("lr_wsd_decay_style %q: want linear, minus_sqrt or cosine", string(l.DecayShape))
	}
	if !(l.DecayPart >= 0) || l.DecayPart > l.End-l.Top {
		return fmt.Errorf("WSD decay of length %g: want a length between 0 and that of the curve, %g", l.DecayPart, l.End-l.Top)
	}
	return nil
}

// At is the learning rate of the step that ends at x: x counts what was consumed before plus the step's own share. So the
// first step of a warm-up over n steps gets Max/n, not 0 as in Megatron, where it trains nothing, and the last step of the
// curve gets Min.
func (l LearningRate) At(x float64) float64 {
	if w := x - l.Start; l.Warmup > 0 && w < l.Warmup {
		return l.curve(l.Start+l.Warmup) * (l.From + (1-l.From)*max(w, 0)/l.Warmup)
	}
	return l.curve(x)
}

func (l LearningRate) curve(x float64) float64 {
	return l.Min + (l.Max-l.Min)*l.coefficient(x)
}

// coefficient is c(x) of LearningRate: 1 at the top, 0 at the end.
func (l LearningRate) coefficient(x float64) float64 {
	switch l.Style {
	case Cosine:
		return falling(DecayCosine, share(x, l.Top, l.End))
	case Linear:
		return falling(DecayLinear, share(x, l.Top, l.End))
	case WSD:
		return falling(l.DecayShape, share(x, l.End-l.DecayPart, l.End))
	}
	return 1
}

// share is how far x has come from lo to hi, within [0, 1].
func share(x, lo, hi float64) float64 {
	if x <= lo {
		return 0
	}
	if x >= hi {
		return 1
	}
	return (x - lo) / (hi - lo)
}

func falling(d Decay, p float64) float64 {
	switch d {
	case DecayCosine:
		return 0.5 * (1 + math.Cos(math.Pi*p))
	case DecaySqrt:
		return 1 - math.Sqrt(p)
	}
	return 1 - p
}
