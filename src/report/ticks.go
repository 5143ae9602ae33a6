package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// si is 950, 1.5k, 20M, 3T, 12P, 4E: what axes of tokens and operations say.
func si(x float64) string {
	units := []string{"", "k", "M", "G", "T", "P", "E", "Z", "Y"}
	i := 0
	for math.Abs(x) >= 999.9995 && i < len(units)-1 {
		x, i = x/1000, i+1
	}
	if i == 0 && math.Abs(x) < 1 {
		return small(x)
	}
	return strconv.FormatFloat(x, 'g', 4, 64) + units[i]
}

// siUnit is "127 TFLOP", to three digits.
func siUnit(x float64, unit string) string {
	text := si(round3(x))
	if last := text[len(text)-1]; last > '9' {
		return text[:len(text)-1] + " " + text[len(text)-1:] + unit
	}
	return text + " " + unit
}

// tokens is si with B for 10^9, as people count tokens and parameters.
func tokens(x float64) string { return strings.Replace(si(x), "G", "B", 1) }

// small writes numbers below 1 without a heap of zeros.
func small(x float64) string {
	if x == 0 {
		return "0"
	}
	if math.Abs(x) < 0.001 {
		text := strconv.FormatFloat(x, 'e', 2, 64)
		mantissa, exponent, _ := strings.Cut(text, "e")
		n, _ := strconv.Atoi(exponent)
		return strings.TrimRight(strings.TrimRight(mantissa, "0"), ".") + "e" + strconv.Itoa(n)
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

// linearTicks are about n round numbers.
func linearTicks(n int, label func(float64) string) plot.Ticker {
	return plot.TickerFunc(func(lo, hi float64) []plot.Tick {
		step := roundStep((hi - lo) / float64(n))
		var ticks []plot.Tick
		for k := math.Ceil(lo/step - 1e-9); k*step <= hi+step*1e-9; k++ {
			x := k * step
			if math.Abs(x) < step*1e-9 {
				x = 0
			}
			ticks = append(ticks, plot.Tick{Value: x, Label: label(x)})
		}
		return ticks
	})
}

// ticksAt are ticks at given places.
func ticksAt(places []float64, label func(float64) string) plot.Ticker {
	return plot.TickerFunc(func(lo, hi float64) []plot.Tick {
		var ticks []plot.Tick
		for _, x := range places {
			if x >= lo && x <= hi {
				ticks = append(ticks, plot.Tick{Value: x, Label: label(x)})
			}
		}
		return ticks
	})
}

// roundStep is the smallest of 1, 2, 2.5 and 5 times a power of ten that is not below x.
func roundStep(x float64) float64 {
	if x <= 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*power >= x*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// logTicks labels powers of ten, and where there are few, 2 and 5 times them.
func logTicks(label func(float64) string) plot.Ticker {
	return plot.TickerFunc(func(lo, hi float64) []plot.Tick {
		decades := math.Log10(hi / lo)
		labelled := map[float64]bool{1: true}
		if decades < 2.5 {
			labelled[2], labelled[5] = true, true
		}
		if decades < 0.7 {
			for m := 1.0; m < 10; m++ {
				labelled[m] = true
			}
		}
		every := math.Max(1, math.Ceil(decades/8))
		var ticks []plot.Tick
		for e := math.Floor(math.Log10(lo)); e <= math.Ceil(math.Log10(hi)); e++ {
			for m := 1.0; m < 10; m++ {
				x := m * math.Pow(10, e)
				if x < lo*(1-1e-9) || x > hi*(1+1e-9) {
					continue
				}
				t := plot.Tick{Value: x}
				if labelled[m] && math.Mod(e, every) == 0 {
					t.Label = label(x)
				}
				ticks = append(ticks, t)
			}
		}
		return ticks
	})
}

// digits is a label with as many digits as any value needs, and no more than six.
func digits(x float64) string {
	if math.Abs(x) >= 1000 || x != 0 && math.Abs(x) < 0.001 {
		return si(x)
	}
	return strconv.FormatFloat(math.Round(x*1e6)/1e6, 'g', 6, 64)
}

// duration is 850 ms, 12.3 s, 4 min 05 s or 3 h 12 min.
func duration(seconds float64) string {
	switch {
	case math.IsNaN(seconds) || math.IsInf(seconds, 0):
		return "–"
	case seconds < 0.9995:
		return fmt.Sprintf("%.3g ms", seconds*1000)
	case seconds < 59.95:
		return fmt.Sprintf("%.3g s", seconds)
	case seconds < 3599.5:
		s := int(seconds + 0.5)
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	}
	m := int(seconds/60 + 0.5)
	return fmt.Sprintf("%d h %02d min", m/60, m%60)
}
