package conformance

import (
	"math"
	"math/rand/v2"
	"testing"

	"cambium/src/tensor"
)

// slope is the derivative of f with respect to *x, by central differences.
func slope(x *float64, f func() float64) float64 {
	const h = 1e-5
	at := *x
	*x = at + h
	up := f()
	*x = at - h
	down := f()
	*x = at
	return (up - down) / (2 * h)
}

// sameSlopes checks an analytic gradient of f with respect to x.
func sameSlopes(t *testing.T, name string, x, grad []float64, f func() float64) {
	t.Helper()
	want := make([]float64, len(x))
	for i := range x {
		want[i] = slope(&x[i], f)
	}
	if err := compare(grad, want, 1e-7, 1e-2); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

func random(rng *rand.Rand, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = rng.NormFloat64()
	}
	return v
}

func TestNormReferenceGradientIsTheSlope(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const n = 7
	for _, v := range []float64{0.3, 1} {
		for _, divisor := range []float64{n, 5 + v*2} {
			for _, rms := range []bool{false, true} {
				c := normCase{old: 5, v: v, divisor: divisor, eps: 1e-2, rms: rms}
				x, dy, gain, bias := random(rng, n), random(rng, n), random(rng, n), random(rng, n)
				f := func() float64 { y, _, _ := norm(c, x, gain, bias); return dot(y, dy) }
				dx, dgain, dbias := normGrad(c, x, dy, gain)
				sameSlopes(t, "dx", x, dx, f)
				sameSlopes(t, "dgain", gain, dgain, f)
				sameSlopes(t, "dbias", bias, dbias, f)
			}
		}
	}
}

func TestAttentionReferenceGradientIsTheSlope(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	c := attentionCase{batch: 2, seq: 4, heads: 4, groups: 2, dim: 3, scale: 0.6, headScale: []float64{1, 0.3, 0.5, 1}}
	n := c.batch * c.seq * c.dim
	q, k, v, do := random(rng, n*c.heads), random(rng, n*c.groups), random(rng, n*c.groups), random(rng, n*c.heads)
	f := func() float64 { o, _ := attention(c, q, k, v); return dot(o, do) }
	o, _ := attention(c, q, k, v)
	dq, dk, dv := attentionGrad(c, q, k, v, do, o)
	sameSlopes(t, "dq", q, dq, f)
	sameSlopes(t, "dk", k, dk, f)
	sameSlopes(t, "dv", v, dv, f)
}

func TestCrossEntropyReferenceGradientIsTheSlope(t *testing.T) {
	z := random(rand.New(rand.NewPCG(5, 6)), 9)
	_, grad := crossEntropy(z, 4)
	sameSlopes(t, "logits", z, grad, func() float64 { l, _ := crossEntropy(z, 4); return l })
}

func TestActivationReferenceGradientsAreTheSlopes(t *testing.T) {
	for _, z := range []float64{-6, -2, -0.3, 0, 0.1, 1, 5} {
		if d := slope(&z, func() float64 { return gelu(z) }) - geluGrad(z); math.Abs(d) > 1e-8 {
			t.Errorf("gelu'(%v) is off by %v", z, d)
		}
		if d := slope(&z, func() float64 { return silu(z) }) - siluGrad(z); math.Abs(d) > 1e-8 {
			t.Errorf("silu'(%v) is off by %v", z, d)
		}
	}
}

// TestInverseRotationIsTheAdjoint: <R x, y> = <x, R^T y>, also with tables that do not just turn (xPos).
func TestInverseRotationIsTheAdjoint(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	x, y, cos, sin := random(rng, 10), random(rng, 10), random(rng, 5), random(rng, 5)
	a, b := dot(rotate(x, cos, sin, 1), y), dot(x, rotate(y, cos, sin, -1))
	if math.Abs(a-b) > 1e-12 {
		t.Errorf("<R x, y> = %v, <x, R^T y> = %v", a, b)
	}
}

func TestComparisonSeesWhatIsWrong(t *testing.T) {
	want := []float64{1, -2, 3, math.Inf(1), math.NaN()}
	if err := compare([]float64{1, -2, 3, math.Inf(1), math.NaN()}, want, 0, 0); err != nil {
		t.Error(err)
	}
	for i, bad := range []float64{1.001, math.NaN(), math.Inf(1), math.Inf(-1), 0} {
		got := append([]float64(nil), want...)
		got[i] = bad
		if compare(got, want, 1e-4, 0) == nil {
			t.Errorf("element %d: %v passed for %v", i, bad, want[i])
		}
	}
}

func TestRoundingIsToNearestEven(t *testing.T) {
	for _, c := range []struct {
		v    float64
		d    tensor.DType
		want float64
	}{
		{1 + 1.0/256, tensor.BF16, 1}, {1 + 3.0/256, tensor.BF16, 1 + 4.0/256}, {1 + 1.1/256, tensor.BF16, 1 + 2.0/256},
		{-1 - 1.0/256, tensor.BF16, -1}, {0x1.fffffep127, tensor.BF16, math.Inf(1)}, {0x1.fdp127, tensor.BF16, 0x1.fcp127},
		{1 + 1.0/2048, tensor.F16, 1}, {1 + 3.0/2048, tensor.F16, 1 + 2.0/1024}, {65519, tensor.F16, 65504}, {65520, tensor.F16, math.Inf(1)},
		{0x1p-25, tensor.F16, 0}, {0x1.8p-24, tensor.F16, 0x1p-23},
	} {
		if got := rounded(c.v, c.d); got != c.want {
			t.Errorf("%v in %v is %v, want %v", c.v, c.d, got, c.want)
		}
	}
}
