package telemetry

import (
	"bytes"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func header(iteration int) Header {
	return Header{Time: start.Add(time.Duration(iteration) * time.Second / 10), Iteration: iteration, ConsumedTokens: int64(iteration) * 4096}
}

func iteration(n int) *Iteration {
	return &Iteration{
		Header: header(n), ConsumedSamples: int64(64 * n), LMLoss: 8 / float64(n), LearningRate: 1e-3 / float64(n), GradNorm: 0.5,
		LossScale: 1, GlobalBatchSize: 64, ElapsedMS: 100, TokensPerSec: 40960, ModelTFLOPs: 0.25, FLOPsFormula: "palm", ModelFLOPs: float64(n) * 1e9,
	}
}

// shortRun is a run of two stages: twelve iterations, one of them skipped, a growth, a validation, a checkpoint.
func shortRun() []Record {
	records := []Record{
		&Run{Header: header(0), Name: "quickstart", Version: "0.1", World: 2, Backend: "cpu avx2, 1 worker", TrainIters: 12, Tokens: 12 * 4096, FLOPs: 12e9},
		&Stage{Header: header(0), Count: 2, Name: "seedling", Model: "2 layers x 64", Parameters: 357_000, Grid: "tp1 pp1 dp2", Tokens: 6 * 4096,
			MicroBatches: 4, Recompute: "none", DType: "fp32", Memory: []Memory{{"weights", 1_428_000}, {"activations", 3 << 20}}},
	}
	for n := 1; n <= 12; n++ {
		it := iteration(n)
		if n > 6 {
			it.GrowthStage = 1
		}
		if n == 3 {
			it.Skipped, it.LMLoss, it.GradNorm = true, math.NaN(), math.Inf(1)
		}
		records = append(records, it)
		if n == 6 {
			records = append(records,
				&Validation{Header: header(6), ConsumedSamples: 384, LMLoss: 1.5, BitsPerByte: 0.75, Seconds: 0.2, ModelFLOPs: 6e9},
				&Checkpoint{Header: header(6), Path: "runs/quickstart/checkpoints/iter_0000006", Seconds: 0.031, Bytes: 4_300_000},
				&Growth{
					Header: header(6), ToStage: 1, Operator: "zero", FromParameters: 357_000, ToParameters: 1_230_000,
					LossBefore: 1.4142135, LossAfter: 1.4142136, Relative: 7.1e-8, Seconds: 0.0123, BytesMoved: 4_284_000,
					BytesLowerBound: 4_284_000, MoveSeconds: 0.0021, FromGrid: "tp1 pp1 dp2", ToGrid: "tp1 pp2 dp1", ModelFLOPs: 6e9,
				},
				&Stage{
					Header: header(6), Index: 1, Count: 2, Name: "sapling", Model: "4 layers x 128", Parameters: 1_230_000, Grid: "tp1 pp2 dp1", Tokens: 6 * 4096,
					Schedule: "1f1b", MicroBatches: 8, BubbleShare: 1.0 / 9, Recompute: "full", DType: "fp32", MemoryRank: 1, Memory: []Memory{{"weights", 2_460_000}},
				})
		}
	}
	return append(records, &End{Header: header(12), Reason: "finished", Seconds: 1.2})
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error(d)
	}
}

