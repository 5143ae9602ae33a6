package cpu

import (
	"fmt"

	"cambium/src/backend"
)

// Tiles of attention. Queries are the lanes of every score tile: a tile holds S transposed, a row a key, so that the
// softmax needs no sum across a vector, and queries and their gradients are transposed once a tile while keys, values
// and outputs are read as they lie.
const (
	queryTile = 64
	keyTile   = 64
)

// attentionShape is the geometry of one call.
type attentionShape struct {
	batch, seq, heads, groups, dim int
	headDim16                      int // dim rounded up to whole vectors
	tiles                          int // query tiles a sequence
}

func attentionShapeOf(a *backend.Attention) attentionShape {
	d := a.HeadDim
	return attentionShape{
		batch: a.Q.Rows() / a.SeqLen, seq: a.SeqLen, heads: a.Q.Cols() / d, groups: a.K.Cols() / d, dim: d,
		headDim16: (d + 15) / 16 * 16, tiles: (a.SeqLen + queryTile - 1) / queryTile,
	}
}

func checkAttention(name string, a *backend.Attention) {
	mustBeStored(name, a.Q, a.O, a.K, a.V)
	mustBeF32(name, a.LSE)
	mustMatch(name, a.Q, a.O)
	mustMatch(name, a.K, a.V)
	d := a.HeadDim
	if d < 1 || a.Q.Cols()%d != 0 || a.K.Cols()%d != 0 || a.K.Cols() == 0 || (a.Q.Cols()/d)%(a.K.Cols()/d) != 0 {
		panic(fmt.Sprintf("cpu: %s: heads of %d in q %v and k %v: want whole heads, query heads a multiple of key heads", name, d, a.Q, a.K))
	}
	if a.K.Rows() != a.Q.Rows() || a.SeqLen < 1 || a.Q.Rows()%a.SeqLen != 0 {
		panic(fmt.Sprintf("cpu: %s: q %v and k %v are not whole sequences of %d tokens", name, a.Q, a.K, a.SeqLen))
	}
	mustHold(name, a.LSE, a.Q.Rows()*(a.Q.Cols()/d))
	if a.HeadScale.Present() {
		mustBeF32(name, a.HeadScale)
		mustHold(name, a.HeadScale, a.Q.Cols()/d)
	}
}

func headScale(a *backend.Attention, h int) float32 {
	if a.HeadScale.Present() {
		return a.HeadScale.F32()[h]
	}
	return 1
}

// AttentionForward is causal attention.
func (s *stream) AttentionForward(a backend.Attention) {
	checkAttention("attention forward", &a)
	t := s.begin("attention forward", runAttentionForward)
	t.attention = backend.AttentionGrad{Attention: a}
	s.commit()
}

// runAttentionForward hands out (sequence, head, query tile), of which later tiles cost more. Who does which does not
// matter to the result.
func runAttentionForward(w *worker, t *task) {
	a, k := &t.attention.Attention, w.kernels()
	g := attentionShapeOf(a)
	mem := newForwardTile(w, g, !wide(a.Q))
	for {
		i, ok := w.claim(g.batch * g.heads * g.tiles)
		if !ok {
			return
		}
		attendTile(k, a, g, &mem, i/(g.heads*g.tiles), i/g.tiles%g.heads, i%g.tiles)
	}
}

// forwardTile is a worker's scratch memory for one query tile.
type forwardTile struct {
	qT                []float32 // [dim][queryTile]: Scale Q, transposed
	s                 []float32 // [keyTile][queryTile]
	o                 []float32 // [queryTile][headDim16]
	max, sum, rescale []float32 // [queryTile]
	q, k, v           []float32 // [queryTile or keyTile][headDim16]: 16-bit operands, widened
}

func newForwardTile(w *worker, g attentionShape, half bool) forwardTile {
	n := queryTile * (g.dim + keyTile + g.headDim16 + 3)
	if half {
		n += (queryTile + 2*keyTile) * g.headDim16
	}
	mem := w.scratch(n)
	take := func(n int) []float32 {
		x := mem[:n:n]
		mem = mem[n:]
		return x
	}
	tile := forwardTile{
		qT: take(g.dim * queryTile), s: take(keyTile * queryTile), o: take(queryTile * g.headDim16),
		max: take(queryTile), sum: take(queryTile), rescale: take(queryTile),
	}
	if half {
		tile.q, tile.k, tile.v = take(queryTile*g.headDim16), take(keyTile*g.headDim16), take(keyTile*g.headDim16)
	}
	return tile
}

