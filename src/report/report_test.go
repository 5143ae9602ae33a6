package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot/plotter"
	"pgregory.net/rapid"

	"cambium/src/telemetry"
)

func read(t testing.TB, parts ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checkPage checks what every page must be: free of other files and hosts, its plots well-formed, its data readable.
func checkPage(t testing.TB, html string) []readout {
	t.Helper()
	for _, sign := range []string{"<link", "src=", "@import", "url(", "href=", "fetch("} {
		if strings.Contains(html, sign) {
			t.Errorf("the page is not self-contained: %q in it", sign)
		}
	}
	for _, address := range regexp.MustCompile(`https?://[^"'\s<]+`).FindAllString(html, -1) {
		if !strings.HasPrefix(address, "http://www.w3.org/") { // names of XML, which nothing loads
			t.Errorf("the page names %s", address)
		}
	}
	for _, bad := range []string{"NaN", "Inf", "%!", "ZgotmplZ"} {
		if strings.Contains(html, bad) {
			t.Errorf("%s in the page", bad)
		}
	}
	for _, svg := range regexp.MustCompile(`(?s)<svg .*?</svg>`).FindAllString(html, -1) {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Errorf("SVG: %v", err)
				break
			}
		}
		if left := regexp.MustCompile(`#[0-9A-F]{6}`).FindString(svg); left != "" {
			t.Errorf("%s in a plot does not follow the theme", left)
		}
	}
	var all []readout
	for _, m := range regexp.MustCompile(`(?s)<script type="application/json">(.*?)</script>`).FindAllStringSubmatch(html, -1) {
		var r readout
		if err := json.Unmarshal([]byte(m[1]), &r); err != nil {
			t.Errorf("readout: %v", err)
		}
		for _, s := range r.Series {
			if len(s.X) != len(s.Y) || len(s.X) > 3000 || !slices.IsSorted(s.X) {
				t.Errorf("readout of %s: %d x, %d y, sorted %v", s.Name, len(s.X), len(s.Y), slices.IsSorted(s.X))
			}
		}
		if !(r.X.Lo < r.X.Hi) || !(r.Y.Lo < r.Y.Hi) || r.X.Log && r.X.Lo <= 0 || !(r.Area[0] < r.Area[2]) || !(r.Area[1] < r.Area[3]) {
			t.Errorf("readout of %q: axes %+v %+v in %v", r.Label, r.X, r.Y, r.Area)
		}
		all = append(all, r)
	}
	return all
}

