package report

import (
	"encoding/csv"
	"encoding/xml"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// gpus is a point of a weak scaling on GPUs: every rank has 1000 tokens a step, which take ms milliseconds.
func gpus(tp, pp, dp int, ms float64) *ScalingPoint {
	ranks := tp * pp * dp
	p := &ScalingPoint{
		Scaling: WeakScaling, Nodes: (ranks + 7) / 8, Ranks: ranks, TP: tp, PP: pp, Chunks: 1, DP: dp, MicroSize: 1, BatchSize: ranks, SeqLength: 1000,
		StepMS: []float64{ms - 4, ms - 2, ms, ms + 2, ms + 4}, MedianMS: ms, IQRMS: 4, TokensPerSec: 1e6 * float64(ranks) / ms,
		PeakTFLOPs: 989, MemoryBytes: 61_234_000_000, Model: "24 layers x 2048", Parameters: 1_300_000_000, FLOPsFormula: "palm",
		Backend: "cuda", Precision: "bf16", Machine: "H100", Program: "cambium v1",
	}
	p.TFLOPs = p.TokensPerSec / float64(ranks) * 8e9 / 1e12
	return p
}

func weak() []*ScalingPoint {
	return []*ScalingPoint{
		gpus(2, 1, 16, 22), gpus(1, 1, 8, 20), gpus(1, 1, 16, 20.5), gpus(1, 1, 32, 21.2), gpus(1, 1, 64, 22.5), gpus(2, 1, 4, 21), gpus(2, 1, 8, 21.4),
		gpus(2, 1, 32, 23), gpus(2, 2, 8, 24), gpus(2, 2, 16, 24.5),
	}
}

func TestScalingGivesTheTableThatPapersHave(t *testing.T) {
	dir := t.TempDir()
	text, err := Scaling(dir, "weak-scaling", weak())
	if err != nil {
		t.Fatal(err)
	}
	md := read(t, dir, "weak-scaling.md")
	for _, want := range []string{
		"| Nodes | GPUs | TP | PP | DP | MBS | GBS | Seq | Time/iter (ms) | Tokens/s | Tokens/s/GPU | TFLOP/s/GPU | MFU | Memory/GPU | Efficiency |",
		"| 1 | 8 | 1 | 1 | 8 | 1 | 8 | 1000 | 20.0 ± 4.0 | 400000 | 50000 | 400 | 40.4 % | 61.2 GB | 100.0 % |",
		"| 1 | 8 | 2 | 1 | 4 | 1 | 8 | 1000 | 21.0 ± 4.0 | 380952 | 47619 | 381 | 38.5 % | 61.2 GB | 95.2 % |",
		"| 8 | 64 | 2 | 2 | 16 | 1 | 64 | 1000 | 24.5 ± 4.0 | 2612245 | 40816 | 327 | 33.0 % | 61.2 GB | 81.6 % |",
		"Weak scaling of 24 layers x 2048, bf16, on H100. Time: median of 5 steps ± interquartile range. Operations by the formula palm. MFU: of a peak of 989 TFLOP/s a GPU.",
	} {
		if !strings.Contains(md, want) {
			t.Errorf("the table lacks %q:\n%s", want, md)
		}
	}
	if strings.Contains(md, "versubscribed") {
		t.Errorf("a GPU each, and:\n%s", md)
	}
	if lines := strings.Split(text, "\n"); len(lines) < 12 || !strings.Contains(lines[0], "TFLOP/s/GPU") || len(lines[1]) != len(lines[9]) {
		t.Errorf("text:\n%s", text)
	}
	checkPage(t, read(t, dir, "weak-scaling.html"))
	for _, name := range []string{"weak-scaling", "weak-scaling-efficiency"} {
		checkPicture(t, filepath.Join(dir, name))
	}
	rows, err := csv.NewReader(strings.NewReader(read(t, dir, "weak-scaling.csv"))).ReadAll()
	if err != nil || len(rows) != 11 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if got := strings.Join(rows[1], " "); got != "weak 1 8 1 1 1 8 1 8 1000 20 4 400000 50000 400 989 0.4044489383215369 61234000000 0 0 1 1300000000 24 layers x 2048" {
		t.Errorf("first row of the CSV: %s", got)
	}
}

// checkPicture wants a PNG and an SVG that can be read, the latter with colours that do not depend on a page's style.
func checkPicture(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path + ".png")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := png.Decode(f); err != nil {
		t.Error(err)
	}
	svg := read(t, filepath.Dir(path), filepath.Base(path)+".svg")
	if strings.Contains(svg, "var(") {
		t.Errorf("%s.svg needs a style sheet", path)
	}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%s.svg: %v", path, err)
		}
	}
}

func TestModelsOfSeveralSizesAreComparedByOperations(t *testing.T) {
	points := []*ScalingPoint{gpus(1, 1, 8, 20), gpus(2, 1, 8, 20), gpus(4, 1, 8, 20)}
	for i, p := range points[1:] { // twice and four times the model: half and a quarter of the tokens at the same speed
		k := float64(int(2) << i)
		p.Model, p.Parameters, p.TokensPerSec = "larger", int64(k*1.3e9), p.TokensPerSec/k
	}
	text, err := Scaling(t.TempDir(), "weak-scaling", points)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(text, "100.0 %") != 3 || !strings.Contains(text, "5.2B") || !strings.Contains(text, "several models") {
		t.Error(text)
	}
}

func TestOnePointIsATableToo(t *testing.T) {
	p := gpus(1, 1, 2, 20)
	p.StepMS, p.PeakTFLOPs, p.Oversubscribed, p.Backend = []float64{20}, 0, true, "cpu avx2"
	text, err := Scaling(t.TempDir(), "strong-scaling", []*ScalingPoint{p})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, " – ") || !strings.Contains(text, "Oversubscribed") || !strings.Contains(text, "2 ranks.") || !strings.Contains(text, "TFLOP/s/rank") {
		t.Error(text)
	}
}

func TestQuartilesAreInterpolated(t *testing.T) {
	for _, c := range []struct {
		x            []float64
		lower, upper float64
	}{{[]float64{7}, 7, 7}, {[]float64{2, 1}, 1.25, 1.75}, {[]float64{5, 1, 2, 4, 3}, 2, 4}, {[]float64{1, 2, 3, 4}, 1.75, 3.25}} {
		if lo, hi := Quartiles(c.x); math.Abs(lo-c.lower) > 1e-12 || math.Abs(hi-c.upper) > 1e-12 {
			t.Errorf("%v: %v, %v", c.x, lo, hi)
		}
	}
}
