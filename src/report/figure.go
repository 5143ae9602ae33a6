package report

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"math"
	"os"
	"strings"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// figure is one plot, before it is drawn.
type figure struct {
	name           string // of the PNG
	title          string
	xLabel, yLabel string
	note           string
	wide           bool
	keyLeft        bool // where the legend stands: else right
	keyBelow       bool // else above
	x, y           scale
	bands          []band
	series         []series
}

// scale is an axis.
type scale struct {
	log    bool
	lo, hi float64
	label  func(float64) string
	at     []float64 // where the ticks are; nil: at round numbers
}

// band is a growth stage: a region with a name at its top.
type band struct {
	from, to float64
	name     string
	ink      ink
}

// series is a line or a set of dots.
type series struct {
	name   string // in the readout; empty: not there
	key    string // in the legend; empty: not there
	ink    ink
	alpha  float64
	width  float64
	dots   bool
	dashed bool
	p      points
	low    points // with high: a region around the line, or a bar at each dot
	high   points
}

// drawing is a figure as SVG, with what the readout needs.
type drawing struct {
	figure
	svg  string
	area [4]float64 // of the data, in the SVG's units: left, top, right, bottom
}

func (f *figure) size() (w, h vg.Length) {
	if f.wide {
		return 960, 380
	}
	return 470, 290
}

// draw makes the SVG.
func (f *figure) draw() (drawing, error) {
	p := f.plot()
	w, h := f.size()
	c := vgsvg.New(w, h)
	canvas := draw.New(c)
	p.Draw(canvas)
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return drawing{}, fmt.Errorf("report: %s: %w", f.name, err)
	}
	data := p.DataCanvas(canvas)
	d := drawing{figure: *f, svg: inline(b.String(), f.title)}
	d.area = [4]float64{data.Min.X.Points(), (h - data.Max.Y).Points(), data.Max.X.Points(), (h - data.Min.Y).Points()}
	return d, nil
}

// inline makes an SVG file a part of a page: no prologue, no size of its own, a name for those who cannot see it.
func inline(svg, title string) string {
	svg = svg[strings.Index(svg, "<svg"):]
	head, body, _ := strings.Cut(svg, ">")
	box := head[strings.Index(head, "viewBox"):]
	box = box[:strings.Index(box[9:], `"`)+10]
	return themed(fmt.Sprintf(`<svg %s role="img" aria-label="%s">`, box, html.EscapeString(title)) + body)
}

// onPaper is the plot in the light theme, with its title.
func (f *figure) onPaper() *plot.Plot {
	p := f.plot()
	p.BackgroundColor = paper().light
	p.Title.Text = f.title
	return p
}

// svgFile writes the plot as a file of its own.
func (f *figure) svgFile(path string) error {
	w, h := f.size()
	c := vgsvg.New(w, h)
	canvas := draw.New(c)
	canvas.FillPolygon(paper().light, []vg.Point{{}, {X: w}, {X: w, Y: h}, {Y: h}})
	f.onPaper().Draw(draw.Crop(canvas, 8, -12, 8, -8))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return fmt.Errorf("report: %s: %w", f.name, err)
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// png writes the plot as a picture.
func (f *figure) png(path string) error {
	p := f.onPaper()
	w, h := f.size()
	c := vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(144), vgimg.UseBackgroundColor(paper().light))
	p.Draw(draw.Crop(draw.New(c), 8, -12, 8, -8))
	var b bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: c}).WriteTo(&b); err != nil {
		return fmt.Errorf("report: %s: %w", f.name, err)
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func (f *figure) plot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.Transparent
	style := func(size vg.Length, k ink, bold bool) text.Style {
		s := p.X.Label.TextStyle
		s.Color = k.light
		s.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
		if bold {
			s.Font.Weight = xfont.WeightBold
		}
		return s
	}
	p.Title.TextStyle = with(p.Title.TextStyle, style(13, strong(), true))
	p.Title.Padding = 10
	for _, a := range []struct {
		axis  *plot.Axis
		scale *scale
		label string
		ticks int
	}{{&p.X, &f.x, f.xLabel, 6}, {&p.Y, &f.y, f.yLabel, 5}} {
		a.scale.widen()
		a.axis.Min, a.axis.Max = a.scale.lo, a.scale.hi
		a.axis.Label.Text = a.label
		a.axis.Label.TextStyle = with(a.axis.Label.TextStyle, style(11, muted(), false))
		a.axis.Label.Padding = 4
		a.axis.Tick.Label = with(a.axis.Tick.Label, style(11, muted(), false))
		a.axis.Tick.Length = 4
		a.axis.Tick.LineStyle = draw.LineStyle{Color: axis().light, Width: 0.75}
		a.axis.LineStyle = draw.LineStyle{Color: axis().light, Width: 0.75}
		a.axis.Padding = 0
		a.axis.Tick.Marker = linearTicks(a.ticks, a.scale.label)
		if a.scale.log {
			a.axis.Scale = plot.LogScale{}
			a.axis.Tick.Marker = logTicks(a.scale.label)
		}
		if a.scale.at != nil {
			a.axis.Tick.Marker = ticksAt(a.scale.at, a.scale.label)
		}
	}
	p.Y.LineStyle.Width, p.Y.Tick.Length = 0, 0
	gridLines := plotter.NewGrid()
	gridLines.Vertical = draw.LineStyle{}
	gridLines.Horizontal = draw.LineStyle{Color: grid().light, Width: 0.75}
	p.Add(gridLines, bandPlotter{f.bands, style(11, strong(), true)})
	p.Legend.Top, p.Legend.YOffs, p.Legend.XOffs, p.Legend.Padding = true, -20, -6, 3
	if f.keyLeft {
		p.Legend.Left, p.Legend.XOffs, p.Legend.YOffs = true, 6, -6
	}
	if f.keyBelow {
		p.Legend.Top, p.Legend.YOffs = false, 6
	}
	p.Legend.TextStyle = with(p.Legend.TextStyle, style(11, muted(), false))
	p.Legend.ThumbnailWidth = 18
	for _, s := range f.series {
		p.Add(seriesPlotter{s})
		if s.key != "" {
			p.Legend.Add(s.key, seriesPlotter{s})
		}
	}
	return p
}

