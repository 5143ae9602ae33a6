//go:build cuda

package cuda

import (
	"math"

	"cambium/src/backend"
	"cambium/src/tensor"
)

type classifierArgs struct {
	logits                             view
	targets, stats, ranks, loss, error uintptr
	start, vocab, shards               int32
	scale                              float32
	vector                             int32
}

// classifier enqueues one of the kernels of cuda/classifier, a block of up to so many threads a row.
func (s *stream) classifier(kernel string, threads, shared int, logits tensor.Tensor, a classifierArgs) {
	a.logits, a.error = of(logits), s.flag.Device
	size := logits.DType().Size()
	a.vector = vector(size, a.logits)
	threads = min(threads, 32*ceilDiv(pieces(logits.Cols(), size, a.vector), 32))
	enqueue(s, "cross-entropy", kernel+suffix(logits.DType()), dim{uint32(logits.Rows()), 1, 1}, dim{uint32(threads), 1, 1}, uint32(shared), &a)
	s.flags.Store(true)
}

// CrossEntropy keeps rows in shared memory where they fit, two in a multiprocessor if possible.
func (s *stream) CrossEntropy(c backend.CrossEntropy) {
	a := classifierArgs{targets: address(c.Targets), loss: address(c.Loss), vocab: int32(c.Vocab), scale: c.GradScale}
	size := c.Logits.DType().Size()
	switch row := c.Logits.Cols() * size; {
	case vector(size, of(c.Logits)) == 0 || row > s.b.shared:
		s.classifier("classifier_", 512, 0, c.Logits, a)
	case row > (s.b.shared-declaredShared)/2:
		s.classifier("classifier_held_", 1024, row, c.Logits, a)
	default:
		s.classifier("classifier_held_", 512, row, c.Logits, a)
	}
}

func (s *stream) CrossEntropyStats(c backend.CrossEntropyStats) {
	s.classifier("classifier_stats_", 256, 0, c.Logits, classifierArgs{targets: address(c.Targets), stats: address(c.Stats), start: int32(c.VocabStart), vocab: int32(c.Vocab)})
}

func (s *stream) CrossEntropyFinish(c backend.CrossEntropyFinish) {
	s.classifier("classifier_finish_", 256, 0, c.Logits, classifierArgs{
		targets: address(c.Targets), ranks: address(c.Stats), loss: address(c.Loss), start: int32(c.VocabStart), vocab: int32(c.Vocab),
		shards: int32(c.Stats.Dim(0)), scale: c.GradScale,
	})
}

type adamwArgs struct {
	w, m, v, g, out, birthRow, birthCol     uintptr
	rows, cols                              int64
	lr, beta1, beta2, eps, decay, gradScale float32
	correction1, correction2                float32
	logBeta1, logBeta2                      float32
	step, vector                            int32
}

func (s *stream) AdamW(x backend.AdamW) {
	n := x.W.Len()
	if n == 0 {
		return
	}
	correction := func(beta float32) float32 { return float32(1 / -math.Expm1(float64(x.Step)*math.Log(float64(beta)))) }
	a := adamwArgs{
		w: address(x.W), m: address(x.M), v: address(x.V), g: address(x.G), out: address(x.Out), birthRow: address(x.BirthRow), birthCol: address(x.BirthCol),
		rows: int64(x.W.Rows()), cols: int64(x.W.Cols()), lr: x.LR, beta1: x.Beta1, beta2: x.Beta2, eps: x.Eps, decay: x.WeightDecay, gradScale: x.GradScale,
		correction1: correction(x.Beta1), correction2: correction(x.Beta2),
		logBeta1: float32(math.Log(float64(x.Beta1))), logBeta2: float32(math.Log(float64(x.Beta2))), step: int32(x.Step),
	}
	t := tensor.F32
	if x.Out.Present() {
		t = x.Out.DType()
	}
	if (a.w|a.m|a.v|a.g|a.out)%16 == 0 && a.cols%4 == 0 {
		a.vector, n = 1, n/4
	}
	enqueue(s, "adamw", "adamw_"+suffix(t), s.grid1(n, 1), threads256, 0, &a)
}
