package cpu

import (
	"fmt"
	"math"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// statsPerRow is what a shard of the vocabulary tells about a row: maximum, sum of exponentials, the target's logit.
const statsPerRow = 3

// vocabShard is a range of the vocabulary, in columns of the logits.
type vocabShard struct {
	start, vocab int
	real         int // columns that are not padding
}

func vocabShardOf(name string, logits, targets tensor.Tensor, start, vocab int) vocabShard {
	mustBeStored(name, logits)
	mustBeI32(name, targets, logits.Rows())
	if vocab < 1 || start < 0 {
		panic(fmt.Sprintf("cpu: %s: vocabulary of %d, first token %d", name, vocab, start))
	}
	return vocabShard{start, vocab, max(0, min(logits.Cols(), vocab-start))}
}

// column is where the target is in this shard, or -1. A target outside the vocabulary ends the stream.
func (v vocabShard) column(target int32, row int) int {
	if int(target) >= v.vocab {
		panic(fmt.Sprintf("target %d of token %d is outside the vocabulary of %d", target, row, v.vocab))
	}
	if c := int(target) - v.start; c >= 0 && c < v.real {
		return c
	}
	return -1
}

// CrossEntropyStats is what this shard of the vocabulary knows about every row.
func (s *stream) CrossEntropyStats(a backend.CrossEntropyStats) {
	const name = "cross entropy stats"
	vocabShardOf(name, a.Logits, a.Targets, a.VocabStart, a.Vocab)
	mustBeF32(name, a.Stats)
	mustHold(name, a.Stats, statsPerRow*a.Logits.Rows())
	t := s.begin(name, runCrossEntropyStats)
	t.stats = a
	s.commit()
}

func runCrossEntropyStats(w *worker, t *task) {
	a, k := &t.stats, w.kernels()
	shard := vocabShardOf(t.name, a.Logits, a.Targets, a.VocabStart, a.Vocab)
	l := w.lanes(a.Logits)
	targets, stats, logits := a.Targets.I32(), a.Stats.F32(), l.matrix(a.Logits)
	lo, hi := w.part(a.Logits.Rows(), 1)
	for n := lo; n < hi; n++ {
		out := stats[n*statsPerRow:][:statsPerRow]
		clear(out)
		column := shard.column(targets[n], n)
		if targets[n] < 0 {
			continue
		}
		z := logits.row(n)[:shard.real]
		if column >= 0 {
			out[2] = z[column]
		}
		out[0], out[1] = maxAndSumExp(k, z)
	}
}

// maxAndSumExp is m = max(z) and sum(exp(z - m)). Where m is -Inf the sum is not shifted: then a row of masked logits
// adds nothing beside the other shards, and a NaN is still seen.
func maxAndSumExp(k *kernels, z []float32) (top, sum float32) {
	top = k.max(z)
	if math.IsInf(float64(top), -1) {
		return top, k.sumExp(z, 0)
	}
	return top, k.sumExp(z, top)
}

// CrossEntropyFinish is the loss of every row, and this shard's part of the gradient in place of the logits.
func (s *stream) CrossEntropyFinish(a backend.CrossEntropyFinish) {
	const name = "cross entropy finish"
	vocabShardOf(name, a.Logits, a.Targets, a.VocabStart, a.Vocab)
	mustBeF32(name, a.Stats, a.Loss)
	rows := a.Logits.Rows()
	mustHold(name, a.Loss, rows)
	if a.Stats.Rank() != 3 || a.Stats.Dim(0) < 1 || a.Stats.Dim(1) != rows || a.Stats.Dim(2) != statsPerRow || !a.Stats.Contiguous() {
		panic(fmt.Sprintf("cpu: %s: stats %v for logits %v: want [ranks, rows, %d] without gaps", name, a.Stats, a.Logits, statsPerRow))
	}
	t := s.begin(name, runCrossEntropyFinish)
	t.finish = a
	s.commit()
}

func runCrossEntropyFinish(w *worker, t *task) {
	a, k := &t.finish, w.kernels()
	shard := vocabShardOf(t.name, a.Logits, a.Targets, a.VocabStart, a.Vocab)
	l := w.lanes(a.Logits)
	targets, stats, loss, logits := a.Targets.I32(), a.Stats.F32(), a.Loss.F32(), l.matrix(a.Logits)
	rows := a.Logits.Rows()
	lo, hi := w.part(rows, 1)
	for n := lo; n < hi; n++ {
		column := shard.column(targets[n], n)
		if targets[n] < 0 {
			loss[n] = 0
			if a.GradScale != 0 {
				clear(logits.slot(n))
				logits.keep(n)
			}
			continue
		}
		top, sum, aim := combineStats(stats, rows, n)
		loss[n] = float32(float64(top) - aim + math.Log(float64(sum)))
		if a.GradScale == 0 {
			continue
		}
		z := logits.row(n)
		k.expSum(z[:shard.real], top)
		k.scale(z[:shard.real], a.GradScale/sum)
		if column >= 0 {
			z[column] -= a.GradScale
		}
		clear(z[shard.real:])
		logits.keep(n)
	}
}

// combineStats is M, S and the target's logit of row n, over the ranks in their order.
func combineStats(stats []float32, rows, n int) (top, sum float32, aim float64) {
	top = negativeInfinity()
	for at := n * statsPerRow; at < len(stats); at += rows * statsPerRow {
		top = max(top, stats[at])
	}
	total := 0.0
	for at := n * statsPerRow; at < len(stats); at += rows * statsPerRow {
		total += float64(stats[at+1]) * math.Exp(float64(stats[at]-top))
		aim += float64(stats[at+2])
	}
	return top, float32(total), aim
}
