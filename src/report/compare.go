package report

import (
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"strings"

	"cambium/src/telemetry"
)

// Arm is one way of training in a comparison, run with several seeds.
type Arm struct {
	Name       string
	Parameters int64 // of the model at the end
	Runs       []*telemetry.History
}

// Compare draws the arms' losses over training compute into one figure: the mean over seeds, one standard deviation to either side,
// a dot where a model grew. It writes NAME.html, NAME.png and NAME.md into dir and returns the text of the last, a table.
// Losses are those of validation where every run has at least two, smoothed training losses otherwise.
func Compare(dir, name, title string, arms []Arm) (string, error) {
	c := newComparison(arms)
	f := c.figure(name, title)
	d, err := f.draw()
	if err != nil {
		return "", err
	}
	if err := f.png(filepath.Join(dir, name+".png")); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	table := c.table()
	p := page{Title: title, Subtitle: c.subtitle(), State: "comparison", Done: true, Figures: []figureView{d.view()}, Tables: []tableView{table}}
	if err := p.write(filepath.Join(dir, name+".html")); err != nil {
		return "", err
	}
	text := table.markdown()
	if err := os.WriteFile(filepath.Join(dir, name+".md"), []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	return text, nil
}

type comparison struct {
	arms   []arm
	what   string  // validation or training loss
	common float64 // the largest compute that every run reached
}

// arm is an Arm with its curves over compute, one a seed that has any, and their mean and spread.
type arm struct {
	Arm
	runs            []run
	curves          []points
	mean, low, high points
}

func newComparison(arms []Arm) comparison {
	c := comparison{what: "validation", common: math.Inf(1)}
	for _, a := range arms {
		x := arm{Arm: a}
		for _, h := range a.Runs {
			r := newRun(h)
			x.runs = append(x.runs, r)
			if len(r.validations(flopsOf)) < 2 {
				c.what = "training"
			}
		}
		c.arms = append(c.arms, x)
	}
	for i := range c.arms {
		a := &c.arms[i]
		for _, r := range a.runs {
			p := r.validations(flopsOf)
			if c.what == "training" {
				p = r.smoothLoss()
			}
			if len(p) > 0 {
				a.curves = append(a.curves, p)
				c.common = math.Min(c.common, p[len(p)-1].X)
			}
		}
		a.average()
	}
	return c
}

func flopsOf(v *telemetry.Validation) float64 {
	if v.ModelFLOPs <= 0 {
		return math.NaN()
	}
	return v.ModelFLOPs
}

// smoothLoss is the training loss over compute.
func (r run) smoothLoss() points {
	var whole points
	for k, s := range r.stages {
		p := s.points(byFLOPs, lossOf)
		whole = append(whole, smooth(p, reachOf(len(r.Iterations)), k > 0, r.share(s), true)...)
	}
	return whole
}

// average works out mean and spread at every place where the first seed has a point, within what all seeds reached.
func (a *arm) average() {
	if len(a.curves) == 0 {
		return
	}
	lo, hi := 0.0, math.Inf(1)
	for _, p := range a.curves {
		lo, hi = math.Max(lo, p[0].X), math.Min(hi, p[len(p)-1].X)
	}
	for _, q := range between(a.curves[0], lo*(1-1e-9), hi*(1+1e-9)) {
		mean, spread := meanAndSpread(a.at(q.X))
		a.mean = add(a.mean, q.X, mean)
		a.low, a.high = add(a.low, q.X, mean-spread), add(a.high, q.X, mean+spread)
	}
}

// at is every seed's loss at x.
func (a *arm) at(x float64) []float64 {
	var out []float64
	for _, p := range a.curves {
		out = append(out, interpolate(p, x))
	}
	return out
}

// meanAndSpread are the mean and the standard deviation (of a sample; 0 for one value).
func meanAndSpread(x []float64) (mean, spread float64) {
	if len(x) == 0 {
		return math.NaN(), math.NaN()
	}
	for _, v := range x {
		mean += v / float64(len(x))
	}
	if len(x) == 1 {
		return mean, 0
	}
	for _, v := range x {
		spread += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, math.Sqrt(spread)
}

func (c comparison) subtitle() string {
	runs := 0
	for _, a := range c.arms {
		runs += len(a.runs)
	}
	return plural(len(c.arms), "arm") + " · " + plural(runs, "run")
}

func (c comparison) formula() string {
	for _, a := range c.arms {
		for _, r := range a.runs {
			return r.formula()
		}
	}
	return "formula unknown"
}

func (c comparison) figure(name, title string) figure {
	f := figure{name: name, title: title, xLabel: "training FLOP (" + c.formula() + ")", yLabel: c.what + " loss (nats a token)", wide: true, x: open(true, si), y: open(false, digits)}
	first := math.Inf(1)
	for i, a := range c.arms {
		f.series = append(f.series, series{name: a.Name, key: a.Name, ink: stageInk(i), width: 2, p: a.mean, low: a.low, high: a.high})
		var grown points
		for _, g := range a.growths() {
			if len(a.mean) > 0 {
				grown = add(grown, g, interpolate(a.mean, g))
			}
		}
		f.series = append(f.series, series{ink: stageInk(i), dots: true, p: grown})
		fit(&f.y, a.mean)
		if len(a.mean) > 0 {
			first = math.Min(first, a.mean[0].X)
			f.x.hi = math.Max(f.x.hi, a.mean[len(a.mean)-1].X)
		}
	}
	f.x.lo = math.Max(first, f.x.hi/5000)
	f.y.pad(0.04, 0.08)
	return f
}

// growths are where the first seed's model grew.
func (a arm) growths() []float64 {
	var out []float64
	if len(a.runs) > 0 {
		for _, g := range a.runs[0].Growths {
			out = append(out, g.ModelFLOPs)
		}
	}
	return out
}

func (c comparison) table() tableView {
	t := tableView{Title: "Result", TextColumns: 1}
	t.Head = []string{"Arm", "Parameters", "Seeds", "Tokens", "Compute", "Time", "Final loss", "Loss at equal compute"}
	for i, a := range c.arms {
		last, time, n := 0.0, 0.0, 0.0
		flops := 0.0
		for _, r := range a.runs {
			if k := len(r.Iterations); k > 0 {
				last += float64(r.Iterations[k-1].ConsumedTokens)
				flops += r.Iterations[k-1].ModelFLOPs
				time += seconds(r.Iterations)
				n++
			}
		}
		var final []float64
		for _, p := range a.curves {
			final = append(final, p[len(p)-1].Y)
		}
		t.Rows = append(t.Rows, []cell{
			{a.Name, stageInk(i).variable}, {Text: tokens(round3(float64(a.Parameters)))}, {Text: fmt.Sprint(len(a.Runs))}, {Text: number(last / n)},
			{Text: compute(flops / n)}, {Text: duration(time / n)}, {Text: plusMinus(final)}, {Text: plusMinus(a.at(c.common))},
		})
	}
	t.Note = fmt.Sprintf("%s%s loss in nats a token, mean ± standard deviation over seeds; equal compute is %s (formula %s).",
		strings.ToUpper(c.what[:1]), c.what[1:], compute(c.common), c.formula())
	return t
}

func plusMinus(x []float64) string {
	mean, spread := meanAndSpread(x)
	if len(x) < 2 {
		return finite("%.4f", mean)
	}
	return finite("%.4f", mean) + " ± " + finite("%.4f", spread)
}

// markdown is the table for a README.
func (t tableView) markdown() string {
	var b strings.Builder
	row := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	row(t.Head)
	var rule []string
	for i := range t.Head {
		if i < t.TextColumns {
			rule = append(rule, "---")
		} else {
			rule = append(rule, "---:")
		}
	}
	row(rule)
	for _, cells := range t.Rows {
		var texts []string
		for _, c := range cells {
			texts = append(texts, strings.ReplaceAll(html.EscapeString(c.Text), "|", `\|`))
		}
		row(texts)
	}
	b.WriteString("\n" + t.Note + "\n")
	return b.String()
}