// attendTile is FlashAttention's inner loop for one tile of queries of one head.
func attendTile(k *kernels, a *backend.Attention, g attentionShape, mem *forwardTile, b, h, tile int) {
	q0 := tile * queryTile
	queries := min(queryTile, g.seq-q0)
	first, kvColumn := b*g.seq+q0, h/(g.heads/g.groups)*g.dim
	q, ldq := k.block(a.Q, first, h*g.dim, queries, g.dim, mem.q, g.headDim16)
	if queries < queryTile {
		clear(mem.qT)
	}
	k.transposeScaled(mem.qT, queryTile, q, ldq, queries, g.dim, a.Scale)
	for i := range mem.max {
		mem.max[i], mem.sum[i] = negativeInfinity(), 0
	}
	lanes := (queries + 15) / 16 * 16
	for k0 := 0; k0 < q0+queries; k0 += keyTile {
		keys := min(keyTile, q0+queries-k0)
		kk, ldk := k.block(a.K, b*g.seq+k0, kvColumn, keys, g.dim, mem.k, g.headDim16)
		vv, ldv := k.block(a.V, b*g.seq+k0, kvColumn, keys, g.dim, mem.v, g.headDim16)
		diagonal := q0 - k0
		scores(k, mem.s, kk, ldk, mem.qT, keys, lanes, g.dim, diagonal)
		k.softmaxTile(mem.s, queryTile, keys, lanes, diagonal, mem.max, mem.sum, mem.rescale)
		if k0 > 0 {
			k.scaleRows(mem.o, g.headDim16, mem.o, g.headDim16, mem.rescale, queries, g.dim)
		}
		mix(k, mem.o, g.headDim16, mem.s, vv, ldv, queries, g.dim, keys, diagonal, k0 > 0)
	}
	lse := a.LSE.F32()[(b*g.heads+h)*g.seq+q0:][:queries]
	k.logSum(lse, mem.max, mem.sum, mem.rescale, headScale(a, h))
	o, ldo := mem.o, g.headDim16
	if wide(a.O) {
		o, ldo = a.O.F32()[first*a.O.LD()+h*g.dim:], a.O.LD()
	}
	k.scaleRows(o, ldo, mem.o, g.headDim16, mem.rescale, queries, g.dim)
	if !wide(a.O) {
		k.keepBlock(a.O, first, h*g.dim, queries, g.dim, o, ldo)
	}
}

// rowBlock is the number of rows that products with a triangular factor are cut into, and laneBlock the number of lanes.
const (
	rowBlock  = 8
	laneBlock = 16
)

// scores is S[key][query] = sum_d keys[key][d] lanesT[d][query] for the visible pairs, key <= query + diagonal; what it
// leaves out of the others is undefined.
func scores(k *kernels, s, keys []float32, ldk int, lanesT []float32, n, lanes, dim, diagonal int) {
	if diagonal >= n-1 {
		k.tile(s, queryTile, keys, ldk, 1, lanesT, queryTile, n, lanes, dim, false)
		return
	}
	for r := 0; r < n; r += laneBlock {
		rows := min(laneBlock, n-r)
		from := max0(r-diagonal) / laneBlock * laneBlock
		if from >= lanes {
			return
		}
		k.tile(s[r*queryTile+from:], queryTile, keys[r*ldk:], ldk, 1, lanesT[from:], queryTile, rows, lanes-from, dim, false)
	}
}

// mix is out[query] (+)= sum_key S[key][query] rows[key] over the visible keys.
func mix(k *kernels, out []float32, ldo int, s, rows []float32, ldr, queries, dim, keys, diagonal int, accumulate bool) {
	if diagonal >= keys-1 {
		k.tile(out, ldo, s, 1, queryTile, rows, ldr, queries, dim, keys, accumulate)
		return
	}
	for q := 0; q < queries; q += rowBlock {
		n := min(rowBlock, queries-q)
		depth := min(keys, q+n+diagonal)
		k.tile(out[q*ldo:], ldo, s[q:], 1, queryTile, rows, ldr, n, dim, max0(depth), accumulate)
	}
}

// gather is out[key] += sum_query S[key][query] rows[query] over the visible queries.
func gather(k *kernels, out []float32, ldo int, s, rows []float32, ldr, keys, dim, queries, diagonal int) {
	if diagonal >= keys-1 {
		k.tile(out, ldo, s, queryTile, 1, rows, ldr, keys, dim, queries, true)
		return
	}
	for r := 0; r < keys; r += rowBlock {
		from := max0(r - diagonal)
		if from >= queries {
			return
		}
		k.tile(out[r*ldo:], ldo, s[r*queryTile+from:], queryTile, 1, rows[from*ldr:], ldr, min(rowBlock, keys-r), dim, queries-from, true)
	}
}