func writeAll(t *testing.T, s Sink, records []Record) {
	t.Helper()
	for _, r := range records {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// The line is Megatron's to the character.
func TestTrainLineIsMegatrons(t *testing.T) {
	line := TrainLine{
		Time: start, Iteration: 5426, TrainIters: 250000, ConsumedSamples: 347264, ElapsedMS: 412.3, TFLOPs: 431, LearningRate: 6.68e-6,
		GlobalBatchSize: 64, LMLoss: 0.7334521, LossScale: 1, GradNorm: 0.752,
	}
	want := " [2026-01-01 00:00:00.000000] iteration     5426/  250000 | consumed samples:       347264 | elapsed time per iteration (ms): 412.3 | throughput per GPU (TFLOP/s/GPU): 431.0 | learning rate: 6.680000E-06 | global batch size:    64 | lm loss: 7.334521E-01 | loss scale: 1.0 | grad norm: 0.752 | number of skipped iterations:   0 | number of nan iterations:   0 |"
	if d := cmp.Diff(want, line.String()); d != "" {
		t.Error(d)
	}
	line.LMLoss, line.GradNorm, line.TFLOPs, line.LearningRate = math.NaN(), math.Inf(1), 0, math.NaN()
	want = " [2026-01-01 00:00:00.000000] iteration     5426/  250000 | consumed samples:       347264 | elapsed time per iteration (ms): 412.3 | learning rate: NAN | global batch size:    64 | loss scale: 1.0 | grad norm: inf | number of skipped iterations:   0 | number of nan iterations:   0 |"
	if got := line.String(); got != want {
		t.Error(cmp.Diff(want, got))
	}
}

func TestValidationLineIsMegatrons(t *testing.T) {
	line := " validation loss at iteration 1000 | lm loss value: 2.995732E+00 | lm loss PPL: 2.000000E+01 | "
	rule := strings.Repeat("-", len(line)+1)
	if d := cmp.Diff(rule+"\n"+line+"\n"+rule, ValidationLine(1000, math.Log(20))); d != "" {
		t.Error(d)
	}
	if got := ValidationLine(1, 50); !strings.Contains(got, "PPL: 4.851652E+08") { // exp(20)
		t.Error(got)
	}
}

func TestLog(t *testing.T) {
	var b bytes.Buffer
	writeAll(t, NewLog(&b, 4), shortRun())
	golden(t, "log.txt", b.Bytes())
}

// A line tells the mean over its interval: loss without skipped iterations, operations over time.
func TestLogLineCoversItsInterval(t *testing.T) {
	var b bytes.Buffer
	l := NewLog(&b, 2)
	one, two := iteration(1), iteration(2)
	one.LMLoss, two.LMLoss = 3, 4
	one.ElapsedMS, one.ModelTFLOPs = 300, 1
	two.ElapsedMS, two.ModelTFLOPs = 100, 7
	three, four := iteration(3), iteration(4)
	three.Skipped, three.LMLoss = true, math.NaN()
	four.Skipped, four.LMLoss = true, 9
	writeAll(t, l, []Record{one, two, three, four})
	lines := strings.Split(b.String(), "\n")
	for _, c := range []struct {
		line int
		want string
	}{
		{0, "| elapsed time per iteration (ms): 200.0 |"},
		{0, "| throughput per GPU (TFLOP/s/GPU): 2.5 |"},
		{0, "| lm loss: 3.500000E+00 |"},
		{1, "| number of skipped iterations:   2 | number of nan iterations:   1 |"},
	} {
		if !strings.Contains(lines[c.line], c.want) {
			t.Errorf("no %q in %q", c.want, lines[c.line])
		}
	}
	if strings.Contains(lines[1], "lm loss") {
		t.Errorf("a loss of nothing but skipped iterations: %q", lines[1])
	}
}

func TestLiveTerminal(t *testing.T) {
	for _, c := range []struct {
		file  string
		width int
		color bool
	}{{"live.txt", 100, false}, {"live-color.txt", 80, true}, {"live-narrow.txt", 30, false}} {
		var b bytes.Buffer
		writeAll(t, NewLive(&b, c.color, func() int { return c.width }), shortRun())
		for line := range strings.SplitSeq(b.String(), "\r") {
			if bar, drawn := strings.CutSuffix(line, "\x1b[K"); drawn && !c.color && length(bar) >= c.width {
				t.Errorf("%d columns do not hold %q", c.width, bar)
			}
		}
		golden(t, c.file, []byte(strings.NewReplacer("\r", "<CR>", "\x1b", "<ESC>").Replace(b.String())))
	}
}

// A bar that was drawn half a second ago need not be drawn again for each of a thousand iterations.
func TestLiveDrawsSeldom(t *testing.T) {
	var b bytes.Buffer
	l := NewLive(&b, false, func() int { return 100 })
	records := []Record{&Run{Header: header(0), TrainIters: 100000}}
	for n := range 1000 {
		it := iteration(n + 1)
		it.Time = start.Add(time.Duration(n) * time.Millisecond)
		records = append(records, it)
	}
	writeAll(t, l, records)
	if n := strings.Count(b.String(), "\r"); n < 8 || n > 14 {
		t.Errorf("drawn %d times in a second", n)
	}
}

func TestLiveSurvivesNaNAndUnknownLengths(t *testing.T) {
	var b bytes.Buffer
	l := NewLive(&b, false, func() int { return 0 })
	it := iteration(1)
	it.LMLoss, it.TokensPerSec, it.ModelFLOPs = math.NaN(), math.NaN(), math.NaN()
	writeAll(t, l, []Record{it, &End{Header: header(1)}})
	l = NewLive(&b, false, func() int { return 120 })
	writeAll(t, l, []Record{&Stage{Header: header(0), Name: "one", Count: 1}, it})
	if !strings.Contains(b.String(), "ETA -:--") || !strings.Contains(b.String(), "loss nan") {
		t.Errorf("%q", b.String())
	}
}

func TestNotATerminalGetsTheLogLine(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := Terminal(w, 1)
	writeAll(t, s, []Record{iteration(1)})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.HasPrefix(got, " [2026-01-01 00:00:00.100000] iteration        1/       0 |") || strings.Contains(got, "\r") {
		t.Errorf("%q", got)
	}
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestErrorsOfSinksSurface(t *testing.T) {
	full := errors.New("no space left on device")
	var fine bytes.Buffer
	m := Multi{NewLog(broken{full}, 1), NewLive(broken{full}, false, func() int { return 80 }), NewLog(&fine, 1)}
	err := m.Write(iteration(1))
	if !errors.Is(err, full) || strings.Count(err.Error(), full.Error()) != 2 {
		t.Errorf("errors are %v", err)
	}
	if fine.Len() == 0 {
		t.Error("the third sink got nothing")
	}
	metrics, err := CreateMetrics(filepath.Join(t.TempDir(), "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	tb, err := NewTensorBoard(t.TempDir(), start)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Sink{metrics, tb} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if s.Write(iteration(1)) == nil || s.Close() == nil {
			t.Errorf("%T: writing after Close gives no error", s)
		}
	}
	for _, err := range []error{second(CreateMetrics("/dev/null/x")), second(ResumeMetrics("/dev/null/x", 1)), second(NewTensorBoard("/dev/null/x", start))} {
		if err == nil || !strings.Contains(err.Error(), "/dev/null") {
			t.Errorf("error is %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestHumanNumbers(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 950: "950", 999: "999", 1000: "1k", 41234: "41.2k", 999_949: "1M", 1_240_000: "1.24M", 99_960_000: "100M", 101e9: "101B", 5e15: "5000T",
	} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s, want %s", n, got, want)
		}
	}
	for s, want := range map[float64]string{0: "0:00", 7.4: "0:07", 754: "12:34", 11109: "3:05:09", -1: "-:--", math.Inf(1): "-:--"} {
		if got := clock(s); got != want {
			t.Errorf("clock(%v) = %s, want %s", s, got, want)
		}
	}
	for n, want := range map[int64]string{12: "12 B", 4_284_000: "4.28 MB", 1.5e9: "1.5 GB"} {
		if got := bytes10(n); got != want {
			t.Errorf("bytes10(%d) = %s, want %s", n, got, want)
		}
	}
}
