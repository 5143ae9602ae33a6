package cpu

import "cambium/src/backend"

// AttentionBackward is the gradient of AttentionForward.
func (s *stream) AttentionBackward(a backend.AttentionGrad) {
	const name = "attention backward"
	checkAttention(name, &a.Attention)
	mustBeF32(name, a.DO, a.DQ, a.DK, a.DV)
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
	mem := newBackwardTile(w, g)
	for {
		i, ok := w.claim(g.batch * g.groups)
		if !ok {
			return
		}
		b, group := i/g.groups, i%g.groups
		dk, dv := matrixOf(a.DK), matrixOf(a.DV)
		for n := b * g.seq; n < (b+1)*g.seq; n++ {
			clear(dk.row(n)[group*g.dim:][:g.dim])
			clear(dv.row(n)[group*g.dim:][:g.dim])
		}
		each := g.heads / g.groups
		for h := group * each; h < (group+1)*each; h++ {
			for tile := range g.tiles {
				attendBackTile(k, a, g, &mem, b, h, tile)
			}
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
}

func newBackwardTile(w *worker, g attentionShape) backwardTile {
	mem := w.scratch(queryTile * (2*g.dim + g.headDim16 + 2*keyTile + 3))
	take := func(n int) []float32 {
		x := mem[:n:n]
		mem = mem[n:]
		return x
	}
	return backwardTile{
		qT: take(g.dim * queryTile), doT: take(g.dim * queryTile), do: take(queryTile * g.headDim16),
		s: take(keyTile * queryTile), ds: take(keyTile * queryTile), lse: take(queryTile), delta: take(queryTile), factor: take(queryTile),
	}
}

// attendBackTile recomputes the probabilities of one tile of queries and adds its part of all three gradients.
func attendBackTile(k *kernels, a *backend.AttentionGrad, g attentionShape, mem *backwardTile, b, h, tile int) {
	q0 := tile * queryTile
	queries := min(queryTile, g.seq-q0)
	lanes := (queries + 15) / 16 * 16
	first, column := b*g.seq+q0, h*g.dim
	q, do, dq := a.Q.F32()[first*a.Q.LD()+column:], a.DO.F32()[first*a.DO.LD()+column:], a.DQ.F32()[first*a.DQ.LD()+column:]
	ldo := a.DO.LD()
	mem.begin(k, a, g, q, do, b, h, q0, queries)
	if s := headScale(&a.Attention, h); s != 1 {
		fill(mem.factor, s)
		k.scaleRows(mem.do, g.headDim16, do, ldo, mem.factor, queries, g.dim)
		do, ldo = mem.do, g.headDim16
	}
	column = h / (g.heads / g.groups) * g.dim
	for k0 := 0; k0 < q0+queries; k0 += keyTile {
		keys := min(keyTile, q0+queries-k0)
		at, diagonal := b*g.seq+k0, q0-k0
		kk, vv := a.K.F32()[at*a.K.LD()+column:], a.V.F32()[at*a.V.LD()+column:]
		dk, dv := a.DK.F32()[at*a.DK.LD()+column:], a.DV.F32()[at*a.DV.LD()+column:]
		scores(k, mem.s, kk, a.K.LD(), mem.qT, keys, lanes, g.dim, diagonal)
		scores(k, mem.ds, vv, a.V.LD(), mem.doT, keys, lanes, g.dim, diagonal)
		k.softmaxGradTile(mem.s, mem.ds, queryTile, keys, lanes, diagonal, mem.lse, mem.delta, a.Scale)
		gather(k, dv, a.DV.LD(), mem.s, do, ldo, keys, g.dim, queries, diagonal)
		gather(k, dk, a.DK.LD(), mem.ds, q, a.Q.LD(), keys, g.dim, queries, diagonal)
		mix(k, dq, a.DQ.LD(), mem.ds, kk, a.K.LD(), queries, g.dim, keys, diagonal, k0 > 0)
	}
}

// begin fills in what a tile of queries needs: transposed queries and output gradients, LSE and D = sum(dO o O).
func (mem *backwardTile) begin(k *kernels, a *backend.AttentionGrad, g attentionShape, q, do []float32, b, h, q0, queries int) {
	if queries < queryTile {
		clear(mem.qT)
		clear(mem.doT)
		clear(mem.lse)
		clear(mem.delta)
	}
	k.transposeScaled(mem.qT, queryTile, q, a.Q.LD(), queries, g.dim, a.Scale)
	k.transposeScaled(mem.doT, queryTile, do, a.DO.LD(), queries, g.dim, headScale(&a.Attention, h))
	copy(mem.lse, a.LSE.F32()[(b*g.heads+h)*g.seq+q0:][:queries])
	o := a.O.F32()[(b*g.seq+q0)*a.O.LD()+h*g.dim:]
	k.rowDots(mem.delta, o, a.O.LD(), do, a.DO.LD(), queries, g.dim)
}
