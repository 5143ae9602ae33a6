//go:build cuda

package cuda

import (
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
