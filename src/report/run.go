package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"cambium/src/telemetry"
)

// columns is how many columns of points a plot keeps: more than pixels show.
const columns = 900

// run is a history with what the plots need worked out.
type run struct {
	*telemetry.History
	stages []stage
}

// stage is the part of the iterations that one growth stage made.
type stage struct {
	index int
	event *telemetry.Stage // nil when the file does not tell
	its   []*telemetry.Iteration
}

func newRun(h *telemetry.History) run {
	r := run{History: h}
	for _, it := range h.Iterations {
		if n := len(r.stages); n == 0 || r.stages[n-1].index != it.GrowthStage {
			r.stages = append(r.stages, stage{index: it.GrowthStage})
		}
		s := &r.stages[len(r.stages)-1]
		s.its = append(s.its, it)
	}
	for i := range r.stages {
		for _, e := range h.Stages { // the last one counts: a run that was resumed may tell again
			if e.Index == r.stages[i].index {
				r.stages[i].event = e
			}
		}
	}
	return r
}

func (s stage) name() string {
	if s.event != nil && s.event.Name != "" {
		return s.event.Name
	}
	return fmt.Sprintf("stage %d", s.index+1)
}

func (s stage) last() *telemetry.Iteration { return s.its[len(s.its)-1] }

// value picks a number of an iteration.
type value func(*telemetry.Iteration) float64

func byTokens(it *telemetry.Iteration) float64 { return float64(it.ConsumedTokens) }
func byFLOPs(it *telemetry.Iteration) float64 {
	if it.ModelFLOPs <= 0 {
		return math.NaN()
	}
	return it.ModelFLOPs
}

func lossOf(it *telemetry.Iteration) float64 {
	if it.Skipped {
		return math.NaN()
	}
	return it.LMLoss
}

func (r run) points(x, y value) points {
	var p points
	for _, s := range r.stages {
		p = append(p, s.points(x, y)...)
	}
	return p
}

func (s stage) points(x, y value) points {
	var p points
	for _, it := range s.its {
		p = add(p, x(it), y(it))
	}
	return p
}

// endLoss is the training loss at the end, smoothed.
func (s stage) endLoss() float64 {
	p := s.points(byTokens, lossOf)
	if len(p) == 0 {
		return math.NaN()
	}
	tail := p[max(len(p)-1-2*reachOf(len(p)), 0):]
	return fitAt(tail, p[len(p)-1].X)
}

func (r run) validations(x func(*telemetry.Validation) float64) points {
	var p points
	for _, v := range r.Validations {
		p = add(p, x(v), v.LMLoss)
	}
	return p
}

// bands are the growth stages along x, each from the end of the one before.
func (r run) bands(x value) []band {
	if len(r.stages) < 2 {
		return nil
	}
	var out []band
	from := math.Inf(-1)
	for _, s := range r.stages {
		to := x(s.last())
		if math.IsNaN(to) {
			continue
		}
		out = append(out, band{from: from, to: to, name: s.name(), ink: stageInk(s.index)})
		from = to
	}
	return out
}

// curve is y over x: every iteration in a faint line, smoothed over it in the colours of the stages. It returns what it smoothed.
func (r run) curve(f *figure, name string, x, y value, settled bool) points {
	var whole points
	var faint, clear []series
	n := len(r.Iterations)
	for k, s := range r.stages {
		raw := s.points(x, y)
		share := r.share(s)
		mean := smooth(raw, reachOf(n), settled || k > 0, share/2, f.x.log)
		faint = append(faint, series{p: thin(raw, share, f.x.log), ink: stageInk(s.index), alpha: 0.22, width: 0.8})
		clear = append(clear, series{p: mean, ink: stageInk(s.index), width: 1.8})
		whole = append(whole, mean...)
	}
	f.series = append(append(f.series, faint...), clear...)
	f.series = append(f.series, series{name: name, p: whole, ink: strong()})
	fit(&f.y, whole)
	if len(whole) > 0 {
		f.x.lo, f.x.hi = whole[0].X, whole[len(whole)-1].X
	}
	return whole
}

// share is a stage's part of the columns.
func (r run) share(s stage) int { return max(columns*len(s.its)/len(r.Iterations), 20) }

// fit takes p into the range of an axis.
func fit(s *scale, p points) {
	for _, q := range p {
		if s.log && q.Y <= 0 {
			continue
		}
		s.lo, s.hi = math.Min(s.lo, q.Y), math.Max(s.hi, q.Y)
	}
}

// open is an axis without values yet.
func open(log bool, label func(float64) string) scale {
	return scale{log: log, lo: math.Inf(1), hi: math.Inf(-1), label: label}
}

// pad leaves room at the ends of an axis.
func (s *scale) pad(below, above float64) {
	if !s.log {
		d := s.hi - s.lo
		s.lo, s.hi = s.lo-below*d, s.hi+above*d
		return
	}
	ratio := s.hi / s.lo
	s.lo, s.hi = s.lo*math.Pow(ratio, -below), s.hi*math.Pow(ratio, above)
}

