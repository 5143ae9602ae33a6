package model

import (
	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Embedding is x = InputMult (E[token] + P[position]), with P for learned positions only. Each tensor-parallel rank has some
// rows of E and reads zeros for the tokens of the others, so that x is a sum over the ranks; one of them adds P.
type Embedding struct {
	d                *dims
	table, positions pair
}

func newEmbedding(d *dims, p *Params) Embedding {
	return Embedding{d: d, table: p.named(arch.WordEmbeddings), positions: p.named(arch.PositionEmbeddings)}
}

// Forward writes x [R, C].
func (e *Embedding) Forward(s backend.Stream, tokens, x tensor.Tensor) {
	tp := e.d.tp
	s.EmbeddingForward(backend.Embedding{X: tp.partial(x), Tokens: tokens, Table: e.table.w, Positions: tp.first(e.positions.w),
		SeqLen: e.d.seq, Scale: e.d.inputMult, VocabStart: e.d.vocabStart})
	tp.add(s, "tp embedding", x)
}

// Backward adds the gradients of the tables, given that of x.
func (e *Embedding) Backward(s backend.Stream, tokens, dx tensor.Tensor) {
	dx = e.d.tp.gather(s, "tp embedding gradient", dx)
	s.EmbeddingBackward(backend.Embedding{X: dx, Tokens: tokens, Table: e.table.g, Positions: e.positions.g,
		SeqLen: e.d.seq, Scale: e.d.inputMult, VocabStart: e.d.vocabStart})
}
