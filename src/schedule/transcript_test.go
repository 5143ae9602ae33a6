package schedule_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "cambium/src/schedule"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

func transcript(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("transcript %s differs; got:\n%s", name, got)
	}
}

// A small version of the paper's table: three stages, one cosine from the first to the last, a new warm-up at growth.
func TestTranscriptOfAGrowingRun(t *testing.T) {
	stages := []Stage{
		{Tokens: 95, SeqLength: 5, Batch: Batch{Global: 2}},
		{Tokens: 60, SeqLength: 5, Batch: Batch{Global: 4, Start: 1, Increment: 1, RampSamples: 6}},
		{Tokens: 41, SeqLength: 5, Batch: Batch{Global: 2}},
	}
	line, err := NewTimeline(stages)
	if err != nil {
		t.Fatal(err)
	}
	end := float64(line.Begin(3))
	rate := []LearningRate{
		{Max: 4e-4, Min: 6e-6, Style: Cosine, Top: 30, End: end, Warmup: 30},
		{Max: 4e-4, Min: 6e-6, Style: Cosine, Top: 30, End: end, Start: float64(line.Begin(1)), Warmup: 20, From: 0.1},
		{Max: 2e-4, Min: 6e-6, Style: Cosine, Top: float64(line.Begin(2)) + 20, End: end, Start: float64(line.Begin(2)), Warmup: 20, From: 0.1},
	}
	var b strings.Builder
	p, err := line.At(0)
	for err == nil && p.Stage < line.Stages() {
		next := line.Next(p)
		fmt.Fprintf(&b, "iteration %2d/%d stage %d step %2d/%2d tokens %3d samples %2d batch %d mask %.2f lr %.4e\n", p.Iteration, line.TotalSteps(), p.Stage,
			p.Step, line.Steps(p.Stage), p.Tokens, p.Samples, p.BatchSize, MaskAt(p.Step, 4), rate[p.Stage].At(float64(next.Tokens)))
		p = next
	}
	fmt.Fprintf(&b, "end: iteration %d stage %d tokens %d samples %d batch %d\n", p.Iteration, p.Stage, p.Tokens, p.Samples, p.BatchSize)
	transcript(t, "run.txt", b.String())
}

// Every state of the scaler in a scripted run: '.' is a clean step, 'X' an overflow.
func TestTranscriptOfTheLossScale(t *testing.T) {
	c := LossScaling{Initial: 16, Min: 1, Window: 4, Hysteresis: 2}
	s := c.Start()
	var b strings.Builder
	fmt.Fprintf(&b, "start scale %g clean %d hysteresis %d\n", s.Scale, s.Clean, s.Hysteresis)
	for _, step := range "..X...X....X.XXXXXXX....X" {
		s = c.Next(s, step == 'X')
		fmt.Fprintf(&b, "%c scale %g clean %d hysteresis %d\n", step, s.Scale, s.Clean, s.Hysteresis)
	}
	transcript(t, "lossscale.txt", b.String())
}
