//go:build cuda

package cuda

import (
	"math"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// adamwEach is how many tensors one launch updates.
const adamwEach = 6

type adamwTensor struct {
	w, m, v, g, out, birthRow, birthCol uintptr
	elements                            int64
	cols, vector                        int32
	lr, decay                           float32
	first                               uint32 // of the launch's blocks
	_                                   uint32
}

type adamwArgs struct {
	each                     [adamwEach]adamwTensor
	beta1, beta2, eps, scale float32
	correction1, correction2 float32
	logBeta1, logBeta2       float32
	step, tensors            int32
}

// AdamW takes tensors together that have the same constants and type of weights, as those of a step have.
func (s *stream) AdamW(all ...backend.AdamW) {
	for len(all) > 0 {
		n := 1
		for n < min(len(all), adamwEach) && together(all[0], all[n]) {
			n++
		}
		s.adamW(all[:n])
		all = all[n:]
	}
}

func together(a, b backend.AdamW) bool {
	return a.Step == b.Step && a.Beta1 == b.Beta1 && a.Beta2 == b.Beta2 && a.Eps == b.Eps && a.GradScale == b.GradScale &&
		outType(a) == outType(b)
}

func outType(x backend.AdamW) tensor.DType {
	if x.Out.Present() {
		return x.Out.DType()
	}
	return tensor.F32
}

func (s *stream) adamW(some []backend.AdamW) {
	x := some[0]
	correction := func(beta float32) float32 { return float32(1 / -math.Expm1(float64(x.Step)*math.Log(float64(beta)))) }
	a := adamwArgs{
		beta1: x.Beta1, beta2: x.Beta2, eps: x.Eps, scale: x.GradScale, correction1: correction(x.Beta1), correction2: correction(x.Beta2),
		logBeta1: float32(math.Log(float64(x.Beta1))), logBeta2: float32(math.Log(float64(x.Beta2))), step: int32(x.Step), tensors: int32(len(some)),
	}
	blocks := 0
	for i, x := range some {
		e := adamwTensor{
			w: address(x.W), m: address(x.M), v: address(x.V), g: address(x.G), out: address(x.Out), birthRow: address(x.BirthRow),
			birthCol: address(x.BirthCol), elements: int64(x.W.Len()), cols: int32(x.W.Cols()), lr: x.LR, decay: x.WeightDecay, first: uint32(blocks),
		}
		pieces := x.W.Len()
		if (e.w|e.m|e.v|e.g|e.out)%16 == 0 && e.cols%4 == 0 {
			e.vector, pieces = 1, pieces/4
		}
		a.each[i] = e
		blocks += ceilDiv(pieces, 256)
	}
	if blocks > 0 {
		enqueue(s, "adamw", "adamw_"+suffix(outType(x)), dim{uint32(blocks), 1, 1}, threads256, 0, &a)
	}
}
