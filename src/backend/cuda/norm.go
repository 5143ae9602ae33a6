//go:build cuda

package cuda

import (
	"fmt"
	"math"

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
	t, grid, block := suffix(n.X.DType()), dim{uint32(n.X.Rows()), 1, 1}, dim{blockThreads(n.X.Cols()), 1, 1}
	if packs, warps := normRows(n.X.DType().Size(), a.gain, a.bias, a.x, a.y, a.residual, a.delta); packs > 0 && warps <= 16 {
		rows := max(8/warps, 1) // a block's
		t = fmt.Sprintf("rows%d_%s", packs, t)
		grid, block = dim{uint32(ceilDiv(n.X.Rows(), rows)), 1, 1}, dim{uint32(32 * warps), uint32(rows), 1}
	}
	enqueue(s, "norm", "norm_forward_"+t, grid, block, 0, &a)
}

// normRows tells for a row of which a thread holds some packs of 16 bytes how many, and how many warps hold all of it: see
// cuda/norm/rows.cu. Lanes without work cost, and warps that have to wait for each other. packs is 0 when 16-byte accesses do not fit.
func normRows(size int, gain, bias uintptr, vs ...view) (packs, warps int) {
	if vector(size, vs...) == 0 || gain%16 != 0 || bias%16 != 0 {
		return 0, 0
	}
	whole, least := int(vs[0].cols)*size/16, math.MaxInt
	for p := 4; p > 0; p-- {
		w := ceilDiv(whole, 32*p)
		if cost := p * w * (20 + w); cost < least {
			packs, warps, least = p, w, cost
		}
	}
	return packs, warps
}

// normWarps are the warps of a block of the backward pass, by the packs that a thread holds: the bounds of cuda/norm/rows.cu.
// With a mask there are fewer.
func normWarps(packs int, masked bool) int {
	if masked {
		return [...]int{0, 28, 16, 12, 8}[packs]
	}
	return [...]int{0, 32, 20, 16, 12}[packs]
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
	packs, warps := normRows(n.X.DType().Size(), a.gain, 0, a.x, a.dy, a.dx, a.residual)
	masked, fit := int(a.mask.old) < cols, workspaceBytes/(4*cols*2)
	ahead := 2 * 3 * 16 * packs * 32 * warps // bytes of shared memory for a row's threads: two rows ahead of three tensors
	if packs == 0 || fit == 0 || warps > normWarps(packs, masked) || ahead > s.b.shared {
		s.normParameters(n) // first: DX may lie over DY
		enqueue(s, "norm gradient", "norm_backward_"+t, dim{uint32(rows), 1, 1}, dim{blockThreads(cols), 1, 1}, 0, &a)
		return
	}
	together := min(normWarps(packs, masked)/warps, s.b.shared/ahead) // rows
	if warps > 1 {
		together = min(together, 15) // each has a barrier of its own
	}
	parts := max(min(s.b.units, ceilDiv(rows, together), fit), 1)
	a.dgain = s.workspace.Device
	if n.DBias.Present() {
		a.dbias = a.dgain + uintptr(4*parts*cols)
	}
	form := "rows"
	if masked {
		form = "masked"
	}
	kernel := fmt.Sprintf("norm_backward_%s%d_%s", form, packs, t)
	enqueue(s, "norm gradient", kernel, dim{uint32(parts), 1, 1}, dim{uint32(32 * warps), uint32(together), 1}, uint32(ahead*together), &a)
	s.addNormParts(n, a.dgain, parts)
}

// normShared is the most dynamic shared memory that a block of the backward pass takes: with 48 packs for each of 32 lanes.
const normShared = 2 * 3 * 16 * 48 * 32

// normParameters makes the gradients of gain and bias alone.
func (s *stream) normParameters(n backend.NormGrad) {
	rows, cols := n.X.Rows(), n.X.Cols()
	parts := columnParts(rows, cols, 32, 2)
	p := normParametersArgs{
		x: of(n.X), dy: of(n.DY), mean: address(n.Mean), rstd: address(n.RStd), gain: s.workspace.Device, rms: boolean(n.RMS),
		mask: mask(n.Mask, cols),
	}
	if n.DBias.Present() {
		p.bias = p.gain + uintptr(4*parts*cols)
	}
	kernel := "norm_parameters_" + suffix(n.X.DType())
	enqueue(s, "norm gradient", kernel, dim{uint32(ceilDiv(cols, 32)), uint32(parts), 1}, dim{32, 8, 1}, 0, &p)
	s.addNormParts(n, p.gain, parts)
}

func (s *stream) addNormParts(n backend.NormGrad, partial uintptr, parts int) {
	s.addParts("norm gradient", addPartsArgs{
		partial: partial, out: address(n.DGain), second: address(n.DBias), parts: int32(parts), cols: int32(n.X.Cols()), accumulate: boolean(!n.Overwrite),
	})
}
