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
	t, threads := suffix(n.X.DType()), blockThreads(n.X.Cols())
	if form, fit := normRows(n.X.DType().Size(), a.gain, a.bias, a.x, a.y, a.residual, a.delta); form != "" {
		t, threads = form+t, fit
	}
	enqueue(s, "norm", "norm_forward_"+t, dim{uint32(n.X.Rows()), 1, 1}, dim{threads, 1, 1}, 0, &a)
}

// normRows chooses a kernel of cuda/norm/rows.cu, by how many elements of a row a thread holds, and the threads for it, or none.
func normRows(size int, gain, bias uintptr, vs ...view) (form string, threads uint32) {
	cols := int(vs[0].cols)
	if vector(size, vs...) == 0 || gain%16 != 0 || bias%16 != 0 {
		return "", 0
	}
	warps := func(elements int) int { return ceilDiv(cols, 32*elements) }
	switch {
	case warps(8) <= 8:
		return "rows8_", uint32(32 * warps(8))
	case warps(16) <= 16:
		return "rows16_", uint32(32 * warps(16))
	}
	return "", 0
}

type normBackwardArgs struct {
	x, dy, dx, residual view
	gain, mean, rstd    uintptr
	dgain, dbias        uintptr
	rms                 int32
	mask                maskArgs
}

type normParametersArgs struct {
	x, dy                  view
	mean, rstd, gain, bias uintptr
	rms                    int32
	mask                   maskArgs
}

func (s *stream) NormBackward(n backend.NormGrad) {
	rows, cols, t := n.X.Rows(), n.X.Cols(), suffix(n.X.DType())
	a := normBackwardArgs{
		x: of(n.X), dy: of(n.DY), dx: of(n.DX), residual: of(n.DResidual), gain: address(n.Gain), mean: address(n.Mean),
		rstd: address(n.RStd), rms: boolean(n.RMS), mask: mask(n.Mask, cols),
	}
	fit := workspaceBytes / (4 * cols * 2)
	form, threads := normRows(n.X.DType().Size(), a.gain, 0, a.x, a.dy, a.dx, a.residual)
	if form == "" || fit == 0 {
		s.normParameters(n) // first: DX may lie over DY
		enqueue(s, "norm gradient", "norm_backward_"+t, dim{uint32(rows), 1, 1}, dim{blockThreads(cols), 1, 1}, 0, &a)
		return
	}
	// Some rows a block, or the partial sums would be as much to write as dx.
	parts := max(min(2*s.b.units, ceilDiv(rows, 8), fit), 1)
	a.dgain = s.workspace.Device
	if n.DBias.Present() {
		a.dbias = a.dgain + uintptr(4*parts*cols)
	}
	enqueue(s, "norm gradient", "norm_backward_"+form+t, dim{uint32(parts), 1, 1}, dim{threads, 1, 1}, 0, &a)
	s.addNormParts(n, a.dgain, a.dbias, parts)
}

// normParameters makes the gradients of gain and bias alone.
func (s *stream) normParameters(n backend.NormGrad) {
	rows, cols := n.X.Rows(), n.X.Cols()
	parts := s.columnParts(rows, cols, 2)
	p := normParametersArgs{
		x: of(n.X), dy: of(n.DY), mean: address(n.Mean), rstd: address(n.RStd), gain: s.workspace.Device, rms: boolean(n.RMS),
		mask: mask(n.Mask, cols),
	}
	if n.DBias.Present() {
		p.bias = p.gain + uintptr(4*parts*cols)
	}
	kernel := "norm_parameters_" + suffix(n.X.DType())
	enqueue(s, "norm gradient", kernel, dim{uint32(ceilDiv(cols, 32)), uint32(parts), 1}, dim{32, 8, 1}, 0, &p)
	s.addNormParts(n, p.gain, p.bias, parts)
}

func (s *stream) addNormParts(n backend.NormGrad, gain, bias uintptr, parts int) {
	s.addParts("norm gradient", gain, address(n.DGain), parts, n.X.Cols(), true)
	if n.DBias.Present() {
		s.addParts("norm gradient", bias, address(n.DBias), parts, n.X.Cols(), true)
	}
}
