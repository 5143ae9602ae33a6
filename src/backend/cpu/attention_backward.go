package cpu

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// AttentionBackward is the gradient of AttentionForward.
func (s *stream) AttentionBackward(a backend.AttentionGrad) {
	const name = "attention backward"
	checkAttention(name, &a.Attention)
	mustBeStored(name, a.Q, a.DO, a.DQ, a.DK, a.DV)
	mustMatch(name, a.Q, a.DO, a.DQ)
	mustMatch(name, a.K, a.DK, a.DV)
	t := s.begin(name, runAttentionBackward)
	t.attention = a
	s.commit()
}

// runAttentionBackward hands out (sequence, key/value head): whoever has one adds all its query heads and tiles to DK and
// DV in a fixed order, without meeting anybody.
func runAttentionBackward(w *worker, t *task) {
	a, k := &t.attention, w.kernels()
	g := attentionShapeOf(&a.Attention)
	mem := newBackwardTile(w, g, !wide(a.Q))
	for {
		i, ok := w.claim(g.batch * g.groups)
		if !ok {
			return
		}
		b, group := i/g.groups, i%g.groups
		dk, dv := mem.sums(a.DK, b, group, g, mem.dkSum), mem.sums(a.DV, b, group, g, mem.dvSum)
		each := g.heads / g.groups
		for h := group * each; h < (group+1)*each; h++ {
			for tile := range g.tiles {
				attendBackTile(k, a, g, &mem, dk, dv, b, h, tile)
			}
		}
		if !wide(a.Q) {
			k.keepBlock(a.DK, b*g.seq, group*g.dim, g.seq, g.dim, dk.data, dk.ld)
			k.keepBlock(a.DV, b*g.seq, group*g.dim, g.seq, g.dim, dv.data, dv.ld)
		}
	}
}

// backwardTile is a worker's scratch memory for one query tile.
type backwardTile struct {
	qT, doT    []float32 // [dim][queryTile]: Scale Q and s dO, transposed
	do         []float32 // [queryTile][headDim16]: s dO, where s is not 1
	s, ds      []float32 // [keyTile][queryTile]
	lse, delta []float32 // [queryTile]
	factor     []float32 // [queryTile]: s

	// With 16 bits, widened operands, and the gradients until they are complete: a rounding is for the whole sum.
	q, o, dOut   []float32 // [queryTile][headDim16]
	k, v         []float32 // [keyTile][headDim16]
	dq           []float32 // [queryTile][headDim16]
	dkSum, dvSum []float32 // [SeqLen][headDim16]
}

func newBackwardTile(w *worker, g attentionShape, half bool) backwardTile {
	n := queryTile * (2*g.dim + g.headDim16 + 2*keyTile + 3)
	if half {
		n += (4*queryTile + 2*keyTile + 2*g.seq) * g.headDim16
	}
	mem := w.scratch(n)
	take := func(n int) []float32 {
		x := mem[:n:n]
		mem = mem[n:]
		return x
	}
	tile := backwardTile{
		qT: take(g.dim * queryTile), doT: take(g.dim * queryTile), do: take(queryTile * g.headDim16),
		s: take(keyTile * queryTile), ds: take(keyTile * queryTile), lse: take(queryTile), delta: take(queryTile), factor: take(queryTile),
	}
	if half {
		queries, keys, all := queryTile*g.headDim16, keyTile*g.headDim16, g.seq*g.headDim16
		tile.q, tile.o, tile.dOut, tile.dq = take(queries), take(queries), take(queries), take(queries)
		tile.k, tile.v, tile.dkSum, tile.dvSum = take(keys), take(keys), take(all), take(all)
	}
	return tile
}

