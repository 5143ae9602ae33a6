package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/renameio/v2"

	"cambium/src/telemetry"
)

// The files of a run folder that Write reads and makes. PNGs are named loss-tokens.png and so on.
const (
	MetricsFile = "metrics.jsonl"
	ConfigFile  = "config.resolved.yaml"
	PageFile    = "report.html"
)

// Write makes report.html and its PNGs in a run folder. The run may still be going on, or have made no iteration yet.
func Write(runDir string) error {
	h, err := telemetry.ReadHistory(filepath.Join(runDir, MetricsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("report: %s holds no %s: want the folder of a run", runDir, MetricsFile)
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	config, err := os.ReadFile(filepath.Join(runDir, ConfigFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("report: %w", err)
	}
	r := newRun(h)
	page := r.page(filepath.Base(absolute(runDir)), string(config))
	for _, f := range r.figures() {
		d, err := f.draw()
		if err != nil {
			return err
		}
		page.Figures = append(page.Figures, d.view())
		if err := f.png(filepath.Join(runDir, f.name+".png")); err != nil {
			return err
		}
	}
	return page.write(filepath.Join(runDir, PageFile))
}

func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// write replaces the file at once: a browser that reloads it never sees half a page.
func (p page) write(path string) error {
	var b bytes.Buffer
	if err := p.render(&b); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := renameio.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// readout is what the page's script reads of a figure.
type readout struct {
	Area   [4]float64      `json:"area"`
	X      readoutScale    `json:"x"`
	Y      readoutScale    `json:"y"`
	Label  string          `json:"label"`
	Series []readoutSeries `json:"series"`
}

type readoutScale struct {
	Lo  float64 `json:"lo"`
	Hi  float64 `json:"hi"`
	Log bool    `json:"log"`
}

type readoutSeries struct {
	Name   string       `json:"name"`
	Color  string       `json:"color"`
	Sparse bool         `json:"sparse"` // dots: shown only when the pointer is near one
	X      []shortFloat `json:"x"`
	Y      []shortFloat `json:"y"`
}

// shortFloat is written with five digits: a plot has no more.
type shortFloat float64

// MarshalJSON writes the number.
func (x shortFloat) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(x), 'g', 5, 64), nil
}

// view makes a figure ready for the page.
func (d drawing) view() figureView {
	out := readout{Area: d.area, X: d.x.readout(), Y: d.y.readout(), Label: d.xLabel}
	for _, s := range d.series {
		if s.name == "" {
			continue
		}
		r := readoutSeries{Name: s.name, Color: "var(" + s.ink.variable + ")", Sparse: s.dots}
		for _, q := range s.p {
			r.X, r.Y = append(r.X, shortFloat(q.X)), append(r.Y, shortFloat(q.Y))
		}
		out.Series = append(out.Series, r)
	}
	data, err := json.Marshal(out)
	if err != nil { // finite numbers and strings: cannot happen
		data = []byte("null")
	}
	return figureView{Name: d.name, Title: d.title, Note: d.note, Wide: d.wide, SVG: trusted(d.svg), Data: template.JS(data)}
}

func (s scale) readout() readoutScale { return readoutScale{s.lo, s.hi, s.log} }

// finite is x, or a dash where there is no number.
func finite(format string, x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "–"
	}
	return fmt.Sprintf(format, x)
}
