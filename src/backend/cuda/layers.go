//go:build cuda

package cuda

import (
	"cambium/src/backend"
)

type embeddingArgs struct {
	x, table, positions view
	tokens              uintptr
	seq, start          int32
	scale               float32
}

func (s *stream) embedding(kernel string, blocks int, e backend.Embedding) {
	a := embeddingArgs{
		x: of(e.X), table: of(e.Table), positions: of(e.Positions), tokens: address(e.Tokens), seq: int32(e.SeqLen),
		start: int32(e.VocabStart), scale: e.Scale,
	}
	enqueue(s, "embedding", kernel+suffix(e.X.DType()), dim{uint32(blocks), 1, 1}, dim{blockThreads(e.X.Cols()), 1, 1}, 0, &a)
}

func (s *stream) EmbeddingForward(e backend.Embedding) {
	s.embedding("embedding_forward_", e.X.Rows(), e)
}

func (s *stream) EmbeddingBackward(e backend.Embedding) {
	s.embedding("embedding_backward_", e.X.Rows(), e)
	if e.Positions.Present() {
		s.embedding("positions_backward_", min(e.SeqLen, e.X.Rows()), e)
	}
}

type rotaryArgs struct {
	x, cos, sin  view
	headDim, seq int32
	sign         float32
}

func (s *stream) Rotary(r backend.Rotary) {
	a := rotaryArgs{x: of(r.X), cos: of(r.Cos), sin: of(r.Sin), headDim: int32(r.HeadDim), seq: int32(r.SeqLen), sign: 1}
	if r.Inverse {
		a.sign = -1
	}
	enqueue(s, "rotary", "rotary_"+suffix(r.X.DType()), dim{uint32(r.X.Rows()), 1, 1}, dim{blockThreads(r.X.Cols() / 2), 1, 1}, 0, &a)
}

type swigluArgs struct{ g, u, y, dy, dg, du view }

func (s *stream) SwiGLUForward(w backend.SwiGLU) {
	v := flat(w.G, w.U, w.Y)
	enqueue(s, "swiglu", "swiglu_forward_"+suffix(w.Y.DType()), s.grid1(int(v[2].cols), int(v[2].rows)), threads256, 0,
		&swigluArgs{g: v[0], u: v[1], y: v[2]})
}

func (s *stream) SwiGLUBackward(w backend.SwiGLU) {
	v := flat(w.G, w.U, w.DY, w.DG, w.DU)
	enqueue(s, "swiglu gradient", "swiglu_backward_"+suffix(w.DY.DType()), s.grid1(int(v[2].cols), int(v[2].rows)), threads256, 0,
		&swigluArgs{g: v[0], u: v[1], dy: v[2], dg: v[3], du: v[4]})
}
