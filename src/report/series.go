package report

import (
	"math"
	"slices"

	"gonum.org/v1/plot/plotter"
)

// points are finite and ordered by X.
type points = plotter.XYs

// add leaves out what cannot be drawn.
func add(p points, x, y float64) points {
	if math.IsNaN(x) || math.IsInf(x, 0) || math.IsNaN(y) || math.IsInf(y, 0) {
		return p
	}
	return append(p, plotter.XY{X: x, Y: y})
}

// smooth fits a line to the neighbours of a point, up to so many on each side, and takes its value there: unlike a
// moving average it neither lags behind nor bends at the ends. Early points have few neighbours, since losses fall steeply there:
// the reach grows with the place, from 0 at the start, unless settled is true. It gives one point in each of so many columns.
func smooth(p points, reach int, settled bool, columns int, logX bool) points {
	var out points
	for _, i := range oneIn(p, columns, logX) {
		h := reach
		if !settled {
			h = min(h, i/12)
		}
		out = append(out, plotter.XY{X: p[i].X, Y: fitAt(p[max(i-h, 0):min(i+h+1, len(p))], p[i].X)})
	}
	return out
}

// oneIn are the places of the first point in each of so many columns, and of the last of all.
func oneIn(p points, columns int, logX bool) []int {
	var out []int
	last := math.NaN()
	column := columnsOf(p, columns, logX)
	for i := range p {
		if c := column(i); c != last || i == len(p)-1 {
			out, last = append(out, i), c
		}
	}
	return out
}

// columnsOf tells in which of so many equal parts of the axis a point lies.
func columnsOf(p points, columns int, logX bool) func(i int) float64 {
	at := func(i int) float64 {
		if logX {
			return math.Log(p[i].X)
		}
		return p[i].X
	}
	if len(p) == 0 {
		return nil
	}
	lo, width := at(0), at(len(p)-1)-at(0)
	if width == 0 {
		return func(int) float64 { return 0 }
	}
	return func(i int) float64 { return math.Floor((at(i) - lo) / width * float64(columns)) }
}

// fitAt is the value at x of the least-squares line through p.
func fitAt(p points, x float64) float64 {
	n := float64(len(p))
	mx, my, sxx, sxy := 0.0, 0.0, 0.0, 0.0
	for _, q := range p {
		mx, my = mx+q.X/n, my+q.Y/n
	}
	for _, q := range p {
		sxx += (q.X - mx) * (q.X - mx)
		sxy += (q.X - mx) * (q.Y - my)
	}
	if sxx == 0 {
		return my
	}
	return my + sxy/sxx*(x-mx)
}

// reachOf smooths a long run more than a short one.
func reachOf(n int) int { return min(n/30, 200) }

// thin keeps the lowest and the highest point of each of so many columns, which look like all points do. Columns are
// equal on the axis: logarithmic or not.
func thin(p points, columns int, logX bool) points {
	if len(p) <= 2*columns {
		return p
	}
	out := points{p[0]}
	column := columnsOf(p, columns, logX)
	for i := 1; i < len(p)-1; {
		here, low, high := column(i), i, i
		for ; i < len(p)-1 && column(i) <= here; i++ {
			if p[i].Y < p[low].Y {
				low = i
			}
			if p[i].Y > p[high].Y {
				high = i
			}
		}
		out = append(out, p[min(low, high)])
		if low != high {
			out = append(out, p[max(low, high)])
		}
	}
	return append(out, p[len(p)-1])
}

// between is the part of p with lo <= X <= hi.
func between(p points, lo, hi float64) points {
	from, _ := slices.BinarySearchFunc(p, lo, func(q plotter.XY, x float64) int { return compare(q.X, x) })
	to := from
	for to < len(p) && p[to].X <= hi {
		to++
	}
	return p[from:to]
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// interpolate is the value at x of the line through p; it is the end's beyond an end.
func interpolate(p points, x float64) float64 {
	i, found := slices.BinarySearchFunc(p, x, func(q plotter.XY, x float64) int { return compare(q.X, x) })
	switch {
	case len(p) == 0:
		return math.NaN()
	case found, i == 0:
		return p[i].Y
	case i == len(p):
		return p[i-1].Y
	}
	a, b := p[i-1], p[i]
	return a.Y + (b.Y-a.Y)*(x-a.X)/(b.X-a.X)
}

// quantile is the value below which a part q of the points lies.
func quantile(p points, q float64) float64 {
	if len(p) == 0 {
		return math.NaN()
	}
	y := make([]float64, len(p))
	for i := range p {
		y[i] = p[i].Y
	}
	slices.Sort(y)
	return y[min(int(q*float64(len(y))), len(y)-1)]
}
