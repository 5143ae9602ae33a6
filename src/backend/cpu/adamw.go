package cpu

import (
	"fmt"
	"math"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// AdamW updates tensor by tensor, each in one pass over W, G, M and V.
func (s *stream) AdamW(all ...backend.AdamW) {
	for _, a := range all {
		s.adamW(a)
	}
}

func (s *stream) adamW(a backend.AdamW) {
	const name = "adamw"
	mustBeF32(name, a.W, a.G, a.M, a.V)
	for _, x := range []tensor.Tensor{a.W, a.G, a.M, a.V} {
		mustHold(name, x, a.W.Len())
	}
	if a.Out.Present() {
		mustHold(name, a.Out, a.W.Len())
		if !convertible(a.Out.DType()) {
			panic(fmt.Sprintf("cpu: %s: out is %v: want fp32, bf16 or fp16", name, a.Out))
		}
	}
	if a.BirthRow.Present() || a.BirthCol.Present() {
		mustBeI32(name, a.BirthRow, a.W.Rows())
		mustBeI32(name, a.BirthCol, a.W.Cols())
	}
	if a.Step < 1 {
		panic(fmt.Sprintf("cpu: %s: step %d: steps count from 1", name, a.Step))
	}
	t := s.begin(name, runAdamW)
	t.adamw = a
	s.commit()
}

func runAdamW(w *worker, t *task) {
	a, k := &t.adamw, w.kernels()
	if a.BirthRow.Present() {
		adamWithBirths(w, k, a)
		return
	}
	c := adamConstantsOf(a, a.Step)
	lo, hi := w.part(a.W.Len(), grain)
	for at := lo; at < hi; at += chunk {
		adamRange(k, a, c, at, min(at+chunk, hi))
	}
}

// adamWithBirths splits every row into runs of columns of one age.
func adamWithBirths(w *worker, k *kernels, a *backend.AdamW) {
	births, cols := a.BirthCol.I32(), a.W.Cols()
	age := -1
	var c adamConstants
	lo, hi := w.part(a.W.Rows(), 1)
	for i := lo; i < hi; i++ {
		born := a.BirthRow.I32()[i]
		for from := 0; from < cols; {
			b := max(born, births[from])
			to := from + 1
			for to < cols && max(born, births[to]) == b {
				to++
			}
			if t := a.Step - int(b); t != age {
				age = t
				c = adamConstantsOf(a, t)
			}
			adamRange(k, a, c, i*cols+from, i*cols+to)
			from = to
		}
	}
}

// adamRange updates the elements [lo, hi) and writes their rounded copy while they are in the cache.
func adamRange(k *kernels, a *backend.AdamW, c adamConstants, lo, hi int) {
	w := a.W.F32()[lo:hi]
	k.adamw(w, a.G.F32()[lo:hi], a.M.F32()[lo:hi], a.V.F32()[lo:hi], c)
	switch {
	case !a.Out.Present():
	case a.Out.DType() == tensor.F32:
		copy(a.Out.F32()[lo:hi], w)
	default:
		k.narrow(a.Out, lo, w)
	}
}

// adamConstantsOf are the scalars for entries that are at their t-th step. An entry that is born after this step
// (t < 1) is taken at its first.
func adamConstantsOf(a *backend.AdamW, t int) adamConstants {
	n := float64(max(t, 1))
	b1, b2, lr := float64(a.Beta1), float64(a.Beta2), float64(a.LR)
	return adamConstants{
		gradScale: a.GradScale, beta1: a.Beta1, beta2: a.Beta2,
		oneMinusBeta1: float32(1 - b1), oneMinusBeta2: float32(1 - b2),
		decay: float32(1 - lr*float64(a.WeightDecay)), step: float32(lr / (1 - math.Pow(b1, n))),
		rootCorrection: float32(1 / math.Sqrt(1-math.Pow(b2, n))), eps: a.Eps,
	}
}
