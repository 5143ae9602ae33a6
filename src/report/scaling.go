package report

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// The kinds of scaling: how the batch changes with the number of ranks.
const (
	WeakScaling   = "weak"   // in proportion: every rank has the same work
	StrongScaling = "strong" // not at all: the ranks share the same work
)

// ScalingPoint is the speed of one grid of a scaling bench: a row of its table. Times are of whole steps.
type ScalingPoint struct {
	Scaling string `json:"scaling"` // WeakScaling or StrongScaling

	Nodes     int `json:"nodes"`
	Ranks     int `json:"ranks"`
	TP        int `json:"tensor_model_parallel_size"`
	PP        int `json:"pipeline_model_parallel_size"`
	Chunks    int `json:"virtual_pipeline_stages"` // a pipeline stage; 1 without an interleaved schedule
	DP        int `json:"data_parallel_size"`
	MicroSize int `json:"micro_batch_size"`
	BatchSize int `json:"global_batch_size"`
	SeqLength int `json:"seq_length"`

	StepMS       []float64 `json:"step_ms"`
	MedianMS     float64   `json:"step_ms_median"`
	IQRMS        float64   `json:"step_ms_iqr"` // between the quartiles
	TokensPerSec float64   `json:"tokens_per_sec"`
	TFLOPs       float64   `json:"tflops_a_rank"`
	PeakTFLOPs   float64   `json:"peak_tflops_a_rank"`  // 0: unknown
	MemoryBytes  int64     `json:"memory_bytes_a_rank"` // of the rank that has most

	// The share of time in which pipeline stages compute nothing, measured and as the schedule foretells it; 0 with one stage.
	Bubble         float64 `json:"bubble"`
	BubbleForetold float64 `json:"bubble_foretold"`

	// Where and how; points that agree in all of it but the machine can stand in one table.
	Model          string `json:"model"`
	Parameters     int64  `json:"parameters"`
	FLOPsFormula   string `json:"flops_formula"`
	Backend        string `json:"backend"`
	Precision      string `json:"params_dtype"`
	Schedule       string `json:"pipeline_schedule,omitempty"` // of grids with several pipeline stages
	Options        string `json:"options,omitempty"`           // sequence parallelism, recomputation
	ThreadsPerRank int    `json:"threads_per_rank"`
	Oversubscribed bool   `json:"oversubscribed"` // more threads than processors: slower than with a processor each
	Machine        string `json:"machine"`
	Program        string `json:"program"`
	Job            string `json:"job,omitempty"` // of Slurm
}

// Layout names the part of the grid that stays the same along a curve: "tp2 pp4", "tp2 pp4x3" with virtual stages.
func (p *ScalingPoint) Layout() string {
	if p.Chunks > 1 {
		return fmt.Sprintf("tp%d pp%dx%d", p.TP, p.PP, p.Chunks)
	}
	return fmt.Sprintf("tp%d pp%d", p.TP, p.PP)
}

// scaling is a set of points of one kind, in the order of its table.
type scaling struct {
	points []*ScalingPoint
	base   *ScalingPoint // what efficiency is relative to: the fastest of those with the fewest ranks
	peak   float64       // TFLOP/s a rank; of measured ones the largest, since other work only makes them smaller
}

func newScaling(points []*ScalingPoint) scaling {
	s := scaling{points: slices.Clone(points)}
	slices.SortStableFunc(s.points, func(a, b *ScalingPoint) int {
		return cmp.Or(cmp.Compare(a.Ranks, b.Ranks), cmp.Compare(a.TP, b.TP), cmp.Compare(a.PP, b.PP), cmp.Compare(a.Chunks, b.Chunks))
	})
	for _, p := range s.points {
		s.peak = math.Max(s.peak, p.PeakTFLOPs)
		if s.base == nil || p.Ranks == s.base.Ranks && p.TFLOPs > s.base.TFLOPs {
			s.base = p
		}
	}
	return s
}

// efficiency is the share of the smallest point's speed that a rank keeps, in operations, so that models may differ.
func (s scaling) efficiency(p *ScalingPoint) float64 { return p.TFLOPs / s.base.TFLOPs }

