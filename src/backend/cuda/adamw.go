//go:build cuda

package cuda

import (
	"math"
	"unsafe"

	"cambium/src/backend"
	"cambium/src/tensor"
)

const (
	adamwElements = 4096 // that a block updates
	adamwPieces   = 46   // tensors of a launch
)

// adamwPiece is one tensor of a launch.
type adamwPiece struct {
	w, m, v, g, out, birthRow, birthCol uintptr
	elements, cols                      int64
	lr, decay                           float32
	block, vector                       int32
}

// adamwCommon is what all tensors of a launch share.
type adamwCommon struct {
	beta1, beta2, eps, gradScale float32
	correction1, correction2     float32
	logBeta1, logBeta2           float32
	step                         int32
}

// adamwArgs is larger than what an operation in the queue has room for.
type adamwArgs struct {
	common adamwCommon
	pieces int32
	piece  [adamwPieces]adamwPiece
}

// maxLists is how many lists of a stream wait for being used again.
const maxLists = 8

// AdamW gathers tensors whose hyper-parameters and type agree into launches.
func (s *stream) AdamW(list ...backend.AdamW) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && launchTogether(&list[0], &list[n]) {
			n++
		}
		s.adamw(list[:n])
		list = list[n:]
	}
}

// launchTogether tells whether two tensors can be in one launch.
func launchTogether(a, b *backend.AdamW) bool {
	return a.Step == b.Step && a.Beta1 == b.Beta1 && a.Beta2 == b.Beta2 && a.Eps == b.Eps && a.GradScale == b.GradScale && outType(a) == outType(b)
}

// outType is the type of the rounded weight; fp32 where there is none.
func outType(x *backend.AdamW) tensor.DType {
	if x.Out.Present() {
		return x.Out.DType()
	}
	return tensor.F32
}

// adamw launches for tensors that agree, as many at once as a parameter holds.
func (s *stream) adamw(list []backend.AdamW) {
	var a *adamwArgs
	blocks := 0
	for i := range list {
		x := &list[i]
		n := x.W.Len()
		if n == 0 {
			continue
		}
		more := ceilDiv(n, adamwElements)
		if a != nil && (a.pieces == adamwPieces || blocks+more > math.MaxInt32) {
			s.startAdamW(a, outType(x), blocks)
			a, blocks = nil, 0
		}
		if a == nil {
			a = s.newList()
			a.common, a.pieces = commonOf(x), 0
		}
		a.piece[a.pieces] = pieceOf(x, blocks)
		a.pieces++
		blocks += more
	}
	if a != nil {
		s.startAdamW(a, outType(&list[0]), blocks)
	}
}

func commonOf(x *backend.AdamW) adamwCommon {
	correction := func(beta float32) float32 { return float32(1 / -math.Expm1(float64(x.Step)*math.Log(float64(beta)))) }
	return adamwCommon{
		beta1: x.Beta1, beta2: x.Beta2, eps: x.Eps, gradScale: x.GradScale,
		correction1: correction(x.Beta1), correction2: correction(x.Beta2),
		logBeta1: float32(math.Log(float64(x.Beta1))), logBeta2: float32(math.Log(float64(x.Beta2))), step: int32(x.Step),
	}
}

// pieceOf is a tensor whose elements begin with a block of the launch.
func pieceOf(x *backend.AdamW, block int) adamwPiece {
	p := adamwPiece{
		w: address(x.W), m: address(x.M), v: address(x.V), g: address(x.G), out: address(x.Out), birthRow: address(x.BirthRow), birthCol: address(x.BirthCol),
		elements: int64(x.W.Len()), cols: int64(x.W.Cols()), lr: x.LR, decay: x.WeightDecay, block: int32(block),
	}
	if (p.w|p.m|p.v|p.g|p.out)%16 == 0 && p.cols%4 == 0 {
		p.vector = 1
	}
	return p
}

// newList is a list that is not in use.
func (s *stream) newList() *adamwArgs {
	select {
	case a := <-s.lists:
		return a
	default:
		return new(adamwArgs)
	}
}

// startAdamW enqueues a launch, which gives its list back.
func (s *stream) startAdamW(a *adamwArgs, t tensor.DType, blocks int) {
	k, grid := s.b.kernel("adamw_"+suffix(t)), dim{uint32(blocks), 1, 1}
	s.enqueue(op{name: "adamw", by: k.name, grid: grid, work: true, run: func(s *stream) error {
		err := start(s, k, grid, threads256, 0, a)
		select {
		case s.lists <- a:
		default:
		}
		s.last = "adamw"
		return err
	}})
}

const _ = maxParams - unsafe.Sizeof(adamwArgs{}) // it fits
