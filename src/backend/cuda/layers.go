//go:build cuda

package cuda

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

type embeddingArgs struct {
	x, table, positions view
	tokens              uintptr
	seq, start          int32
	scale               float32
	vector              int32
}

// embedding launches a kernel with a block for each of some positions, or, with none, for every 1024 vectors of X.
func (s *stream) embedding(kernel string, positions int, e backend.Embedding) {
	a := embeddingArgs{
		x: of(e.X), table: of(e.Table), positions: of(e.Positions), tokens: address(e.Tokens), seq: int32(e.SeqLen),
		start: int32(e.VocabStart), scale: e.Scale,
	}
	size := e.X.DType().Size()
	a.vector = vector(size, a.x, a.table, a.positions)
	vectors := pieces(e.X.Cols(), size, a.vector)
	grid, block := dim{uint32(positions), 1, 1}, dim{blockThreads(vectors), 1, 1}
	if positions == 0 {
		grid, block = dim{uint32(ceilDiv(e.X.Rows()*vectors, 4*256)), 1, 1}, threads256
	}
	enqueue(s, "embedding", kernel+suffix(e.X.DType()), grid, block, 0, &a)
}

func (s *stream) EmbeddingForward(e backend.Embedding) {
	s.embedding("embedding_forward_", 0, e)
}

// listed is how many rows of a table, and how many tokens, have place for their lists in the workspace: see tokenListsArgs.
const listed = 1 << 20

func (s *stream) EmbeddingBackward(e backend.Embedding) {
	s.embeddingTable(e, listed, listed)
	if e.Positions.Present() {
		s.embedding("positions_backward_", min(e.SeqLen, e.X.Rows()), e)
	}
}

// embeddingTable adds to the gradient of a table, of up to some rows and tokens at a time.
func (s *stream) embeddingTable(e backend.Embedding, rows, tokens int) {
	for r := 0; r < e.Table.Rows(); r += rows {
		for n := 0; n < e.X.Rows(); n += tokens {
			part, to := e, min(n+tokens, e.X.Rows())
			part.Table, part.VocabStart = e.Table.Slice(r, min(r+rows, e.Table.Rows())), e.VocabStart+r
			part.X, part.Tokens = e.X.Slice(n, to), e.Tokens.Slice(n, to)
			s.embeddingLists(part)
		}
	}
}

type tokenListsArgs struct {
	tokens                uintptr
	manyRows, count, head uintptr // int32: 1, [rows], [rows]
	before, many          uintptr // int32: [n], [n / few]
	n, rows, start        int32
}

// few is kFew of cuda/embedding.
const few = 32

type embeddingGatherArgs struct {
	x, table       view
	lists          tokenListsArgs
	scale          float32
	vector, blocks int32
}

// embeddingLists makes lists of every row's tokens, and has them added up.
func (s *stream) embeddingLists(e backend.Embedding) {
	const name = "embedding gradient"
	rows, n, size := e.Table.Rows(), e.X.Rows(), e.X.DType().Size()
	at := func(i int) uintptr { return s.workspace.Device + uintptr(4*i) }
	lists := tokenListsArgs{
		tokens: address(e.Tokens), manyRows: at(0), count: at(1), head: at(1 + rows), before: at(1 + 2*rows), many: at(1 + 2*rows + n),
		n: int32(n), rows: int32(rows), start: int32(e.VocabStart),
	}
	enqueue(s, name, "tokens_clear", s.grid1(1+2*rows, 1), threads256, 0, &lists)
	enqueue(s, name, "tokens_link", s.grid1(n, 1), threads256, 0, &lists)
	a := embeddingGatherArgs{x: of(e.X), table: of(e.Table), lists: lists, scale: e.Scale}
	if n > few {
		a.blocks = int32(4 * s.b.units)
	}
	a.vector = vector(size, a.x, a.table)
	warps := n * ceilDiv(pieces(e.X.Cols(), size, a.vector), 32)
	enqueue(s, name, "embedding_gather_"+suffix(e.X.DType()), dim{uint32(a.blocks) + uint32(ceilDiv(warps, 8)), 1, 1}, threads256, 0, &a)
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
