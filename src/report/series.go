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

// smooth is the exponential moving average over about span points, without the bias of its beginning.
func smooth(p points, span float64) points {
	keep := 1 - 1/math.Max(span, 1)
	out := make(points, len(p))
	sum, weight := 0.0, 0.0
	for i, q := range p {
		sum = sum*keep + q.Y
		weight = weight*keep + 1
		out[i] = plotter.XY{X: q.X, Y: sum / weight}
	}
	return out
}

// spanOf smooths a long run more than a short one.
func spanOf(n int) float64 { return min(max(float64(n)/60, 1), 200) }

// thin keeps the lowest and the highest point of each of so many columns, which look like all points do. Columns are
// equal on the axis: logarithmic or not.
func thin(p points, columns int, logX bool) points {
	if len(p) <= 2*columns {
		return p
	}
	at := func(i int) float64 {
		if logX {
			return math.Log(p[i].X)
		}
		return p[i].X
	}
	lo, width := at(0), at(len(p)-1)-at(0)
	out := points{p[0]}
	for i := 1; i < len(p)-1; {
		column := math.Floor((at(i) - lo) / width * float64(columns))
		low, high := i, i
		for ; i < len(p)-1 && math.Floor((at(i)-lo)/width*float64(columns)) <= column; i++ {
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