// with is the new style at the old one's place.
func with(old, style text.Style) text.Style {
	style.XAlign, style.YAlign, style.Rotation = old.XAlign, old.YAlign, old.Rotation
	return style
}

// widen makes an axis that can be drawn of one that has a single value, or none.
func (s *scale) widen() {
	unknown := math.IsNaN(s.lo) || math.IsNaN(s.hi) || math.IsInf(s.lo, 0) || math.IsInf(s.hi, 0) || s.lo > s.hi
	if unknown || s.log && s.hi <= 0 {
		s.lo, s.hi = 0, 1
		if s.log {
			s.lo, s.hi = 1, 10
		}
	}
	if s.log && s.lo <= 0 {
		s.lo = s.hi / 1000
	}
	if s.hi > s.lo {
		return
	}
	if s.log {
		s.lo, s.hi = s.lo/2, s.hi*2
		return
	}
	by := math.Max(math.Abs(s.lo)*0.1, 1e-12)
	s.lo, s.hi = s.lo-by, s.hi+by
}

// bandPlotter draws growth stages: a tint, a line where one begins, its name at the top if there is room.
type bandPlotter struct {
	bands []band
	style text.Style
}

func (b bandPlotter) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	for i, band := range b.bands {
		lo, hi := x(math.Max(band.from, p.X.Min)), x(math.Max(p.X.Min, math.Min(band.to, p.X.Max)))
		if hi <= lo {
			continue
		}
		c.FillPolygon(band.ink.faint(0.07), []vg.Point{{X: lo, Y: c.Min.Y}, {X: hi, Y: c.Min.Y}, {X: hi, Y: c.Max.Y}, {X: lo, Y: c.Max.Y}})
		if i > 0 {
			c.StrokeLine2(draw.LineStyle{Color: band.ink.light, Width: 1, Dashes: []vg.Length{4, 3}}, lo, c.Min.Y, lo, c.Max.Y)
		}
		sty := b.style
		sty.Color, sty.XAlign, sty.YAlign = band.ink.light, text.XCenter, text.YTop
		if room := hi - lo - 12; band.name != "" && sty.Width(band.name) < room {
			c.FillText(sty, vg.Point{X: (lo + hi) / 2, Y: c.Max.Y - 5}, band.name)
		}
	}
}

type seriesPlotter struct{ series }

func (s seriesPlotter) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	at := func(ps points) []vg.Point {
		out := make([]vg.Point, 0, len(ps))
		for _, q := range ps {
			if (q.X > 0 || p.X.Min <= 0) && (q.Y > 0 || p.Y.Min <= 0) { // a logarithmic axis begins above 0
				out = append(out, vg.Point{X: x(q.X), Y: y(q.Y)})
			}
		}
		return out
	}
	if len(s.low) > 0 && s.dots {
		low, high := at(s.low), at(s.high)
		for i := range min(len(low), len(high)) {
			c.StrokeLines(draw.LineStyle{Color: s.ink.faint(0.6), Width: 1.5}, c.ClipLinesXY([]vg.Point{low[i], high[i]})...)
		}
	} else if len(s.low) > 0 {
		edge := at(s.high)
		low := at(s.low)
		for i := len(low) - 1; i >= 0; i-- {
			edge = append(edge, low[i])
		}
		c.FillPolygon(s.ink.faint(0.15), c.ClipPolygonXY(edge))
	}
	ink := s.ink.light
	if s.alpha > 0 {
		ink = s.ink.faint(s.alpha)
	}
	dots := at(s.p)
	if !s.dots && len(dots) > 1 {
		if s.width > 0 {
			c.StrokeLines(s.style(ink), c.ClipLinesXY(dots)...)
		}
		return
	}
	for _, q := range dots { // a line of one point is a dot, too
		if c.Contains(q) {
			dot(c, q, 4.2, paper().light)
			dot(c, q, 3, ink)
		}
	}
}

// Thumbnail draws the sample in a legend.
func (s seriesPlotter) Thumbnail(c *draw.Canvas) {
	y := c.Center().Y
	if s.dots {
		dot(*c, vg.Point{X: c.Max.X - 5, Y: y}, 3, s.ink.light)
		return
	}
	c.StrokeLine2(s.style(s.ink.light), c.Min.X, y, c.Max.X, y)
}

func (s series) style(k color.Color) draw.LineStyle {
	l := draw.LineStyle{Color: k, Width: vg.Length(s.width)}
	if s.dashed {
		l.Dashes = []vg.Length{5, 4}
	}
	return l
}

func dot(c draw.Canvas, at vg.Point, radius vg.Length, k color.Color) {
	var path vg.Path
	path.Move(vg.Point{X: at.X + radius, Y: at.Y})
	path.Arc(at, radius, 0, 2*math.Pi)
	path.Close()
	c.SetColor(k)
	c.Fill(path)
}
