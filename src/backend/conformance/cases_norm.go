package conformance

import (
	"slices"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// normShapes: rows of one to four vectors for each lane of a warp, and more rows than there are partial sums of a gain's gradient.
var normShapes = []shape{
	{1, 2, 2}, {3, 7, 7}, {5, 16, 20}, {33, 65, 65}, {4, 192, 200}, {7, 768, 768}, {50, 512, 512}, {270, 40, 41}, {35, 1024, 1024},
}

// longRow has more elements than 8 a thread for a block of 256, and is not a multiple of what a block takes.
var longRow = shape{2, 2056, 2056}

// skips tells whether a shape has no need of a mask with a variant: of all shapes, large ones take every mask and every variant, small
// ones each mask with each variant.
func (l *lab) skips(s shape, mask, variant int) bool {
	return !l.short() && s.rows*s.cols > 8000 && (mask+variant)%4 != 0
}

// normMasks are masks that have arrived at v = 1 or hide nothing, no mask, and a mask at v = 0.3 with both divisors.
func normMasks(cols int) []backend.NormMask {
	old := max(1, cols*5/8)
	s := float32(old) + 0.3*float32(cols-old)
	return []backend.NormMask{
		{Old: old, V: 1, Divisor: float32(cols)}, {}, {Old: cols, V: 0.3, Divisor: float32(cols)},
		{Old: old, V: 0.3, Divisor: s}, {Old: old, V: 0.3, Divisor: float32(cols)},
	}
}

func normCaseOf(cols int, k backend.NormMask, eps float32, rms bool) normCase {
	c := normCase{old: k.Old, v: float64(k.V), divisor: float64(k.Divisor), eps: float64(eps), rms: rms}
	if k == (backend.NormMask{}) {
		c.old, c.v, c.divisor = cols, 1, float64(cols)
	}
	return c
}

func caseNormForward(l *lab) {
	for _, s := range append(some(l, normShapes), longRow) {
		for i, mask := range some(l, normMasks(s.cols)) {
			for _, rms := range []bool{false, true} {
				for variant := range 4 {
					if l.skips(s, i, variant) {
						continue
					}
					if l.normForward(s, mask, rms, variant); l.Failed() {
						l.Fatalf("shape %v mask %d rms %v variant %d", s, i, rms, variant)
					}
				}
			}
		}
	}
}

// normForward: variant 0 without Delta and without bias, 1 with Delta and a scale, 2 with Delta in Y and Residual in X
// and bias, 3 with bias and a large mean.
func (l *lab) normForward(s shape, mask backend.NormMask, rms bool, variant int) {
	const eps = 1e-3
	gain, rstd := l.inVec("gain", s.cols), l.outVec32("rstd", s.rows)
	a := backend.Norm{Gain: gain.view, RStd: rstd.view, Eps: eps, RMS: rms, Mask: mask}
	var mean *buf
	if !rms {
		mean = l.outVec32("mean", s.rows)
		a.Mean = mean.view
	}
	var bias *buf
	if variant >= 2 && !rms {
		bias = l.inVec("bias", s.cols)
		a.Bias = bias.view
	}
	var x, y *buf
	var input []float64
	switch variant {
	case 0:
		x, y = l.in("x", s.rows, s.cols, s.ld), l.out("y", s.rows, s.cols, s.cols)
		input = x.val
	case 1:
		res, delta := l.in("residual", s.rows, s.cols, s.cols+1), l.in("delta", s.rows, s.cols, s.cols)
		x, y = l.out("x", s.rows, s.cols, s.ld), l.out("y", s.rows, s.cols, s.cols)
		a.Residual, a.Delta, a.DeltaScale = res.view, delta.view, 0.3
		input = mapped(res.val, func(i int, v float64) float64 { return v + float64(float32(0.3))*delta.val[i] })
	case 2:
		x, y = l.inout("x", s.rows, s.cols, s.ld), l.inout("y", s.rows, s.cols, s.cols)
		a.Residual, a.Delta = x.view, y.view
		input = mapped(x.val, func(i int, v float64) float64 { return v + y.val[i] })
	case 3:
		val := mapped(l.normal(s.rows*s.cols, 1), func(_ int, v float64) float64 { return rounded(v+20, l.stored) })
		x, y = l.buffer("x", read, l.stored, s.rows, s.cols, s.ld, val), l.out("y", s.rows, s.cols, s.cols)
		input = x.val
	}
	a.X, a.Y = x.view, y.view
	l.run(func(st backend.Stream) { st.NormForward(a) })

	l.near(x, input, boundElementwise)
	if l.stored != tensor.F32 {
		input = x.got // the sum as it is stored is what is normed
	}
	c := normCaseOf(s.cols, mask, eps, rms)
	var wantY, wantMean, wantR, b []float64
	if bias != nil {
		b = bias.val
	}
	for i := range s.rows {
		row, mu, r := norm(c, input[i*s.cols:][:s.cols], gain.val, b)
		wantY, wantMean, wantR = append(wantY, row...), append(wantMean, mu), append(wantR, r)
	}
	bound := float64(boundNorm)
	if variant == 3 { // x - mu cancels: the input's own rounding is 20 times larger beside it, and r stretches what is left
		bound *= 10 * max(1, slices.Max(wantR))
	}
	l.near(y, wantY, bound)
	l.near(rstd, wantR, bound)
	if mean != nil {
		l.near(mean, wantMean, bound)
	}
}

func caseNormBackward(l *lab) {
	for _, s := range append(some(l, normShapes), longRow) {
		for i, mask := range some(l, normMasks(s.cols)) {
			for _, rms := range []bool{false, true} {
				for variant := range 4 {
					if l.skips(s, i, variant) {
						continue
					}
					if l.normBackward(s, mask, rms, variant); l.Failed() {
						l.Fatalf("shape %v mask %d rms %v variant %d", s, i, rms, variant)
					}
				}
			}
		}
	}
}

// normBackward: variant 0 plain, 1 with a residual gradient, 2 with it in DX, 3 with DY in DX. RMSNorm has no bias. 1 and 2 overwrite the
// gradients of gain and bias.
func (l *lab) normBackward(s shape, mask backend.NormMask, rms bool, variant int) {
	x, gain := l.in("x", s.rows, s.cols, s.ld), l.inVec("gain", s.cols)
	c := normCaseOf(s.cols, mask, 1e-3, rms)
	means, rstds := make([]float64, s.rows), make([]float64, s.rows)
	for i := range s.rows {
		_, mu, r := norm(c, x.val[i*s.cols:][:s.cols], gain.val, nil)
		means[i], rstds[i] = float64(float32(mu)), float64(float32(r))
	}
	overwrite := variant == 1 || variant == 2
	sums := func(name string) *buf {
		if overwrite {
			return l.outVec32(name, s.cols)
		}
		return l.inoutVec32(name, s.cols)
	}
	dgain := sums("dgain")
	a := backend.NormGrad{
		X: x.view, Gain: gain.view, RStd: l.vector("rstd", read, tensor.F32, rstds, s.rows).view, DGain: dgain.view, Overwrite: overwrite, RMS: rms, Mask: mask,
	}
	var dbias, dy, dx *buf
	if !rms {
		a.Mean = l.vector("mean", read, tensor.F32, means, s.rows).view
		if variant != 1 {
			dbias = sums("dbias")
			a.DBias = dbias.view
		}
	}
	residual := make([]float64, s.rows*s.cols)
	if variant == 3 {
		dx = l.inout("dy and dx", s.rows, s.cols, s.cols)
		dy = dx
	} else {
		dy = l.in("dy", s.rows, s.cols, s.cols+2)
	}
	switch variant {
	case 0:
		dx = l.out("dx", s.rows, s.cols, s.ld)
	case 1:
		res := l.in("dresidual", s.rows, s.cols, s.cols+1)
		a.DResidual, residual = res.view, res.val
		dx = l.out("dx", s.rows, s.cols, s.ld)
	case 2:
		dx = l.inout("dresidual and dx", s.rows, s.cols, s.ld)
		a.DResidual, residual = dx.view, dx.val
	}
	a.DY, a.DX = dy.view, dx.view
	l.run(func(st backend.Stream) { st.NormBackward(a) })

	var wantDX []float64
	wantGain, wantBias := make([]float64, s.cols), make([]float64, s.cols)
	copy(wantGain, dgain.val) // nothing where it is overwritten
	if dbias != nil {
		copy(wantBias, dbias.val)
	}
	for i := range s.rows {
		d, g, b := normGrad(c, x.val[i*s.cols:][:s.cols], dy.val[i*s.cols:][:s.cols], gain.val)
		for j := range d {
			wantDX = append(wantDX, d[j]+residual[i*s.cols+j])
			wantGain[j] += g[j]
			wantBias[j] += b[j]
		}
	}
	l.nearAt(dx, wantDX, boundNormGrad, 1) // two columns leave almost nothing of terms of size 1
	l.near(dgain, wantGain, boundNormGrad)
	if dbias != nil {
		l.near(dbias, wantBias, boundNormGrad)
	}
}
