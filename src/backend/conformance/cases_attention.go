package conformance

import (
	"math"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// attentionSizes are batch, sequence, query heads, key/value heads, head size: around the sizes of tiles and vectors.
var attentionSizes = [][5]int{
	{1, 1, 1, 1, 2}, {2, 3, 2, 1, 10}, {1, 16, 3, 3, 16}, {2, 64, 2, 2, 32}, {1, 63, 1, 1, 64}, {3, 17, 4, 2, 6},
	{1, 96, 1, 1, 128}, {1, 130, 2, 1, 48}, {1, 65, 6, 2, 64}, {1, 200, 2, 2, 80}, {2, 33, 3, 1, 100}, {1, 257, 1, 1, 64},
}

// alignedAttention reaches tensor cores: head sizes 64 and 128, sequences of one tile and of several with a rest, shared
// key/value heads.
var alignedAttention = [][5]int{{2, 3, 1, 1, 64}, {2, 70, 4, 2, 64}, {1, 96, 1, 1, 128}, {1, 133, 3, 1, 128}, {1, 257, 1, 1, 64}, {1, 40, 2, 1, 80}}

// attentionBound is bound, and room for weights and their gradients that are rounded to a type of 16 bits before the products
// with them, as tensor cores take them: half a unit of every term, of which the first rows and the largest head have
// some that are several times the root mean square.
func (l *lab) attentionBound(bound float64) float64 {
	if !l.aligned {
		return bound
	}
	unit, _ := roundoff(l.stored)
	return bound + 4*unit
}

func (l *lab) attentionCases(f func(c attentionCase, space int)) {
	sizes := some(l, attentionSizes)
	if l.aligned {
		if sizes = alignedAttention; l.stored == tensor.F32 {
			sizes = sizes[:2]
		}
	}
	for i, z := range sizes {
		c := attentionCase{batch: z[0], seq: z[1], heads: z[2], groups: z[3], dim: z[4]}
		c.scale = float64(float32(1 / math.Sqrt(float64(c.dim))))
		if i%2 == 1 {
			c.headScale = make([]float64, c.heads)
			for h := range c.headScale {
				c.headScale[h] = []float64{0.25, 1, 0.5}[h%3]
			}
		}
		if f(c, i%3*7); l.Failed() {
			l.Fatalf("attention %+v", c)
		}
	}
}

func (l *lab) attentionInputs(c attentionCase, space int, std float64) (a backend.Attention, q, k, v *buf) {
	n, wide, narrow := c.batch*c.seq, c.heads*c.dim, c.groups*c.dim
	q = l.buffer("q", read, l.stored, n, wide, wide+space, l.values(n*wide, std))
	k = l.buffer("k", read, l.stored, n, narrow, narrow+space, l.values(n*narrow, std))
	v = l.in("v", n, narrow, narrow+2*space)
	a = backend.Attention{Q: q.view, K: k.view, V: v.view, HeadDim: c.dim, SeqLen: c.seq, Scale: float32(c.scale)}
	if c.headScale != nil {
		a.HeadScale = l.vector("head scale", read, tensor.F32, c.headScale, c.heads).view
	}
	return a, q, k, v
}

func caseAttentionForward(l *lab) {
	l.attentionCases(func(c attentionCase, space int) { l.attentionForward(c, space, 1, boundAttention) })
}

// caseAttentionLargeScores has scores of some hundreds: exp overflows unless the maximum is taken out first.
func caseAttentionLargeScores(l *lab) {
	l.attentionCases(func(c attentionCase, space int) {
		l.attentionForward(c, space, 12, 100*boundAttention) // a score of 150 is rounded to 1e-5
	})
}

func (l *lab) attentionForward(c attentionCase, space int, std, bound float64) {
	a, q, k, v := l.attentionInputs(c, space, std)
	n, wide := c.batch*c.seq, c.heads*c.dim
	o, lse := l.out("o", n, wide, wide+space), l.outVec32("lse", c.batch*c.heads*c.seq)
	a.O, a.LSE = o.view, lse.view.Reshape(c.batch, c.heads, c.seq)
	l.run(func(st backend.Stream) { st.AttentionForward(a) })
	wantO, wantLSE := attention(c, q.val, k.val, v.val)
	l.near(o, wantO, l.attentionBound(bound))
	l.near(lse, wantLSE, bound)
}

func caseAttentionBackward(l *lab) {
	l.attentionCases(func(c attentionCase, space int) {
		a, q, k, v := l.attentionInputs(c, space, 1)
		n, wide, narrow := c.batch*c.seq, c.heads*c.dim, c.groups*c.dim
		wantO, wantLSE := attention(c, q.val, k.val, v.val)
		o := l.buffer("o", read, l.stored, n, wide, wide+space, l.asStored(wantO))
		a.O = o.view
		a.LSE = l.vector("lse", read, tensor.F32, single(wantLSE), len(wantLSE)).view.Reshape(c.batch, c.heads, c.seq)
		do := l.in("do", n, wide, wide+space)
		dq, dk, dv := l.out("dq", n, wide, wide+space), l.out("dk", n, narrow, narrow+1), l.out("dv", n, narrow, narrow)
		l.run(func(st backend.Stream) {
			st.AttentionBackward(backend.AttentionGrad{Attention: a, DO: do.view, DQ: dq.view, DK: dk.view, DV: dv.view})
		})
		// One token attends to itself alone, and its dQ and dK are 0: then the terms' size counts.
		wantQ, wantK, wantV := attentionGrad(c, q.val, k.val, v.val, do.val, o.val)
		bound := l.attentionBound(boundAttnGrad)
		l.nearAt(dq, wantQ, bound, 0.1)
		l.nearAt(dk, wantK, bound, 0.1)
		l.near(dv, wantV, bound)
	})
}

// single is x rounded to fp32.
func single(x []float64) []float64 {
	return mapped(x, func(_ int, v float64) float64 { return float64(float32(v)) })
}