// Scaling draws throughput and efficiency over the number of ranks, and writes into dir, under NAME: the table as .md and
// .csv, the figures as .png and .svg (efficiency as NAME-efficiency), and both in one .html. It returns the table as text.
// The points are of one kind of scaling, at least one.
func Scaling(dir, name string, points []*ScalingPoint) (string, error) {
	s := newScaling(points)
	title := strings.ToUpper(s.base.Scaling[:1]) + s.base.Scaling[1:] + " scaling"
	p := page{Title: title, Subtitle: s.subtitle(), State: "bench", Done: true, Tables: []tableView{s.table()}, Facts: s.facts()}
	for _, f := range []figure{s.throughput(name, title), s.efficiencies(name+"-efficiency", title+": efficiency")} {
		d, err := f.draw()
		if err != nil {
			return "", err
		}
		p.Figures = append(p.Figures, d.view())
		if err := f.png(filepath.Join(dir, f.name+".png")); err != nil {
			return "", fmt.Errorf("report: %w", err)
		}
		if err := f.svgFile(filepath.Join(dir, f.name+".svg")); err != nil {
			return "", fmt.Errorf("report: %w", err)
		}
	}
	if err := p.write(filepath.Join(dir, name+".html")); err != nil {
		return "", err
	}
	for ext, text := range map[string][]byte{".md": []byte(p.Tables[0].markdown()), ".csv": s.csv()} {
		if err := os.WriteFile(filepath.Join(dir, name+ext), text, 0o644); err != nil {
			return "", fmt.Errorf("report: %w", err)
		}
	}
	return p.Tables[0].text(), nil
}

func (s scaling) subtitle() string {
	if s.severalModels() {
		return plural(len(s.points), "point")
	}
	return s.base.Model + ", " + tokens(round3(float64(s.base.Parameters))) + " parameters · " + s.base.Precision + " · " + s.base.Backend
}

func (s scaling) severalModels() bool {
	return slices.ContainsFunc(s.points, func(p *ScalingPoint) bool { return p.Model != s.base.Model })
}

// unit is what a rank stands for.
func (s scaling) unit() string {
	if strings.HasPrefix(s.base.Backend, "cuda") {
		return "GPU"
	}
	return "rank"
}