// sums is where the gradient x of one key/value head of one sequence adds up, cleared: in place, or in via.
func (mem *backwardTile) sums(x tensor.Tensor, b, group int, g attentionShape, via []float32) matrix {
	m := matrix{data: via, ld: g.headDim16, cols: g.dim}
	if wide(x) {
		m.data, m.ld = x.F32()[b*g.seq*x.LD()+group*g.dim:], x.LD()
	}
	for n := range g.seq {
		clear(m.row(n))
	}
	return m
}

// attendBackTile recomputes the probabilities of one tile of queries and adds its part of all three gradients.
func attendBackTile(k *kernels, a *backend.AttentionGrad, g attentionShape, mem *backwardTile, dk, dv matrix, b, h, tile int) {
	q0 := tile * queryTile
	queries := min(queryTile, g.seq-q0)
	lanes := (queries + 15) / 16 * 16
	first, column := b*g.seq+q0, h*g.dim
	q, ldq := k.block(a.Q, first, column, queries, g.dim, mem.q, g.headDim16)
	do, ldo := k.block(a.DO, first, column, queries, g.dim, mem.dOut, g.headDim16)
	dq, lddq := mem.dq, g.headDim16
	if wide(a.DQ) {
		dq, lddq = a.DQ.F32()[first*a.DQ.LD()+column:], a.DQ.LD()
	}
	mem.begin(k, a, g, q, ldq, do, ldo, b, h, q0, queries)
	if s := headScale(&a.Attention, h); s != 1 {
		fill(mem.factor, s)
		k.scaleRows(mem.do, g.headDim16, do, ldo, mem.factor, queries, g.dim)
		do, ldo = mem.do, g.headDim16
	}
	kvColumn := h / (g.heads / g.groups) * g.dim
	for k0 := 0; k0 < q0+queries; k0 += keyTile {
		keys := min(keyTile, q0+queries-k0)
		at, diagonal := b*g.seq+k0, q0-k0
		kk, ldk := k.block(a.K, at, kvColumn, keys, g.dim, mem.k, g.headDim16)
		vv, ldv := k.block(a.V, at, kvColumn, keys, g.dim, mem.v, g.headDim16)
		scores(k, mem.s, kk, ldk, mem.qT, keys, lanes, g.dim, diagonal)
		scores(k, mem.ds, vv, ldv, mem.doT, keys, lanes, g.dim, diagonal)
		k.softmaxGradTile(mem.s, mem.ds, queryTile, keys, lanes, diagonal, mem.lse, mem.delta, a.Scale)
		gather(k, dv.data[k0*dv.ld:], dv.ld, mem.s, do, ldo, keys, g.dim, queries, diagonal)
		gather(k, dk.data[k0*dk.ld:], dk.ld, mem.ds, q, ldq, keys, g.dim, queries, diagonal)
		mix(k, dq, lddq, mem.ds, kk, ldk, queries, g.dim, keys, diagonal, k0 > 0)
	}
	if !wide(a.DQ) {
		k.keepBlock(a.DQ, first, column, queries, g.dim, dq, lddq)
	}
}

// begin fills in what a tile of queries needs: transposed queries and output gradients, LSE and D = sum(dO o O).
func (mem *backwardTile) begin(k *kernels, a *backend.AttentionGrad, g attentionShape, q []float32, ldq int, do []float32, ldo int,
	b, h, q0, queries int) {
	if queries < queryTile {
		clear(mem.qT)
		clear(mem.doT)
		clear(mem.lse)
		clear(mem.delta)
	}
	k.transposeScaled(mem.qT, queryTile, q, ldq, queries, g.dim, a.Scale)
	k.transposeScaled(mem.doT, queryTile, do, ldo, queries, g.dim, headScale(&a.Attention, h))
	copy(mem.lse, a.LSE.F32()[(b*g.heads+h)*g.seq+q0:][:queries])
	o, ld := k.block(a.O, b*g.seq+q0, h*g.dim, queries, g.dim, mem.o, g.headDim16)
	k.rowDots(mem.delta, o, ld, do, ldo, queries, g.dim)
}