func TestReportOfAGrowingRun(t *testing.T) {
	dir := sample(t, 600, true)
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	page := read(t, dir, PageFile)
	checkPage(t, page)
	for _, want := range []string{
		"<h1>quickstart</h1>", "finished", "seedling → sapling", "sapling → tree", "365k → 1.33M", "3.1e-08", "4.38 MB", "grown from 365k",
		"Loss over tokens", "Loss over training compute", "Throughput", "Learning rate", "Gradient norm", "palm", "Intel Xeon, 2 cores, 8 GB",
		"cambium train --config configs/quickstart.yaml", "6 layers x 192, 6 heads", "{num_layers: 2, hidden_size: 64} # &lt;small&gt;", "bits per byte",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, name := range []string{"loss-tokens", "loss-flops", "throughput", "tflops", "learning-rate", "gradient-norm"} {
		f, err := os.Open(filepath.Join(dir, name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(f)
		if err != nil || img.Bounds().Dx() < 900 {
			t.Errorf("%s.png: %v", name, err)
		}
		_ = f.Close()
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil { // less the umask
		t.Fatal(err)
	}
	want, err := os.Stat(plain)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, PageFile)); err != nil || info.Mode().Perm() != want.Mode().Perm() {
		t.Errorf("the page has mode %v, want that of any file, %v: %v", info.Mode(), want.Mode(), err)
	}
}

// The pointer must find the numbers of the file where the plot shows them.
func TestReadoutHasTheNumbersOfTheRun(t *testing.T) {
	dir := sample(t, 600, true)
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	h, err := telemetry.ReadHistory(filepath.Join(dir, MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	page := read(t, dir, PageFile)
	r := checkPage(t, page)[0]
	var val *readoutSeries
	for i := range r.Series {
		if r.Series[i].Name == "validation" {
			val = &r.Series[i]
		}
	}
	if val == nil || len(val.X) != len(h.Validations) {
		t.Fatalf("validation points: %+v", val)
	}
	svg := regexp.MustCompile(`(?s)<svg viewBox.*?</svg>`).FindString(page)
	for i, v := range h.Validations {
		if math.Abs(float64(val.Y[i])-v.LMLoss) > 1e-4*v.LMLoss || math.Abs(float64(val.X[i])-float64(v.ConsumedTokens)) > 1e-4*float64(v.ConsumedTokens) {
			t.Errorf("validation %d is %v at %v, want %v at %d", i, val.Y[i], val.X[i], v.LMLoss, v.ConsumedTokens)
		}
		if v.LMLoss > r.Y.Hi {
			continue
		}
		// The dot's path starts 3 units right of its centre; the plot's y runs upwards from the bottom of 380 units.
		x := r.Area[0] + (float64(v.ConsumedTokens)-r.X.Lo)/(r.X.Hi-r.X.Lo)*(r.Area[2]-r.Area[0])
		y := 380 - (r.Area[3] - (v.LMLoss-r.Y.Lo)/(r.Y.Hi-r.Y.Lo)*(r.Area[3]-r.Area[1]))
		if want := fmt.Sprintf("M%.*g,%.*g", 5, x+3, 5, y); !strings.Contains(svg, want) {
			t.Errorf("no dot %s in the plot", want)
		}
	}
}

func TestReportsOfRunsThatAreNotWhole(t *testing.T) {
	nan := math.NaN()
	one := history(1, false)
	allNaN := history(30, false)
	for _, r := range allNaN {
		switch r := r.(type) {
		case *telemetry.Iteration:
			r.LMLoss, r.GradNorm, r.ModelFLOPs, r.TokensPerSec, r.ModelTFLOPs, r.LearningRate = nan, nan, nan, nan, nan, nan
		case *telemetry.Validation:
			r.LMLoss, r.ModelFLOPs = nan, nan
		case *telemetry.Growth:
			r.LossBefore, r.LossAfter, r.Relative = nan, nan, nan
		}
	}
	same := history(30, false)
	for _, r := range same {
		if it, ok := r.(*telemetry.Iteration); ok {
			it.LMLoss, it.GradNorm, it.ModelFLOPs, it.TokensPerSec, it.LearningRate, it.ConsumedTokens = 2, 0, 1e9, 5, 0, 100
		}
	}
	negative := history(30, false)
	for _, r := range negative {
		if it, ok := r.(*telemetry.Iteration); ok {
			it.LMLoss, it.GradNorm, it.ModelFLOPs = -it.LMLoss, 0, 0
		}
	}
	var bare []telemetry.Record // no event at all
	for _, r := range history(50, false) {
		if it, ok := r.(*telemetry.Iteration); ok {
			bare = append(bare, it)
		}
	}
	for name, c := range map[string]struct {
		records []telemetry.Record
		want    string
	}{
		"nothing":                {nil, "no iteration yet"},
		"only the beginning":     {history(1, false)[:2], "no iteration yet"},
		"one iteration":          {one, "at iteration 1 of 1"},
		"nothing but NaN":        {allNaN, "at iteration 30 of 30"},
		"all the same":           {same, "at iteration 30"},
		"below zero":             {negative, "at iteration 30"},
		"no events":              {bare, "at iteration 50"},
		"in the middle":          {history(100, false)[:90], "of 100"},
		"stopped":                {append(history(9, false), &telemetry.End{Reason: "signal: terminated"}), "signal: terminated"},
		"two records of a stage": {append(history(9, false), &telemetry.Stage{Name: "old <b>", Index: 2}), "old &lt;b&gt;"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, c.records)
			if err := Write(dir); err != nil {
				t.Fatal(err)
			}
			page := read(t, dir, PageFile)
			checkPage(t, page)
			if !strings.Contains(page, c.want) {
				t.Errorf("the page lacks %q", c.want)
			}
		})
	}
}

func TestLongRunsAreThinnedOut(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100,000 iterations")
	}
	dir := sample(t, 100_000, true)
	start := time.Now()
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	t.Logf("drawn in %v", time.Since(start).Round(time.Millisecond))
	page := read(t, dir, PageFile)
	checkPage(t, page)
	if len(page) > 1<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
}

func TestNamesCannotBreakThePage(t *testing.T) {
	records := history(60, true)
	evil := `</script><script>alert("1")</script>`
	for _, r := range records {
		switch r := r.(type) {
		case *telemetry.Run:
			r.Name, r.Machine = evil, evil
		case *telemetry.Stage:
			r.Name, r.Model = evil, evil
		case *telemetry.Iteration:
			r.FLOPsFormula = evil
		}
	}
	dir := t.TempDir()
	write(t, dir, records)
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	page := read(t, dir, PageFile)
	checkPage(t, page)
	if strings.Contains(page, "<script>alert") {
		t.Error("a name became a script")
	}
}

// Every ink follows the theme as itself, however thin it is laid on.
func TestInksSurviveTransparency(t *testing.T) {
	for _, k := range inks() {
		for _, part := range []float64{1, 0.22, 0.15, 0.07} {
			f := figure{x: open(false, digits), y: open(false, digits)}
			f.series = []series{{ink: k, alpha: part, width: 1.5, p: points{{X: 0, Y: 0}, {X: 1, Y: 1}}}}
			f.x.lo, f.x.hi, f.y.lo, f.y.hi = 0, 1, 0, 1
			d, err := f.draw()
			if err != nil {
				t.Fatal(err)
			}
			if want := "stroke:var(" + k.variable + ")"; !strings.Contains(d.svg, want+";stroke-width:1.5") && !strings.Contains(d.svg, want+";stroke-opacity") {
				t.Errorf("%s at %v is another colour", k.variable, part)
			}
		}
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir); err == nil || !strings.Contains(err.Error(), dir+" holds no "+MetricsFile) {
		t.Errorf("no metrics: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, MetricsFile), []byte("{}\nnonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir); err == nil || !strings.Contains(err.Error(), MetricsFile+": line 2") {
		t.Errorf("bad metrics: %v", err)
	}
}

func TestThinKeepsEveryExtreme(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		y := rapid.SliceOfN(rapid.Float64Range(-5, 5), 1, 500).Draw(rt, "y")
		columns := rapid.IntRange(1, 40).Draw(rt, "columns")
		logX := rapid.Bool().Draw(rt, "log")
		var p points
		for i, v := range y {
			p = append(p, plotter.XY{X: float64(i + 1), Y: v})
		}
		q := thin(p, columns, logX)
		if len(q) > 2*columns+4 {
			rt.Fatalf("%d points of %d remain in %d columns", len(q), len(p), columns)
		}
		if !slices.IsSortedFunc(q, func(a, b plotter.XY) int { return compare(a.X, b.X) }) {
			rt.Fatal("points are out of order")
		}
		byY := func(a, b plotter.XY) int { return compare(a.Y, b.Y) }
		if slices.MaxFunc(p, byY).Y != slices.MaxFunc(q, byY).Y || slices.MinFunc(p, byY).Y != slices.MinFunc(q, byY).Y || q[0] != p[0] || q[len(q)-1] != p[len(p)-1] {
			rt.Fatal("an extreme or an end is lost")
		}
	})
}

