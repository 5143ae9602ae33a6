package cpu

import (
	"fmt"
	"math"

	"cambium/src/backend"
)

// CrossEntropy is the fused classifier: the loss of every row, and the gradient in place of the logits.
func (s *stream) CrossEntropy(a backend.CrossEntropy) {
	const name = "cross entropy"
	mustBeStored(name, a.Logits)
	mustBeF32(name, a.Loss)
	mustBeI32(name, a.Targets, a.Logits.Rows())
	mustHold(name, a.Loss, a.Logits.Rows())
	if a.Vocab < 1 || a.Vocab > a.Logits.Cols() {
		panic(fmt.Sprintf("cpu: %s: vocabulary of %d in %v", name, a.Vocab, a.Logits))
	}
	t := s.begin(name, runCrossEntropy)
	t.entropy = a
	s.commit()
}

// runCrossEntropy reads a row from memory once and writes it once: the passes for the maximum, the exponentials and the
// gradient find it in the second-level cache.
func runCrossEntropy(w *worker, t *task) {
	a, k := &t.entropy, w.kernels()
	l := w.lanes(a.Logits)
	targets, loss, logits := a.Targets.I32(), a.Loss.F32(), l.matrix(a.Logits)
	zeros := 0 // of a row that does not count
	if a.GradScale != 0 {
		zeros = a.Logits.Cols()
	}
	lo, hi := w.part(a.Logits.Rows(), 1)
	for n := lo; n < hi; n++ {
		target := int(targets[n])
		switch {
		case target >= a.Vocab:
			panic(fmt.Sprintf("target %d of token %d is outside the vocabulary of %d", target, n, a.Vocab))
		case target < 0:
			loss[n] = 0
			clear(logits.slot(n)[:zeros])
		default:
			loss[n] = crossEntropyRow(k, logits.row(n), target, a.Vocab, a.GradScale)
		}
		if a.GradScale != 0 {
			logits.keep(n)
		}
	}
}

func crossEntropyRow(k *kernels, z []float32, target, vocab int, gradScale float32) float32 {
	aim := float64(z[target])
	top := k.max(z[:vocab])
	if gradScale == 0 {
		return float32(float64(top) - aim + math.Log(float64(k.sumExp(z[:vocab], top))))
	}
	sum := k.expSum(z[:vocab], top)
	k.scale(z[:vocab], gradScale/sum)
	z[target] -= gradScale
	clear(z[vocab:])
	return float32(float64(top) - aim + math.Log(float64(sum)))
}
