package model

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// norm is LayerNorm or RMSNorm with the residual addition before it and the growth mask inside it: backend.Norm.
type norm struct {
	d           *dims
	ramp        *ramp
	gain, shift pair
}

func newNorm(d *dims, r *ramp, p *Params, gain, shift string) norm {
	return norm{d: d, ramp: r, gain: p.named(gain), shift: p.named(shift)}
}

// forward writes x = in.X + in.Scale in.Delta and y = norm(x). Without Delta, in.X must be x itself.
func (n *norm) forward(s backend.Stream, in Residual, x, y, mean, rstd tensor.Tensor) {
	op := backend.Norm{X: x, Y: y, Gain: n.gain.w, Bias: n.shift.w, Mean: mean, RStd: rstd, Eps: n.d.eps, RMS: n.d.rms,
		Mask: n.ramp.norm}
	if in.Delta.Present() {
		op.Residual, op.Delta, op.DeltaScale = in.X, in.Delta, in.Scale
	}
	s.NormForward(op)
}

// backward writes dx = residual + dnorm(x)^T dy, and the gradients of gain and shift, or adds them. residual may be dx or absent.
func (n *norm) backward(s backend.Stream, x, dy, dx, residual, mean, rstd tensor.Tensor, add bool) {
	s.NormBackward(backend.NormGrad{X: x, DY: dy, DX: dx, DResidual: residual, Gain: n.gain.w, Mean: mean, RStd: rstd,
		DGain: n.gain.g, DBias: n.shift.g, Overwrite: !add, RMS: n.d.rms, Mask: n.ramp.norm})
}
