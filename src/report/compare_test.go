package report

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cambium/src/telemetry"
)

// line is a run whose loss is a - b log10(FLOPs), with n points of validation, or none.
func line(a, b float64, validations int) *telemetry.History {
	h := &telemetry.History{}
	for i := 1; i <= 200; i++ {
		flops := 1e12 * float64(i)
		it := &telemetry.Iteration{LMLoss: a - b*math.Log10(flops) + 0.001*float64(i%2), ModelFLOPs: flops, FLOPsFormula: "palm", TokensPerSec: 1000, ElapsedMS: 500}
		it.Iteration, it.ConsumedTokens = i, int64(i)*8192
		h.Iterations = append(h.Iterations, it)
		if validations > 0 && i%(200/validations) == 0 {
			v := &telemetry.Validation{LMLoss: a - b*math.Log10(flops), ModelFLOPs: flops}
			v.Iteration, v.ConsumedTokens = i, it.ConsumedTokens
			h.Validations = append(h.Validations, v)
		}
		if i == 100 {
			h.Growths = append(h.Growths, &telemetry.Growth{ToStage: 1, ModelFLOPs: flops})
		}
	}
	return h
}

func TestCompareGivesMeanAndSpreadAtEqualCompute(t *testing.T) {
	dir := t.TempDir()
	long := line(20, 1, 10)
	short := line(19, 1, 10)
	short.Iterations, short.Validations = short.Iterations[:100], short.Validations[:5] // half of the compute
	arms := []Arm{
		{Name: "from scratch", Parameters: 3_480_000, Runs: []*telemetry.History{long, line(20.2, 1, 10), line(20.4, 1, 10)}},
		{Name: "grown | zero", Parameters: 3_480_000, Runs: []*telemetry.History{short}},
	}
	text, err := Compare(dir, "growth", "Growing against training from scratch", arms)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| Arm | Parameters | Seeds | Tokens | Compute | Time | Final loss | Loss at equal compute |",
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
		// at 2e14: 20.2 - 14.3010 = 5.8990; at 1e14: 6.2, spread 0.2
		"| from scratch | 3.48M | 3 | 1.64M | 200 TFLOP | 1 min 40 s | 5.8990 ± 0.2000 | 6.2000 ± 0.2000 |",
		`| grown \| zero | 3.48M | 1 | 819k | 100 TFLOP | 50 s | 5.0000 | 5.0000 |`,
		"Validation loss in nats a token, mean ± standard deviation over seeds; equal compute is 100 TFLOP (formula palm).",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	if read(t, dir, "growth.md") != text {
		t.Error("growth.md is another text")
	}
	checkPage(t, read(t, dir, "growth.html"))
	if _, err := os.Stat(filepath.Join(dir, "growth.png")); err != nil {
		t.Error(err)
	}
}

func TestCompareWithoutValidationTakesTrainingLoss(t *testing.T) {
	text, err := Compare(t.TempDir(), "growth", "", []Arm{{Name: "a", Runs: []*telemetry.History{line(20, 1, 10)}}, {Name: "b", Runs: []*telemetry.History{line(20, 1, 0)}}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "Training loss") || strings.Count(text, "| 5.69") != 4 { // 5.6990, and half of the added 0.001
		t.Errorf("table:\n%s", text)
	}
}

func TestCompareOfNothing(t *testing.T) {
	for _, arms := range [][]Arm{nil, {{Name: "a"}}, {{Name: "a", Runs: []*telemetry.History{{}}}}} {
		dir := t.TempDir()
		if _, err := Compare(dir, "growth", "empty", arms); err != nil {
			t.Error(err)
		}
		checkPage(t, read(t, dir, "growth.html"))
	}
}
