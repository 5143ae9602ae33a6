//go:build cuda

package cuda

import (
	"cambium/src/backend"
)

type maskArgs struct {
	old             int32
	v, sum, divisor float32
}

func mask(m backend.NormMask, cols int) maskArgs {
	if m == (backend.NormMask{}) {
		return maskArgs{int32(cols), 1, float32(cols), float32(cols)}
	}
	return maskArgs{int32(m.Old), m.V, float32(m.Old) + m.V*float32(cols-m.Old), m.Divisor}
}

type normForwardArgs struct {
	x, y, residual, delta view
	gain, bias            uintptr
	mean, rstd            uintptr
	scale, eps            float32
	rms                   int32
	mask                  maskArgs
}

func (s *stream) NormForward(n backend.Norm) {
	a := normForwardArgs{
		x: of(n.X), y: of(n.Y), residual: of(n.Residual), delta: of(n.Delta), gain: address(n.Gain), bias: address(n.Bias),
		mean: address(n.Mean), rstd: address(n.RStd), scale: n.DeltaScale, eps: n.Eps, rms: boolean(n.RMS), mask: mask(n.Mask, n.X.Cols()),
	}
	if a.scale == 0 {
		a.scale = 1
	}
	enqueue(s, "norm", "norm_forward_"+suffix(n.X.DType()), dim{uint32(n.X.Rows()), 1, 1}, dim{blockThreads(n.X.Cols()), 1, 1}, 0, &a)
}

type normBackwardArgs struct {
	x, dy, dx, residual view
	gain, mean, rstd    uintptr
	rms                 int32
	mask                maskArgs
}

type normParametersArgs struct {
	x, dy                  view
	mean, rstd, gain, bias uintptr
	rms                    int32
	mask                   maskArgs
}

// NormBackward makes the gradients of gain and bias first: DX may lie over DY.
func (s *stream) NormBackward(n backend.NormGrad) {
	rows, cols, t := n.X.Rows(), n.X.Cols(), suffix(n.X.DType())
	parts := s.columnParts(rows, cols, 2)
	p := normParametersArgs{
		x: of(n.X), dy: of(n.DY), mean: address(n.Mean), rstd: address(n.RStd), gain: s.workspace.Device, rms: boolean(n.RMS),
		mask: mask(n.Mask, cols),
	}
	if n.DBias.Present() {
		p.bias = p.gain + uintptr(4*parts*cols)
	}
	enqueue(s, "norm gradient", "norm_parameters_"+t, dim{uint32(ceilDiv(cols, 32)), uint32(parts), 1}, dim{32, 8, 1}, 0, &p)
	s.addParts("norm gradient", p.gain, address(n.DGain), parts, cols, true)
	if n.DBias.Present() {
		s.addParts("norm gradient", p.bias, address(n.DBias), parts, cols, true)
	}
	a := normBackwardArgs{
		x: of(n.X), dy: of(n.DY), dx: of(n.DX), residual: of(n.DResidual), gain: address(n.Gain), mean: address(n.Mean),
		rstd: address(n.RStd), rms: boolean(n.RMS), mask: mask(n.Mask, cols),
	}
	enqueue(s, "norm gradient", "norm_backward_"+t, dim{uint32(rows), 1, 1}, dim{blockThreads(cols), 1, 1}, 0, &a)
}
