package schedule_test

import (
	"math"
	"testing"

	. "cambium/src/schedule"

	"pgregory.net/rapid"
)

func close(a, b float64) bool { return math.Abs(a-b) <= 1e-12*math.Max(math.Abs(a), math.Abs(b)) }

func TestLearningRateHitsItsCornerValues(t *testing.T) {
	for _, style := range []Style{Cosine, Linear, WSD} {
		l := LearningRate{Max: 1, Min: 0.1, Style: style, Top: 100, End: 1000, Warmup: 100, DecayPart: 200, DecayShape: DecaySqrt}
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		for x, want := range map[float64]float64{0: 0, 1: 0.01, 50: 0.5, 100: 1, 1000: 0.1, 5000: 0.1} {
			if got := l.At(x); !close(got, want) {
				t.Errorf("%s at %g: %g, want %g", style, x, got, want)
			}
		}
	}
}

// The middle of each curve, from its formula with other arithmetic.
func TestLearningRateFollowsItsFormula(t *testing.T) {
	for _, c := range []struct {
		l       LearningRate
		x, want float64
	}{
		{LearningRate{Max: 3, Min: 1, Style: Cosine, Top: 10, End: 110, Warmup: 10}, 60, 2},
		{LearningRate{Max: 3, Min: 1, Style: Cosine, Top: 10, End: 110, Warmup: 10}, 35, 2 + math.Sqrt2/2},
		{LearningRate{Max: 3, Min: 1, Style: Linear, Top: 10, End: 110, Warmup: 10}, 35, 2.5},
		{LearningRate{Max: 3, Min: 1, Style: Constant}, 1e9, 3},
		{LearningRate{Max: 3, Min: 1, Style: WSD, End: 100, DecayPart: 40}, 60, 3},
		{LearningRate{Max: 3, Min: 1, Style: WSD, End: 100, DecayPart: 40}, 70, 2.5},
		{LearningRate{Max: 3, Min: 1, Style: WSD, End: 100, DecayPart: 40, DecayShape: DecaySqrt}, 70, 2},
		{LearningRate{Max: 3, Min: 1, Style: WSD, End: 100, DecayPart: 40, DecayShape: DecayCosine}, 80, 2},
		// a later growth stage on the same curve, warming up from 10 % of what the curve has at the end of the warm-up
		{LearningRate{Max: 3, Min: 1, Style: Linear, End: 100, Start: 40, Warmup: 10, From: 0.1}, 50, 2},
		{LearningRate{Max: 3, Min: 1, Style: Linear, End: 100, Start: 40, Warmup: 10, From: 0.1}, 40, 0.2},
		{LearningRate{Max: 3, Min: 1, Style: Linear, End: 100, Start: 40, Warmup: 10, From: 0.1}, 45, 1.1},
	} {
		if got := c.l.At(c.x); !close(got, c.want) {
			t.Errorf("%+v at %g: %g, want %g", c.l, c.x, got, c.want)
		}
	}
}

func TestLearningRateRisesThenFallsAndStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := LearningRate{
			Max: 1, Min: rapid.Float64Range(0, 1).Draw(t, "min"), Start: 10, End: 10 + rapid.Float64Range(1, 1000).Draw(t, "length"),
			Style:      rapid.SampledFrom([]Style{Constant, Linear, Cosine, WSD}).Draw(t, "style"),
			From:       rapid.Float64Range(0, 1).Draw(t, "from"),
			DecayShape: rapid.SampledFrom([]Decay{"", DecayLinear, DecaySqrt, DecayCosine}).Draw(t, "shape"),
		}
		l.Warmup = rapid.Float64Range(0, 1).Draw(t, "warm-up") * (l.End - l.Start)
		if l.Top = l.Start + l.Warmup; rapid.Bool().Draw(t, "continues") {
			l.Top -= rapid.Float64Range(0, 2000).Draw(t, "since the top")
		}
		l.DecayPart = rapid.Float64Range(0, 1).Draw(t, "decay") * (l.End - l.Top)
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		last, rising := 0.0, true
		for i := range 200 {
			x := l.Start + (l.End-l.Start)*float64(i)/190
			v := l.At(x)
			if v < 0 || v > l.Max+1e-15 {
				t.Fatalf("at %g: %g is out of bounds", x, v)
			}
			if v < last-1e-15 && rising {
				rising = false
			} else if v > last+1e-12 && !rising && x > l.Start+l.Warmup {
				t.Fatalf("at %g: rises again, %g after %g", x, v, last)
			}
			if x < l.Start+l.Warmup && !rising {
				t.Fatalf("falls during the warm-up at %g", x)
			}
			last = v
		}
	})
}

