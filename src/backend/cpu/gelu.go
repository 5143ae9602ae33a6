package cpu

import (
	"math"
	"unsafe"
)

const (
	geluScale = 0.7978845608028654 // sqrt(2/pi)
	geluCubic = 0.044715
)

// gelu is 0.5 z (1 + tanh(u)), u = sqrt(2/pi) (z + 0.044715 z^3) (arXiv 1606.08415).
func gelu(z float32) float32 {
	x := float64(z)
	return float32(0.5 * x * (1 + math.Tanh(geluScale*(x+geluCubic*x*x*x))))
}

// geluGrad is gelu'(z) = 0.5 (1 + tanh u) + 0.5 z (1 - tanh(u)^2) u'.
func geluGrad(z float32) float32 {
	x := float64(z)
	t := math.Tanh(geluScale * (x + geluCubic*x*x*x))
	return float32(0.5*(1+t) + 0.5*x*(1-t*t)*geluScale*(1+3*geluCubic*x*x))
}

// geluRowGo is c = gelu(z) for n elements, and pre = z when pre is not nil.
func geluRowGo(c, z, pre unsafe.Pointer, n int) {
	cs, zs := unsafe.Slice((*float32)(c), n), unsafe.Slice((*float32)(z), n)
	for j, v := range zs {
		if pre != nil {
			unsafe.Slice((*float32)(pre), n)[j] = v
		}
		cs[j] = gelu(v)
	}
}

// geluGradRowGo is c = z gelu'(pre) for n elements.
func geluGradRowGo(c, z, pre unsafe.Pointer, n int) {
	cs, zs, ps := unsafe.Slice((*float32)(c), n), unsafe.Slice((*float32)(z), n), unsafe.Slice((*float32)(pre), n)
	for j, v := range zs {
		cs[j] = v * geluGrad(ps[j])
	}
}
