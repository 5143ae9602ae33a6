//go:build cuda

package cuda

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

type embeddingArgs struct {
	x, table, positions view
	tokens              uintptr
	begin, bucket       uintptr // of sorted tokens
	order               uintptr
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

// EmbeddingBackward sorts the tokens by their rows of the table first, where the workspace has room for that.
func (s *stream) EmbeddingBackward(e backend.Embedding) {
	if rows, n := e.Table.Rows(), e.X.Rows(); 4*(2*rows+1+2*n) <= workspaceBytes && n > 0 {
		s.embeddingSorted(e, rows, n)
	} else {
		s.embedding("embedding_backward_", n, e)
	}
	if e.Positions.Present() {
		s.embedding("positions_backward_", min(e.SeqLen, e.X.Rows()), e)
	}
}

type tokenSortArgs struct {
	tokens, begin, next, bucket, order uintptr
	n, rows, start                     int32
}

// embeddingSorted counts, adds up the counts, hands tokens out to buckets, and then a block a row orders and adds its own.
func (s *stream) embeddingSorted(e backend.Embedding, rows, n int) {
	at := func(i int) uintptr { return s.workspace.Device + uintptr(4*i) }
	sort := tokenSortArgs{
		tokens: address(e.Tokens), next: at(0), begin: at(rows), bucket: at(2*rows + 1), order: at(2*rows + 1 + n),
		n: int32(n), rows: int32(rows), start: int32(e.VocabStart),
	}
	const name = "embedding gradient"
	enqueue(s, name, "tokens_clear", s.grid1(rows, 1), threads256, 0, &sort)
	enqueue(s, name, "tokens_count", s.grid1(n, 1), threads256, 0, &sort)
	enqueue(s, name, "tokens_scan", dim{1, 1, 1}, threads256, 0, &sort)
	enqueue(s, name, "tokens_place", s.grid1(n, 1), threads256, 0, &sort)
	a := embeddingArgs{x: of(e.X), table: of(e.Table), begin: sort.begin, bucket: sort.bucket, order: sort.order, scale: e.Scale}
	enqueue(s, name, "embedding_gather_"+suffix(e.X.DType()), dim{uint32(rows), 1, 1}, dim{blockThreads(e.X.Cols()), 1, 1}, 0, &a)
}

type rotaryArgs struct {
	x, cos, sin  view
	headDim, seq int32
	sign         float32
	vector       int32
}

func (s *stream) Rotary(r backend.Rotary) {
	a := rotaryArgs{x: of(r.X), cos: of(r.Cos), sin: of(r.Sin), headDim: int32(r.HeadDim), seq: int32(r.SeqLen), sign: 1}
	if r.Inverse {
		a.sign = -1
	}
	size := r.X.DType().Size()
	if r.HeadDim/2%(16/size) == 0 { // the halves of heads are what 16-byte accesses must fit
		a.vector = vector(size, a.x)
	}
	threads := blockThreads(pieces(r.X.Cols()/2, size, a.vector))
	enqueue(s, "rotary", "rotary_"+suffix(r.X.DType()), dim{uint32(r.X.Rows()), 1, 1}, dim{threads, 1, 1}, 0, &a)
}

type swigluArgs struct {
	g, u, y, dy, dg, du view
	vector              int32
}

func (s *stream) SwiGLUForward(w backend.SwiGLU) {
	v := flat(w.G, w.U, w.Y)
	s.swiglu("swiglu", "swiglu_forward_", w.Y.DType(), swigluArgs{g: v[0], u: v[1], y: v[2]}, v)
}

func (s *stream) SwiGLUBackward(w backend.SwiGLU) {
	v := flat(w.G, w.U, w.DY, w.DG, w.DU)
	s.swiglu("swiglu gradient", "swiglu_backward_", w.DY.DType(), swigluArgs{g: v[0], u: v[1], dy: v[2], dg: v[3], du: v[4]}, v)
}

func (s *stream) swiglu(name, kernel string, t tensor.DType, a swigluArgs, v []view) {
	a.vector = vector(t.Size(), v...)
	enqueue(s, name, kernel+suffix(t), s.grid1(pieces(int(v[0].cols), t.Size(), a.vector), int(v[0].rows)), threads256, 0, &a)
}