// figures are all plots of a run; one that has nothing to show is left out.
func (r run) figures() []figure {
	all := []figure{
		r.loss("loss-tokens", "Loss over tokens", "tokens", byTokens, func(v *telemetry.Validation) float64 { return float64(v.ConsumedTokens) }, false),
		r.loss("loss-flops", "Loss over training compute", "training FLOP ("+r.formula()+")", byFLOPs, func(v *telemetry.Validation) float64 { return v.ModelFLOPs }, true),
		r.simple("throughput", "Throughput", "tokens/s", func(it *telemetry.Iteration) float64 { return it.TokensPerSec }, si),
		r.simple("tflops", "Compute rate", "GFLOP/s a rank", func(it *telemetry.Iteration) float64 { return it.ModelTFLOPs * 1000 }, si),
		r.simple("learning-rate", "Learning rate", "", func(it *telemetry.Iteration) float64 { return it.LearningRate }, small),
		r.simple("gradient-norm", "Gradient norm", "before clipping", func(it *telemetry.Iteration) float64 { return it.GradNorm }, digits),
	}
	all = append(all, r.lossScale())
	return slices.DeleteFunc(all, func(f figure) bool {
		return !slices.ContainsFunc(f.series, func(s series) bool { return len(s.p) > 0 })
	})
}

func (r run) formula() string {
	for _, it := range r.Iterations {
		if it.FLOPsFormula != "" {
			return it.FLOPsFormula
		}
	}
	return "formula unknown"
}

func (r run) loss(name, title, label string, x value, at func(*telemetry.Validation) float64, log bool) figure {
	f := figure{name: name, title: title, xLabel: label, yLabel: "loss (nats a token)", wide: true, y: open(false, digits), bands: r.bands(x)}
	f.x = open(log, tokens)
	if log {
		f.x.label = si
	}
	train := r.curve(&f, "training", x, lossOf, false)
	val := r.validations(at)
	if log {
		f.x.lo = math.Max(f.x.lo, f.x.hi/5000) // the first steps would fill half of the axis
		val = between(val, f.x.lo, math.Inf(1))
	}
	if len(val) > 0 {
		f.x.hi = math.Max(f.x.hi, val[len(val)-1].X)
		f.series = append(f.series, series{name: "validation", key: "validation", p: val, ink: strong(), dots: true})
		fit(&f.y, val)
	}
	if !log {
		f.crop(train)
	}
	f.y.pad(0.04, 0.1)
	return f
}

// crop lets the first steep fall leave the plot at its top, where it would press all that follows flat.
func (f *figure) crop(p points) {
	if len(p) < 100 {
		return
	}
	x := p[0].X + 0.025*(p[len(p)-1].X-p[0].X)
	if top := interpolate(p, x); top > f.y.lo && top-f.y.lo < 0.75*(f.y.hi-f.y.lo) {
		f.note = fmt.Sprintf("begins at %.3g, above the plot", p[0].Y)
		f.y.hi = top
	}
}

func (r run) simple(name, title, unit string, y value, label func(float64) string) figure {
	f := figure{name: name, title: title, xLabel: "tokens", yLabel: unit, x: open(false, tokens), y: open(false, label), bands: r.bands(byTokens)}
	if name == "learning-rate" { // a plain line: nothing to smooth
		r.plain(&f, strings.ToLower(title), byTokens, y)
	} else {
		r.curve(&f, strings.ToLower(title), byTokens, y, name != "gradient-norm")
		all := r.points(byTokens, y)
		f.y.hi = math.Max(f.y.hi, quantile(all, 0.98))
		if lo := quantile(all, 0.02); lo > 0 && f.y.hi/lo > 50 {
			f.y.log, f.y.lo = true, lo
		}
	}
	for i := range f.bands { // names stand in the wide plots
		f.bands[i].name = ""
	}
	if !f.y.log {
		f.y.lo = math.Min(f.y.lo, 0)
	}
	f.y.pad(0, 0.08)
	return f
}

// plain is y over x without smoothing.
func (r run) plain(f *figure, name string, x, y value) {
	var whole points
	for _, s := range r.stages {
		p := thin(s.points(x, y), r.share(s), f.x.log)
		f.series = append(f.series, series{p: p, ink: stageInk(s.index), width: 1.8})
		whole = append(whole, p...)
	}
	f.series = append(f.series, series{name: name, p: whole, ink: strong()})
	fit(&f.y, whole)
	if len(whole) > 0 {
		f.x.lo, f.x.hi = whole[0].X, whole[len(whole)-1].X
	}
}

// lossScale is shown where it ever changed.
func (r run) lossScale() figure {
	f := r.simple("loss-scale", "Loss scale", "", func(it *telemetry.Iteration) float64 { return it.LossScale }, digits)
	all := r.points(byTokens, func(it *telemetry.Iteration) float64 { return it.LossScale })
	if len(all) == 0 || quantile(all, 0) == quantile(all, 1) {
		f.series = nil
	}
	return f
}
