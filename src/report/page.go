package report

import (
	_ "embed" // the page's template, style and script
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"

	"cambium/src/telemetry"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// page is what the template shows.
type page struct {
	Title    string
	Subtitle string
	State    string // "finished", or why the numbers end where they do
	Done     bool
	Tiles    []tile
	Figures  []figureView
	Tables   []tableView
	Facts    []fact
	Config   string
}

type tile struct{ Label, Value, Note string }

type fact struct{ Name, Value string }

type figureView struct {
	Name, Title, Note string
	Wide              bool
	SVG               template.HTML
	Data              template.JS // JSON, in which encoding/json has escaped what could end a script
}

// tableView is a table whose first columns are text and the others numbers.
type tableView struct {
	Title, Note string
	Head        []string
	TextColumns int
	Rows        [][]cell
}

type cell struct {
	Text  string
	Color string // a variable of the style sheet; empty: none
}

// trusted marks what this package drew itself; names in it are escaped by gonum's SVG writer.
func trusted(svg string) template.HTML { return template.HTML(svg) }

func (p page) render(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"css":   func() template.CSS { return template.CSS(themeCSS() + pageCSS) },
		"js":    func() template.JS { return template.JS(pageJS) },
		"var":   func(name string) template.CSS { return template.CSS("var(" + name + ")") },
		"isNum": func(i, textColumns int) bool { return i >= textColumns },
	}).Parse(pageHTML)
	if err != nil {
		return err
	}
	return t.Execute(w, p)
}

func themeCSS() string {
	return ":root{" + variables(false) + "}\n@media (prefers-color-scheme:dark){:root{" + variables(true) + "}}\n"
}

func (r run) page(title, config string) page {
	p := page{Title: title, Config: config, Tiles: r.tiles(), Facts: r.facts()}
	if n := len(r.Runs); n > 0 && r.Runs[n-1].Name != "" {
		p.Title = r.Runs[n-1].Name
	}
	p.State, p.Done = r.state()
	p.Subtitle = r.subtitle()
	for _, t := range []tableView{r.stageTable(), r.growthTable(), r.layoutTable()} {
		if len(t.Rows) > 0 {
			p.Tables = append(p.Tables, t)
		}
	}
	return p
}

func (r run) state() (string, bool) {
	switch {
	case r.End != nil:
		return r.End.Reason, r.End.Reason == "finished"
	case len(r.Iterations) == 0:
		return "no iteration yet", false
	}
	it := r.Iterations[len(r.Iterations)-1]
	total := ""
	if n := len(r.Runs); n > 0 && r.Runs[n-1].TrainIters > 0 {
		total = fmt.Sprintf(" of %d", r.Runs[n-1].TrainIters)
	}
	return fmt.Sprintf("at iteration %d%s", it.Iteration, total), false
}

