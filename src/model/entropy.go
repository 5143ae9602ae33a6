package model

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// stats are what the tensor-parallel ranks tell each other about a chunk of logits: backend.CrossEntropyStats.
type stats struct {
	rows int
	own  [1]tensor.Tensor  // [rows, 3]
	all  tensor.Tensor     // [ranks, rows, 3]
	by   [][]tensor.Tensor // all, by rank
}

func (t *stats) plan(a *backend.Arena, ranks, rows int) {
	t.rows, t.own[0], t.all, t.by = rows, a.Tensor(tensor.F32, rows, 3), a.Tensor(tensor.F32, ranks, rows, 3), nil
	for r := range ranks {
		t.by = append(t.by, []tensor.Tensor{t.all.Slice(r, r+1)})
	}
}

// entropy writes the losses of rows [lo, hi) and, with a gradScale, turns their logits z into gradients. The ranks have a part
// of the vocabulary each: they gather three numbers a row, and all compute the same loss.
func (h *Head) entropy(s backend.Stream, z, targets tensor.Tensor, lo, hi int, gradScale float32) {
	d := h.d
	targets, losses := targets.Slice(lo, hi), h.Losses.Slice(lo, hi)
	if d.tp.size == 1 {
		s.CrossEntropy(backend.CrossEntropy{Logits: z, Targets: targets, Loss: losses, Vocab: d.vocab, GradScale: gradScale})
		return
	}
	t := &h.stats[0]
	if hi-lo != t.rows {
		t = &h.stats[1]
	}
	s.CrossEntropyStats(backend.CrossEntropyStats{Logits: z, Targets: targets, Stats: t.own[0], VocabStart: d.vocabStart, Vocab: d.vocab})
	d.tp.comm.AllGather(s, "tp loss", t.own[:], t.by)
	s.CrossEntropyFinish(backend.CrossEntropyFinish{Logits: z, Targets: targets, Stats: t.all, Loss: losses,
		VocabStart: d.vocabStart, Vocab: d.vocab, GradScale: gradScale})
}

// Logits computes this rank's columns of the logits of the tokens [lo, hi) of the last ForwardPass of the last virtual stage:
// [hi-lo, padded vocabulary / tp], fp32 in a model for inference. They stay until the next call of any method. At most
// MaxLogits rows. With one tensor-parallel rank the first VocabSize columns mean something; else see GatherLogits.
func (x *Model) Logits(s backend.Stream, lo, hi int) tensor.Tensor {
	y := x.d.tp.gather(s, "tp head input", x.shown.Y)
	return x.head.project(s, y.Slice(lo, hi))
}

// GatherLogits is Logits with the columns of all tensor-parallel ranks, on each of them: fp32 [hi-lo, padded vocabulary], of
// which the first VocabSize columns mean something. It is for models for inference, and the one call that allocates.
func (x *Model) GatherLogits(s backend.Stream, lo, hi int) tensor.Tensor {
	z, d := x.Logits(s, lo, hi), x.d
	if d.tp.size == 1 {
		return z
	}
	all := x.head.Gathered.Slice(0, hi-lo)
	var by [][]tensor.Tensor
	for r := range d.tp.size {
		by = append(by, []tensor.Tensor{all.Columns(r*d.padded, (r+1)*d.padded)})
	}
	d.tp.comm.AllGather(s, "tp logits", []tensor.Tensor{z}, by)
	return all
}
