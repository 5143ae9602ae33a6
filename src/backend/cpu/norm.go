package cpu

import (
	"fmt"
	"math"

	"cambium/src/backend"
)

// normShape is what forward and backward passes share: the columns below old have mask 1, the others v.
type normShape struct {
	cols, old int
	v         float32
	sum       float32 // S
	divisor   float32
}

func shapeOf(name string, cols int, m backend.NormMask) normShape {
	if m == (backend.NormMask{}) {
		return normShape{cols: cols, old: cols, v: 1, sum: float32(cols), divisor: float32(cols)}
	}
	if m.Old < 1 || m.Old > cols || !(m.Divisor > 0) {
		panic(fmt.Sprintf("cpu: %s: mask %+v for %d columns", name, m, cols))
	}
	return normShape{
		cols: cols, old: m.Old, v: m.V, divisor: m.Divisor,
		sum: float32(float64(m.Old) + float64(m.V)*float64(cols-m.Old)),
	}
}

// NormForward is LayerNorm or RMSNorm with the residual addition before it.
func (s *stream) NormForward(a backend.Norm) {
	const name = "norm forward"
	mustBeStored(name, a.X, a.Y, a.Gain)
	mustBeF32(name, a.RStd)
	mustMatch(name, a.X, a.Y)
	mustHold(name, a.Gain, a.X.Cols())
	mustHold(name, a.RStd, a.X.Rows())
	if a.Delta.Present() || a.Residual.Present() {
		mustBePresent(name, a.Delta, a.Residual)
		mustBeStoredToo(name, a.X, a.Delta, a.Residual)
		mustMatch(name, a.X, a.Delta, a.Residual)
	}
	if a.Bias.Present() {
		mustBeStoredToo(name, a.X, a.Bias)
		mustHold(name, a.Bias, a.X.Cols())
	}
	if !a.RMS {
		mustBeF32(name, a.Mean)
		mustHold(name, a.Mean, a.X.Rows())
	}
	shapeOf(name, a.X.Cols(), a.Mask)
	t := s.begin(name, runNormForward)
	t.norm = a
	s.commit()
}

func runNormForward(w *worker, t *task) {
	a, k := &t.norm, w.kernels()
	m := shapeOf(t.name, a.X.Cols(), a.Mask)
	scale := a.DeltaScale
	if scale == 0 {
		scale = 1
	}
	l := w.lanes(a.Gain, a.Bias, a.X, a.Y, a.Residual, a.Delta)
	gain, bias, rstd := l.vector(a.Gain), l.vector(a.Bias), a.RStd.F32()
	var mean []float32
	if a.RMS {
		bias = nil
	} else {
		mean = a.Mean.F32()
	}
	xs, ys, residual, delta := l.matrix(a.X), l.matrix(a.Y), l.matrix(a.Residual), l.matrix(a.Delta)
	lo, hi := w.part(a.X.Rows(), 1)
	for n := lo; n < hi; n++ {
		if a.Delta.Present() {
			k.addScaled(xs.slot(n), residual.row(n), delta.row(n), scale)
			xs.keep(n)
		}
		x, y := xs.row(n), ys.slot(n)
		mu := float32(0)
		if !a.RMS {
			mu = k.sum(x[:m.old])
			if m.old < m.cols {
				mu += m.v * k.sum(x[m.old:])
			}
			mu /= m.sum
			mean[n] = mu
		}
		q := k.sumSquaredDeviations(x[:m.old], mu)
		if m.old < m.cols {
			q += m.v * k.sumSquaredDeviations(x[m.old:], mu)
		}
		r := float32(1 / math.Sqrt(float64(q/m.divisor+a.Eps)))
		rstd[n] = r
		k.normApply(y[:m.old], x[:m.old], gain, upTo(bias, 0, m.old), mu, r, 1)
		if m.old < m.cols {
			k.normApply(y[m.old:], x[m.old:], gain[m.old:], upTo(bias, m.old, m.cols), mu, m.v*r, m.v)
		}
		ys.keep(n)
	}
}

// upTo is x[lo:hi], or nothing of an absent vector.
func upTo(x []float32, lo, hi int) []float32 {
	if len(x) == 0 {
		return nil
	}
	return x[lo:hi]
}