// table has the columns that papers have.
func (s scaling) table() tableView {
	u := s.unit()
	t := tableView{Title: "Table", Note: s.note()}
	if s.severalModels() {
		t.TextColumns = 1
		t.Head = []string{"Model"}
	}
	t.Head = append(t.Head, "Nodes", strings.ToUpper(u[:1])+u[1:]+"s", "TP", "PP", "DP", "MBS", "GBS", "Seq", "Time/iter (ms)", "Tokens/s", "Tokens/s/"+u, "TFLOP/s/"+u, "MFU", "Memory/"+u, "Efficiency")
	for _, p := range s.points {
		var row []cell
		if s.severalModels() {
			row = append(row, cell{Text: tokens(round3(float64(p.Parameters)))})
		}
		pp := strconv.Itoa(p.PP)
		if p.Chunks > 1 {
			pp = fmt.Sprintf("%dx%d", p.PP, p.Chunks)
		}
		for _, text := range []string{
			fmt.Sprint(p.Nodes), fmt.Sprint(p.Ranks), fmt.Sprint(p.TP), pp, fmt.Sprint(p.DP), fmt.Sprint(p.MicroSize), fmt.Sprint(p.BatchSize), fmt.Sprint(p.SeqLength),
			fmt.Sprintf("%.1f ± %.1f", p.MedianMS, p.IQRMS), whole(p.TokensPerSec), whole(p.TokensPerSec / float64(p.Ranks)), finite("%.3g", p.TFLOPs),
			share(p.TFLOPs / s.peak), siUnit(float64(p.MemoryBytes), "B"), share(s.efficiency(p)),
		} {
			row = append(row, cell{Text: text})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// whole is a number without a fraction where it has four digits anyway.
func whole(x float64) string {
	if x < 1000 {
		return finite("%.4g", x)
	}
	return finite("%.0f", x)
}

func share(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*x)
}

func (s scaling) note() string {
	b := s.base
	text := fmt.Sprintf("%s scaling of %s, %s, on %s. Time: median of %d steps ± interquartile range. Operations by the formula %s. ",
		strings.ToUpper(b.Scaling[:1])+b.Scaling[1:], b.Model, b.Precision, b.Machine, len(b.StepMS), b.FLOPsFormula)
	if s.severalModels() {
		text = strings.Replace(text, b.Model, "several models", 1)
	}
	if s.peak > 0 {
		text += fmt.Sprintf("MFU: of a peak of %.3g TFLOP/s a %s. ", s.peak, s.unit())
	}
	text += fmt.Sprintf("Memory: of the %[1]s that has most. Efficiency: TFLOP/s/%[1]s relative to the best with the fewest %[1]ss.", s.unit())
	if over := s.oversubscribed(); over != "" {
		text += " Oversubscribed, more threads than processors, so that efficiency says nothing about the program: " + over + "."
	}
	return text
}

// oversubscribed lists the sizes that had no processor for each of their threads.
func (s scaling) oversubscribed() string {
	var sizes []string
	for _, p := range s.points {
		if text := fmt.Sprintf("%d ranks", p.Ranks); p.Oversubscribed && !slices.Contains(sizes, text) {
			sizes = append(sizes, text)
		}
	}
	return strings.Join(sizes, ", ")
}

func (s scaling) facts() []fact {
	out := []fact{{"Model", s.base.Model}, {"Machine", s.base.Machine}, {"Backend", s.base.Backend}, {"Threads a rank", fmt.Sprint(s.base.ThreadsPerRank)}, {"Program", s.base.Program}}
	if s.severalModels() {
		out = out[1:]
	}
	options := map[string]bool{}
	for _, p := range s.points {
		for _, o := range []string{p.Schedule, p.Options} {
			if o != "" && !options[o] {
				options[o] = true
				out = append(out, fact{"Options of " + p.Layout(), o})
			}
		}
	}
	return out
}

// layouts are the points with equal tp and pp, in the order in which they come.
func (s scaling) layouts() [][]*ScalingPoint {
	var out [][]*ScalingPoint
	for _, p := range s.points {
		i := slices.IndexFunc(out, func(l []*ScalingPoint) bool { return l[0].Layout() == p.Layout() })
		if i < 0 {
			i, out = len(out), append(out, nil)
		}
		out[i] = append(out[i], p)
	}
	return out
}

// ranks is the axis of the number of ranks, with a tick at every size that was measured.
func (s scaling) ranks() scale {
	x := scale{log: true, lo: float64(s.points[0].Ranks) / 1.15, hi: float64(s.points[len(s.points)-1].Ranks) * 1.15, label: digits}
	for _, p := range s.points {
		if n := len(x.at); n == 0 || float64(p.Ranks) > x.at[n-1]*1.3 {
			x.at = append(x.at, float64(p.Ranks))
		}
	}
	return x
}

// throughput is tokens a second over ranks, both logarithmic, with the line of the smallest point's speed for every rank.
// Models of several sizes are compared by operations instead.
func (s scaling) throughput(name, title string) figure {
	f := figure{name: name, title: title, xLabel: s.unit() + "s", yLabel: "tokens/s", x: s.ranks(), y: open(true, si), keyLeft: true}
	value := func(p *ScalingPoint, ms float64) float64 { return p.TokensPerSec * p.MedianMS / ms }
	if s.severalModels() {
		f.yLabel = "FLOP/s (" + s.base.FLOPsFormula + ")"
		value = func(p *ScalingPoint, ms float64) float64 { return 1e12 * p.TFLOPs * float64(p.Ranks) * p.MedianMS / ms }
	}
	ideal := series{key: "ideal", ink: muted(), width: 1.2, dashed: true}
	for _, x := range []float64{f.x.lo, f.x.hi} {
		ideal.p = add(ideal.p, x, value(s.base, s.base.MedianMS)*x/float64(s.base.Ranks))
	}
	f.series = append(f.series, ideal)
	fit(&f.y, ideal.p)
	s.curves(&f, value)
	f.y.lo, f.y.hi = f.y.lo/1.1, f.y.hi*1.1
	return f
}

// efficiencies is efficiency over ranks.
func (s scaling) efficiencies(name, title string) figure {
	f := figure{name: name, title: title, xLabel: s.unit() + "s", yLabel: "efficiency (%)", x: s.ranks(), y: scale{lo: 0, hi: 110, label: digits}, keyLeft: true, keyBelow: true}
	ideal := series{ink: muted(), width: 1.2, dashed: true, p: points{{X: f.x.lo, Y: 100}, {X: f.x.hi, Y: 100}}}
	f.series = append(f.series, ideal)
	s.curves(&f, func(p *ScalingPoint, ms float64) float64 { return 100 * s.efficiency(p) * p.MedianMS / ms })
	f.y.lo = 0
	return f
}

// curves adds a line and a dot a point for each layout, with a bar between the quartiles of the steps' times.
func (s scaling) curves(f *figure, value func(p *ScalingPoint, ms float64) float64) {
	for i, layout := range s.layouts() {
		line := series{ink: stageInk(i), width: 2}
		dots := series{name: layout[0].Layout(), key: layout[0].Layout(), ink: stageInk(i), dots: true}
		for _, p := range layout {
			x := float64(p.Ranks)
			lo, hi := Quartiles(p.StepMS)
			line.p = add(line.p, x, value(p, p.MedianMS))
			dots.low, dots.high = add(dots.low, x, value(p, hi)), add(dots.high, x, value(p, lo))
		}
		dots.p = line.p
		if len(line.p) > 1 {
			f.series = append(f.series, line)
		}
		f.series = append(f.series, dots)
		fit(&f.y, dots.low)
		fit(&f.y, dots.high)
	}
}

// Quartiles of a list that is not empty, interpolated between neighbours.
func Quartiles(x []float64) (lower, upper float64) {
	s := slices.Sorted(slices.Values(x))
	at := func(q float64) float64 {
		i := q * float64(len(s)-1)
		j := min(int(i)+1, len(s)-1)
		return s[int(i)] + (i-math.Floor(i))*(s[j]-s[int(i)])
	}
	return at(0.25), at(0.75)
}

// csv is the table for programs: all of a point but the single steps, in full precision, under the keys of its JSON.
func (s scaling) csv() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	head := []string{
		"scaling", "nodes", "ranks", "tensor_model_parallel_size", "pipeline_model_parallel_size", "virtual_pipeline_stages", "data_parallel_size", "micro_batch_size",
		"global_batch_size", "seq_length", "step_ms_median", "step_ms_iqr", "tokens_per_sec", "tokens_per_sec_a_rank", "tflops_a_rank", "peak_tflops_a_rank", "mfu",
		"memory_bytes_a_rank", "bubble", "bubble_foretold", "efficiency", "parameters", "model",
	}
	_ = w.Write(head) // into memory: cannot fail, and neither can what follows
	number := func(x float64) string {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return ""
		}
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	for _, p := range s.points {
		row := []string{p.Scaling}
		for _, n := range []int{p.Nodes, p.Ranks, p.TP, p.PP, max(p.Chunks, 1), p.DP, p.MicroSize, p.BatchSize, p.SeqLength} {
			row = append(row, strconv.Itoa(n))
		}
		for _, x := range []float64{p.MedianMS, p.IQRMS, p.TokensPerSec, p.TokensPerSec / float64(p.Ranks), p.TFLOPs, p.PeakTFLOPs, p.TFLOPs / s.peak, float64(p.MemoryBytes), p.Bubble, p.BubbleForetold, s.efficiency(p), float64(p.Parameters)} {
			row = append(row, number(x))
		}
		_ = w.Write(append(row, p.Model))
	}
	w.Flush()
	return b.Bytes()
}

// text is the table for a terminal.
func (t tableView) text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, strings.Join(t.Head, "\t")+"\t")
	for _, row := range t.Rows {
		for _, c := range row {
			fmt.Fprint(w, c.Text+"\t")
		}
		fmt.Fprintln(w)
	}
	w.Flush() // into memory: cannot fail
	return b.String() + "\n" + t.Note + "\n"
}