// A straight line stays what it is, to its very ends.
func TestSmoothingNeitherLagsNorBends(t *testing.T) {
	var p points
	for i := range 300 {
		p = append(p, plotter.XY{X: float64(i), Y: 7 - 0.02*float64(i)})
	}
	for _, settled := range []bool{false, true} {
		for i, q := range smooth(p, 40, settled, 1000, false) {
			if math.Abs(q.Y-p[i].Y) > 1e-9 || q.X != p[i].X {
				t.Fatalf("point %d is %v, want %v", i, q, p[i])
			}
		}
	}
}

func TestTicksAreRoundAndFew(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		lo := rapid.Float64Range(-1e6, 1e6).Draw(rt, "lo")
		hi := lo + math.Pow(10, rapid.Float64Range(-3, 9).Draw(rt, "size"))
		n := rapid.IntRange(3, 8).Draw(rt, "n")
		ticks := linearTicks(n, digits).Ticks(lo, hi)
		if len(ticks) < 1 || len(ticks) > n+2 {
			rt.Fatalf("%d ticks from %v to %v, asked for %d", len(ticks), lo, hi, n)
		}
	})
	var labels []string
	for _, tick := range logTicks(si).Ticks(3e11, 2.5e14) {
		if tick.Label != "" {
			labels = append(labels, tick.Label)
		}
	}
	if got := strings.Join(labels, " "); got != "1T 10T 100T" {
		t.Errorf("labels are %s", got)
	}
	labels = nil
	for _, tick := range logTicks(si).Ticks(1.4e12, 6e12) {
		if tick.Label != "" {
			labels = append(labels, tick.Label)
		}
	}
	if got := strings.Join(labels, " "); got != "2T 3T 4T 5T 6T" {
		t.Errorf("labels are %s", got)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for got, want := range map[string]string{
		si(0): "0", si(999): "999", si(1500): "1.5k", si(2.5e13): "25T", si(999.99999): "1k", tokens(51.3e9): "51.3B", small(0.0005): "5e-4", small(0.0015): "0.0015",
		siUnit(127.4e12, "FLOP"): "127 TFLOP", siUnit(12, "B"): "12 B", duration(0.034): "34 ms", duration(12.34): "12.3 s", duration(245): "4 min 05 s",
		duration(11520): "3 h 12 min", duration(math.NaN()): "–", digits(0.25): "0.25",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
