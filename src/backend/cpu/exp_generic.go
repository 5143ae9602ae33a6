package cpu

import "math"

// exp32 is exp(x) to within one unit of the last place of fp32: x = n ln 2 + r with |r| <= ln(2)/2, then 2^n times a
// polynomial of degree 6 in r (minimax, relative error 3e-9). Overflow gives +Inf, underflow 0, NaN stays NaN.
func exp32(x float32) float32 {
	switch {
	case x > 89:
		return float32(math.Inf(1))
	case x < -104:
		return 0
	case x != x:
		return x
	}
	t := float64(x)
	n := math.Floor(t*math.Log2E + 0.5)
	r := t - n*math.Ln2
	p := 1 + r*(1+r*(expC2+r*(expC3+r*(expC4+r*(expC5+r*expC6)))))
	return float32(p * math.Float64frombits(uint64(int64(n)+1023)<<52))
}

// The coefficients of exp on [-ln(2)/2, ln(2)/2], fitted for the least relative error with the first two fixed at 1.
const (
	expC2 = 0.4999999403953552
	expC3 = 0.1666652113199234
	expC4 = 0.04166838899254799
	expC5 = 0.0083687175065279
	expC6 = 0.0013814594130963087
)
