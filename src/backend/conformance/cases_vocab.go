package conformance

import (
	"math"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// vocabCase is a vocabulary split over shards of width columns each; what lies beyond vocab is padding. The last case has a
// shard of nothing but padding.
type vocabCase struct{ n, vocab, shards, width, space int }

var vocabCases = []vocabCase{
	{1, 1, 1, 1, 0}, {7, 33, 1, 40, 3}, {9, 50, 2, 32, 0}, {8, 1000, 4, 256, 5}, {11, 601, 4, 151, 0}, {6, 5, 4, 2, 1},
}

// caseVocabularyShards runs both halves of the vocabulary-parallel classifier as the ranks would, one after another, and
// compares stats, losses and gradients with those of whole rows. Logits of 1e4 would overflow every exponential, and -Inf
// stands for tokens that are masked out.
func caseVocabularyShards(l *lab) {
	for _, c := range some(l, vocabCases) {
		for _, std := range []float64{1, 30, 1e4} {
			for _, gradScale := range []float32{0, 1, 0.01} {
				for _, masked := range []bool{false, true} {
					if l.vocabularyShards(c, std, gradScale, masked); l.Failed() {
						l.Fatalf("vocabulary shards %+v, logits of %v, scale %v, masked %v", c, std, gradScale, masked)
					}
				}
			}
		}
	}
}

func (l *lab) vocabularyShards(c vocabCase, std float64, gradScale float32, masked bool) {
	logits, targets := l.vocabularyRows(c, std, masked)
	real := func(shard int) int { return max(0, min(c.width, c.vocab-shard*c.width)) }
	shard := func(u use, q int) *buf { // columns of the shard, with padding that is not to be looked at
		val := make([]float64, 0, c.n*c.width)
		for i := range c.n {
			for j := range c.width {
				if j < real(q) {
					val = append(val, logits[i*c.vocab+q*c.width+j])
				} else {
					val = append(val, math.NaN())
				}
			}
		}
		return l.buffer("logits", u, l.stored, c.n, c.width, c.width+c.space, val)
	}

	gathered := make([]float64, 0, c.shards*c.n*3)
	for q := range c.shards {
		z, stats := shard(read, q), l.out32("stats", c.n, 3, 3)
		a := backend.CrossEntropyStats{Logits: z.view, Targets: l.ints("targets", targets).view, Stats: stats.view,
			VocabStart: q * c.width, Vocab: c.vocab}
		l.run(func(st backend.Stream) { st.CrossEntropyStats(a) })
		want := make([]float64, 0, c.n*3)
		for i, target := range targets {
			row := logits[i*c.vocab+min(q*c.width, c.vocab):][:real(q)]
			want = append(want, vocabStats(row, target-q*c.width, target >= 0)...)
		}
		// Maximum and target are copies, whatever the size of the logits; the sum is of numbers up to 1.
		for column, bound := range []float64{boundExact, boundEntropy * math.Max(1, std/10), boundExact} {
			if err := compare(every(stats.got, column, 3), every(want, column, 3), bound, 0); err != nil {
				l.Errorf("shard %d, column %d of stats: %v", q, column, err)
			}
		}
		gathered = append(gathered, stats.got...)
	}
	l.vocabularyFinish(c, std, gradScale, logits, targets, gathered, shard)
}

// vocabularyRows are logits without padding, and targets in every shard that has real tokens; every fifth row has none.
// Masked rows have a third of their tokens at -Inf, and with several shards one shard altogether.
func (l *lab) vocabularyRows(c vocabCase, std float64, masked bool) (logits []float64, targets []int) {
	logits, targets = l.values(c.n*c.vocab, std), make([]int, c.n)
	used := (c.vocab + c.width - 1) / c.width
	for i := range targets {
		lo := i % used * c.width
		hi := min(lo+c.width, c.vocab)
		if targets[i] = lo + l.rng.IntN(hi-lo); i%5 == 4 {
			targets[i] = -1 - i
			continue
		}
		for j := range c.vocab {
			if masked && j != targets[i] && (j%3 == 1 || j/c.width == (i+1)%used && used > 1) {
				logits[i*c.vocab+j] = math.Inf(-1)
			}
		}
	}
	return logits, targets
}

func (l *lab) vocabularyFinish(c vocabCase, std float64, gradScale float32, logits []float64, targets []int, gathered []float64,
	shard func(u use, q int) *buf) {
	var wantLoss, want []float64
	for i, target := range targets {
		loss, grad := 0.0, make([]float64, c.vocab)
		if target >= 0 {
			loss, grad = crossEntropy(logits[i*c.vocab:][:c.vocab], target)
		}
		wantLoss, want = append(wantLoss, loss), append(want, grad...)
	}
	for q := range c.shards {
		u := both
		if gradScale == 0 {
			u = read
		}
		z, loss := shard(u, q), l.outVec32("loss", c.n)
		stats := l.vector("stats", read, tensor.F32, gathered, len(gathered))
		a := backend.CrossEntropyFinish{Logits: z.view, Targets: l.ints("targets", targets).view, Loss: loss.view,
			Stats: stats.view.Reshape(c.shards, c.n, 3), VocabStart: q * c.width, Vocab: c.vocab, GradScale: gradScale}
		l.run(func(st backend.Stream) { st.CrossEntropyFinish(a) })
		l.nearAt(loss, wantLoss, boundEntropy, 1)
		if gradScale == 0 {
			continue
		}
		part := make([]float64, c.n*c.width)
		for i := range c.n {
			for j := q * c.width; j < min((q+1)*c.width, c.vocab); j++ {
				part[i*c.width+j-q*c.width] = float64(gradScale) * want[i*c.vocab+j]
			}
		}
		// z - max is rounded to fp32: exp of it errs by that much. The gradients of a row add up to the scale.
		l.nearAt(z, part, boundEntropy*math.Max(1, std/10), float64(gradScale)/math.Sqrt(float64(c.width)))
	}
}

// vocabStats are the stats of one row in one shard; column is the target's, outside of the row when it is in another shard.
func vocabStats(row []float64, column int, counts bool) []float64 {
	if !counts {
		return []float64{0, 0, 0}
	}
	top, sum, aim := math.Inf(-1), 0.0, 0.0
	for _, v := range row {
		top = math.Max(top, v)
	}
	for j, v := range row {
		if !math.IsInf(v, -1) {
			sum += math.Exp(v - top)
		}
		if j == column {
			aim = v
		}
	}
	return []float64{top, sum, aim}
}

// every takes the elements at, at+step, ...
func every(x []float64, at, step int) (out []float64) {
	for ; at < len(x); at += step {
		out = append(out, x[at])
	}
	return out
}