func (r run) subtitle() string {
	var parts []string
	if len(r.stages) > 1 {
		parts = append(parts, fmt.Sprintf("%d growth stages", len(r.stages)))
	}
	if n := len(r.Runs); n > 0 {
		last := r.Runs[n-1]
		if last.World > 0 {
			parts = append(parts, plural(last.World, "rank"))
		}
		if last.Backend != "" {
			parts = append(parts, last.Backend)
		}
		if !r.Runs[0].Time.IsZero() {
			parts = append(parts, r.Runs[0].Time.UTC().Format("2 January 2006, 15:04 UTC"))
		}
	}
	return strings.Join(parts, " · ")
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func (r run) tiles() []tile {
	var out []tile
	if n := len(r.Validations); n > 0 {
		v := r.Validations[n-1]
		note := fmt.Sprintf("perplexity %s", finite("%.4g", math.Exp(v.LMLoss)))
		if v.BitsPerByte > 0 {
			note = fmt.Sprintf("%.3f bits per byte", v.BitsPerByte)
		}
		out = append(out, tile{"Validation loss", finite("%.4f", v.LMLoss), note})
	}
	if len(r.Iterations) == 0 {
		return out
	}
	last := r.Iterations[len(r.Iterations)-1]
	if loss := r.points(byTokens, lossOf); len(loss) > 0 {
		out = append(out, tile{"Training loss", finite("%.4f", r.stages[len(r.stages)-1].endLoss()), fmt.Sprintf("from %.3f", loss[0].Y)})
	}
	if s := r.stages[len(r.stages)-1]; s.event != nil && s.event.Parameters > 0 {
		note := s.event.Model
		if first := r.stages[0]; len(r.stages) > 1 && first.event != nil {
			note = "grown from " + tokens(float64(first.event.Parameters))
		}
		out = append(out, tile{"Parameters", tokens(round3(float64(s.event.Parameters))), note})
	}
	out = append(out, tile{"Tokens", tokens(round3(float64(last.ConsumedTokens))), plural(last.Iteration, "iteration")})
	if last.ModelFLOPs > 0 {
		out = append(out, tile{"Training compute", siUnit(last.ModelFLOPs, "FLOP"), "formula " + r.formula()})
	}
	out = append(out, tile{"Throughput", number(rate(r.Iterations)) + " tok/s", "over " + duration(seconds(r.Iterations))})
	if n := len(r.Growths); n > 0 {
		worst := slices.MaxFunc(r.Growths, func(a, b *telemetry.Growth) int { return compare(a.Relative, b.Relative) })
		out = append(out, tile{"Grown in place", times(n), "Δ loss ≤ " + finite("%.1e", worst.Relative)})
	}
	return out
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// round3 keeps three digits.
func round3(x float64) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	scale := math.Pow(10, 2-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*scale) / scale
}

// seconds is the time of the iterations.
func seconds(its []*telemetry.Iteration) float64 {
	ms := 0.0
	for _, it := range its {
		if !math.IsNaN(it.ElapsedMS) {
			ms += it.ElapsedMS
		}
	}
	return ms / 1000
}

// rate is tokens over time.
func rate(its []*telemetry.Iteration) float64 {
	sum, time := 0.0, 0.0
	for _, it := range its {
		if t := it.TokensPerSec * it.ElapsedMS; !math.IsNaN(t) && !math.IsInf(t, 0) {
			sum, time = sum+t, time+it.ElapsedMS
		}
	}
	if time == 0 {
		return math.NaN()
	}
	return sum / time
}

func (r run) facts() []fact {
	var out []fact
	add := func(name, value string) {
		if value != "" {
			out = append(out, fact{name, value})
		}
	}
	if n := len(r.Runs); n > 0 {
		last := r.Runs[n-1]
		add("Machine", last.Machine)
		add("Backend", last.Backend)
		if last.World > 0 {
			add("Ranks", fmt.Sprint(last.World))
		}
		add("Cambium", last.Version)
		add("Command", last.Command)
		if n > 1 {
			add("Resumed", times(n-1))
		}
	}
	if n := len(r.Checkpoints); n > 0 {
		add("Last checkpoint", r.Checkpoints[n-1].Path)
	}
	skipped := 0
	for _, it := range r.Iterations {
		if it.Skipped {
			skipped++
		}
	}
	if skipped > 0 {
		add("Skipped iterations", fmt.Sprint(skipped))
	}
	if r.End != nil {
		add("Wall time", duration(r.End.Seconds))
	}
	return out
}

func (r run) stageTable() tableView {
	t := tableView{Title: "Growth stages", TextColumns: 2, Head: []string{"Stage", "Model", "Parameters", "Iterations", "Tokens", "Compute", "Loss at the end", "Validation", "Tokens/s", "Time"}}
	before, flops := int64(0), 0.0
	for _, s := range r.stages {
		last := s.last()
		row := []cell{{s.name(), stageInk(s.index).variable}, {}, {Text: "–"}}
		if s.event != nil {
			row[1].Text, row[2].Text = s.event.Model, tokens(round3(float64(s.event.Parameters)))
		}
		validation := math.NaN()
		for _, v := range r.Validations {
			if v.GrowthStage == s.index {
				validation = v.LMLoss
			}
		}
		t.Rows = append(t.Rows, append(row, cell{Text: fmt.Sprint(len(s.its))}, cell{Text: tokens(round3(float64(last.ConsumedTokens - before)))},
			cell{Text: compute(last.ModelFLOPs - flops)}, cell{Text: finite("%.4f", s.endLoss())}, cell{Text: finite("%.4f", validation)},
			cell{Text: number(rate(s.its))}, cell{Text: duration(seconds(s.its))}))
		before, flops = last.ConsumedTokens, last.ModelFLOPs
	}
	if len(t.Rows) == 1 {
		t.Title = "The run"
	}
	return t
}

func compute(flops float64) string {
	if !(flops > 0) || math.IsInf(flops, 0) {
		return "–"
	}
	return siUnit(flops, "FLOP")
}

func number(x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return si(round3(x))
}
