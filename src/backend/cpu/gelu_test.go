package cpu

import (
	"math"
	"testing"
	"unsafe"
)

func TestGELUAgreesWithFloat64(t *testing.T) {
	var z []float32
	for v := -12.0; v < 12; v += 0.00173 {
		z = append(z, float32(v))
	}
	z = append(z, 0, 1e-20, -1e-20, 1e-40, 50, -50, 1e6, -1e6)
	n := len(z)
	for l := range levelNames {
		if !hasLevel(level(l)) {
			continue
		}
		c, pre, grad := make([]float32, n+3), make([]float32, n), make([]float32, n)
		ones := make([]float32, n)
		for i := range ones {
			ones[i] = 1
		}
		at := func(x []float32) unsafe.Pointer { return unsafe.Pointer(&x[0]) }
		level(l).geluTile(at(c), at(z), at(pre), 0, 0, 0, 1, n)
		level(l).geluGradTile(at(grad), at(ones), at(z), 0, 0, 0, 1, n)
		worst, worstGrad := 0.0, 0.0
		for i, v := range z {
			x := float64(v)
			if pre[i] != v {
				t.Fatalf("%v: pre[%d] = %v, want %v", level(l), i, pre[i], v)
			}
			worst = max(worst, math.Abs(float64(c[i])-x*gelu64(x))/max(1, math.Abs(x)))
			worstGrad = max(worstGrad, math.Abs(float64(grad[i])-geluGrad64(x)))
		}
		t.Logf("%v: gelu within %.2g, gradient within %.2g", level(l), worst, worstGrad)
		if !(worst < 2e-7 && worstGrad < 3.6e-7) {
			t.Errorf("%v: gelu off by %v, gradient by %v", level(l), worst, worstGrad)
		}
		if c[n] != 0 || c[n+2] != 0 {
			t.Errorf("%v: wrote beyond the end", level(l))
		}
		c[0], c[1] = float32(math.NaN()), 2
		level(l).geluTile(at(c), at(c), nil, 0, 0, 0, 1, 2)
		if !math.IsNaN(float64(c[0])) || math.Abs(float64(c[1])-2*gelu64(2)) > 3e-7 {
			t.Errorf("%v: gelu(NaN, 2) in place = %v", level(l), c[:2])
		}
	}
}