// normParts bounds the partial sums of DGain and DBias; they cover at least normRows rows each. Their number follows from
// the number of rows alone, so that results do not depend on the number of workers.
const (
	normParts = 16
	normRows  = 8
)

// NormBackward is the gradient of NormForward.
func (s *stream) NormBackward(a backend.NormGrad) {
	const name = "norm backward"
	mustBeStored(name, a.X, a.DY, a.DX, a.Gain)
	mustBeF32(name, a.RStd, a.DGain)
	mustMatch(name, a.X, a.DY, a.DX)
	mustHold(name, a.Gain, a.X.Cols())
	mustHold(name, a.DGain, a.X.Cols())
	mustHold(name, a.RStd, a.X.Rows())
	if a.DResidual.Present() {
		mustBeStoredToo(name, a.X, a.DResidual)
		mustMatch(name, a.X, a.DResidual)
	}
	if a.DBias.Present() {
		mustBeF32(name, a.DBias)
		mustHold(name, a.DBias, a.X.Cols())
	}
	if !a.RMS {
		mustBeF32(name, a.Mean)
		mustHold(name, a.Mean, a.X.Rows())
	}
	shapeOf(name, a.X.Cols(), a.Mask)
	t := s.begin(name, runNormBackward)
	t.normGrad = a
	s.commit()
}

func runNormBackward(w *worker, t *task) {
	a, k := &t.normGrad, w.kernels()
	rows, cols := a.X.Rows(), a.X.Cols()
	parts := min(normParts, (rows+normRows-1)/normRows)
	stride := (2*cols + 15) / 16 * 16
	partial := w.shared(parts * stride)
	lo, hi := w.part(parts, 1)
	for p := lo; p < hi; p++ {
		sums := partial[p*stride:][:2*cols]
		clear(sums)
		from, to := part(rows, p, parts, 1)
		normBackwardRows(w, k, a, sums[:cols], sums[cols:], from, to)
	}
	w.barrier()
	if lo, hi = w.part(cols, 16); lo == hi {
		return
	}
	if a.Overwrite {
		clear(a.DGain.F32()[lo:hi])
		if a.DBias.Present() {
			clear(a.DBias.F32()[lo:hi])
		}
	}
	for p := range parts {
		sums := partial[p*stride:]
		k.axpy(a.DGain.F32()[lo:hi], sums[lo:hi], 1)
		if a.DBias.Present() {
			k.axpy(a.DBias.F32()[lo:hi], sums[cols+lo:cols+hi], 1)
		}
	}
}

// normBackwardRows does rows [from, to) and adds their part of the gain's and the bias's gradient to dg and db.
func normBackwardRows(w *worker, k *kernels, a *backend.NormGrad, dg, db []float32, from, to int) {
	m := shapeOf("norm backward", a.X.Cols(), a.Mask)
	l := w.lanes(a.Gain, a.X, a.DY, a.DX, a.DResidual)
	gain, rstd := l.vector(a.Gain), a.RStd.F32()
	var mean []float32
	if !a.RMS {
		mean = a.Mean.F32()
	}
	xs, dys, dxs, residual := l.matrix(a.X), l.matrix(a.DY), l.matrix(a.DX), l.matrix(a.DResidual)
	for n := from; n < to; n++ {
		x, dy, dx := xs.row(n), dys.row(n), dxs.slot(n)
		var res []float32
		if a.DResidual.Present() {
			res = residual.row(n)
		}
		c := normConstants{r: rstd[n], m: 1}
		if !a.RMS {
			c.mu = mean[n]
		}
		h, hx := k.normSums(x[:m.old], dy[:m.old], gain[:m.old], c.mu)
		if m.old < m.cols {
			h2, hx2 := k.normSums(x[m.old:], dy[m.old:], gain[m.old:], c.mu)
			h, hx = h+m.v*h2, hx+m.v*hx2
		}
		if !a.RMS {
			c.a = h / m.sum
		}
		c.b = hx * c.r / m.divisor
		k.normGrad(dx[:m.old], upTo(res, 0, m.old), x[:m.old], dy[:m.old], gain, dg, upTo(db, 0, m.old), c)
		if m.old < m.cols {
			c.m = m.v
			k.normGrad(dx[m.old:], upTo(res, m.old, m.cols), x[m.old:], dy[m.old:], gain[m.old:], dg[m.old:], upTo(db, m.old, m.cols), c)
		}
		dxs.keep(n)
	}
}
