package model

import (
	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Embedding is x = InputMult (E[token] + P[position]), with P for learned positions only.
type Embedding struct {
	d                *dims
	table, positions pair
}

func newEmbedding(d *dims, p *Params) Embedding {
	return Embedding{d: d, table: p.named(arch.WordEmbeddings), positions: p.named(arch.PositionEmbeddings)}
}

// Forward writes x [N, C].
func (e *Embedding) Forward(s backend.Stream, tokens, x tensor.Tensor) {
	s.EmbeddingForward(backend.Embedding{X: x, Tokens: tokens, Table: e.table.w, Positions: e.positions.w,
		SeqLen: e.d.seq, Scale: e.d.inputMult})
}

// Backward adds the gradients of the tables, given that of x.
func (e *Embedding) Backward(s backend.Stream, tokens, dx tensor.Tensor) {
	s.EmbeddingBackward(backend.Embedding{X: dx, Tokens: tokens, Table: e.table.g, Positions: e.positions.g,
		SeqLen: e.d.seq, Scale: e.d.inputMult})
}
