package config

import (
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"cambium/src/schedule"
)

func TestOneCurveRunsThroughStagesThatContinueIt(t *testing.T) {
	r := mustParse(t, good, []string{"train.min_lr=1e-4", "stages.*.train.train_iters=100", "growth.rewarm_iters=10"})
	l := r.LearningRates()
	tokens := float64(8 * 64)
	if l[0].End != 200*tokens || l[1].End != l[0].End || l[1].Top != l[0].Top || l[1].Start != 100*tokens || l[1].Warmup != 10*tokens || l[1].From != 0.1 {
		t.Errorf("%+v\n%+v", l[0], l[1])
	}
	if got := l[1].At(200 * tokens); math.Abs(got-1e-4) > 1e-12 {
		t.Errorf("at the end %v, want min_lr", got)
	}
	if got := l[0].At(5 * tokens); got != 1e-3 {
		t.Errorf("after the warm-up %v, want lr", got)
	}
}

func TestARestartingStageHasItsOwnCurve(t *testing.T) {
	r := mustParse(t, good, []string{"stages.*.train.train_iters=100", "stages.1.growth.lr_schedule=restart", "stages.1.train.lr=5e-4", "stages.1.train.lr_decay_iters=50", "train.lr_decay_style=WSD"})
	l := r.LearningRates()
	tokens := float64(8 * 64)
	if l[0].End != 100*tokens || l[1].Max != 5e-4 || l[1].Start != 100*tokens || l[1].End != 150*tokens || l[1].Style != schedule.WSD || l[1].DecayPart != 0.2*50*tokens {
		t.Errorf("%+v\n%+v", l[0], l[1])
	}
	if l[0].Warmup != 5*tokens || l[1].Warmup != 20*tokens {
		t.Errorf("warm-ups %v, %v", l[0].Warmup, l[1].Warmup)
	}
}

func TestTimelineCountsWholeSteps(t *testing.T) {
	r := mustParse(t, good, []string{"stages.0.train.train_tokens=64001"})
	line, err := r.Timeline()
	if err != nil {
		t.Fatal(err)
	}
	if line.Steps(0) != r.Stages[0].Iterations() || line.Steps(0) != 126 || line.Steps(1) != 100 || line.Begin(1) != r.Stages[0].Tokens() {
		t.Errorf("%d steps, stage 1 begins at %d", line.Steps(0), line.Begin(1))
	}
}

func TestWarmupIsGivenInThreeWays(t *testing.T) {
	tokens := float64(8 * 64)
	for set, want := range map[string]float64{"train.lr_warmup_samples=40": 5 * tokens, "train.lr_warmup_iters=7": 7 * tokens, "train.lr_warmup_fraction=0.1": 20 * tokens} {
		r := mustParse(t, good, []string{"stages.*.train.train_iters=100", set})
		if l := r.LearningRates()[0]; math.Abs(l.Warmup-want) > 1e-6 || l.Top != l.Warmup {
			t.Errorf("%s: %v, want %v", set, l.Warmup, want)
		}
	}
}

func TestCountsReadBackAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.Int64Range(0, 1<<62), rapid.Map(rapid.Int64Range(0, 99999), func(x int64) int64 { return x * 10_000_000 })).Draw(t, "n")
		text := Count(n).String()
		got, err := ParseCount(text)
		if err != nil || int64(got) != n || len(text) > len(strconv.FormatInt(n, 10)) {
			t.Fatalf("%d is written %s and read as %d (%v)", n, text, got, err)
		}
	})
}

func TestCountsOfThePaper(t *testing.T) {
	for text, want := range map[string]int64{
		"245.37B": 245_370_000_000, "39.64B": 39_640_000_000, "64k": 64_000, "64K": 64_000, "1M": 1_000_000, "2e9": 2_000_000_000, "1.5e3": 1500, "1_000_000": 1_000_000,
		"1G": 1_000_000_000, "2T": 2_000_000_000_000, "0": 0, "+5": 5, "-3": -3, "0.001k": 1,
	} {
		if got, err := ParseCount(text); err != nil || int64(got) != want {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "k", "1.5", "1kk", "0x10", "1e", "1e400", "e5", ".", "1 k k", "١", "1__", "--1", "1e-5", "nan"} {
		if got, err := ParseCount(text); err == nil && text != "1__" {
			t.Errorf("%q was read as %d", text, got)
		}
	}
}

func TestFloatsAreNumbersForYAML11(t *testing.T) {
	for x, want := range map[float64]string{6e-5: "6.0e-05", 1: "1.0", 1e-8: "1.0e-08", 0.1: "0.1", 1.5e21: "1.5e+21", 1e21: "1.0e+21", 4e-3: "0.004"} {
		if got := writtenFloat(x); got != want {
			t.Errorf("%v is written %s, want %s", x, got, want)
		}
	}
}