func TestImpossibleLearningRatesAreRefused(t *testing.T) {
	good := LearningRate{Max: 1, Min: 0.1, Style: WSD, End: 100, Warmup: 10, DecayPart: 50}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*LearningRate){
		"NaN":           func(l *LearningRate) { l.Max = math.NaN() },
		"min above max": func(l *LearningRate) { l.Min = 2 },
		"style":         func(l *LearningRate) { l.Style = "inverse" },
		"long warm-up":  func(l *LearningRate) { l.Warmup = 101 },
		"share":         func(l *LearningRate) { l.From = 1.5 },
		"decay length":  func(l *LearningRate) { l.DecayPart = 101 },
		"decay shape":   func(l *LearningRate) { l.DecayShape = "exp" },
		"top after end": func(l *LearningRate) { l.Top = 101 },
	} {
		l := good
		if change(&l); l.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Megatron's numbers: rampup-batch-size 32 32 65280 with a global batch of 1536 has 47 increments of 1388.9 samples.
func TestBatchRampFollowsMegatron(t *testing.T) {
	b := Batch{Global: 1536, Start: 32, Increment: 32, RampSamples: 65280}
	for consumed, want := range map[int64]int{0: 32, 1388: 32, 1389: 64, 2777: 64, 2778: 96, 65279: 1504, 65280: 1536, 65281: 1536} {
		if got := b.At(consumed); got != want {
			t.Errorf("after %d samples: %d, want %d", consumed, got, want)
		}
	}
	b.RoundTo = 24
	if got := b.At(1389); got != 48 {
		t.Errorf("64 rounded down to a multiple of 24: %d, want 48", got)
	}
}

func TestImpossibleBatchesAreRefused(t *testing.T) {
	for _, b := range []Batch{
		{}, {Global: 5, RoundTo: 2}, {Global: 8, Start: 3, Increment: 2, RampSamples: 10}, {Global: 8, Start: 0, Increment: 2, RampSamples: 10},
		{Global: 8, Start: 2, Increment: 0, RampSamples: 10}, {Global: 8, Start: 2, Increment: 2, RampSamples: 10, RoundTo: 4}, {Global: 8, Start: 10, Increment: -1, RampSamples: 9},
	} {
		if b.Check() == nil {
			t.Errorf("%+v: no error", b)
		}
	}
}

// The paper's stages (FLM-101B, arXiv 2309.03852, table 1): 52,000, 8,400 and 6,000 steps.
func TestStagesOfThePaper(t *testing.T) {
	line, err := NewTimeline([]Stage{
		{Tokens: 245_366_784_000, SeqLength: 2048, Batch: Batch{Global: 2304}},
		{Tokens: 39_640_000_000, SeqLength: 2048, Batch: Batch{Global: 2304}},
		{Tokens: 26_540_000_000, SeqLength: 2048, Batch: Batch{Global: 2160}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{52000, 8401, 6000} {
		if line.Steps(i) != want {
			t.Errorf("stage %d: %d steps, want %d", i, line.Steps(i), want)
		}
	}
	if got, want := line.Begin(2), int64(52000+8401)*2304*2048; got != want {
		t.Errorf("stage 2 begins at %d tokens, want %d", got, want)
	}
}

func TestTimelineFindsEveryStepAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stages []Stage
		for range rapid.IntRange(1, 4).Draw(t, "stages") {
			s := Stage{SeqLength: rapid.IntRange(1, 7).Draw(t, "seq"), Batch: Batch{Global: rapid.IntRange(1, 6).Draw(t, "batch")}}
			s.Tokens = int64(rapid.IntRange(1, 200).Draw(t, "tokens"))
			if rapid.Bool().Draw(t, "ramp") {
				s.Batch.Start, s.Batch.Increment, s.Batch.RampSamples = 1, 1, int64(rapid.IntRange(1, 40).Draw(t, "samples"))
			}
			stages = append(stages, s)
		}
		line, err := NewTimeline(stages)
		if err != nil {
			t.Fatal(err)
		}
		p, err := line.At(0)
		if err != nil {
			t.Fatal(err)
		}
		steps := make([]int64, len(stages)+1)
		for p.Stage < line.Stages() {
			steps[p.Stage]++
			before := p
			p = line.Next(p)
			again, err := line.At(p.Tokens)
			if err != nil || again != p {
				t.Fatalf("at %d tokens: %+v, %v; want %+v", p.Tokens, again, err, p)
			}
			if p.Tokens-before.Tokens > int64(stages[before.Stage].SeqLength) {
				if _, err := line.At(before.Tokens + 1); err == nil {
					t.Fatalf("%d tokens are inside a step: no error", before.Tokens+1)
				}
			}
			if p.Stage != before.Stage && (p.Tokens-line.Begin(before.Stage) < stages[before.Stage].Tokens || before.Tokens-line.Begin(before.Stage) >= stages[before.Stage].Tokens) {
				t.Fatalf("stage %d ends at %d tokens, the step before at %d", before.Stage, p.Tokens, before.Tokens)
			}
		}
		for i, s := range stages {
			if steps[i] != line.Steps(i) {
				t.Fatalf("stage %d: %d steps, Steps says %d", i, steps[i], line.Steps(i))
			}
			per := int64(s.Batch.Global * s.SeqLength)
			if want := (s.Tokens + per - 1) / per; s.Batch.RampSamples == 0 && steps[i] != want {
				t.Fatalf("stage %d: %d steps, want ceil(%d/%d)", i, steps[i], s.Tokens, per)
			}
		}
	})
}

// The reference is a transliteration of the rule in Megatron's words; the state may never differ.
func TestLossScaleNeverLeavesItsRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := LossScaling{Initial: 1 << 20, Min: 4, Window: rapid.IntRange(1, 5).Draw(t, "window"), Hysteresis: rapid.IntRange(1, 3).Draw(t, "hysteresis")}
		s := c.Start()
		scale, growth, hysteresis := c.Initial, 0, c.Hysteresis
		for _, inf := range rapid.SliceOfN(rapid.Bool(), 0, 100).Draw(t, "overflows") {
			s = c.Next(s, inf)
			if inf {
				growth = 0
				hysteresis--
				if hysteresis <= 0 {
					scale = math.Max(scale/2, c.Min)
				}
			} else {
				growth++
				if growth == c.Window {
					growth, hysteresis, scale = 0, c.Hysteresis, scale*2
				}
			}
			if want := (LossScale{scale, growth, hysteresis}); s != want {
				t.Fatalf("%+v, want %+v", s, want)
			}
		}
	})
}

func TestStaticLossScaleStays(t *testing.T) {
	c := LossScaling{Static: 128}
	if s := c.Next(c.Next(c.Start(), true), true); s.Scale != 128 || c.Check() != nil {
		t.Errorf("scale %g, want 128", s.Scale)
	}
	if err := DefaultLossScaling().Check(); err != nil {
		t.Error(err)
	}
}

func TestMaskRampIsNeverZeroAndEndsAtOne(t *testing.T) {
	for _, length := range []int64{0, 1, 2, 7, 100} {
		last := 0.0
		for k := range length + 3 {
			v := MaskAt(k, length)
			if v <= 0 || v > 1 || v < last || (k+1 >= length && v != 1) || (k+1 < length && v != float64(k+1)/float64(length)) {
				t.Errorf("step %d of a ramp of %d: %g", k, length, v)
			}
			last = v
		}
	}
}
