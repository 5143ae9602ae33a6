package conformance

import (
	"math"

	"cambium/src/backend"
)

func caseEmbedding(l *lab) {
	// In the last two some rows occur often, over more tokens than a block takes at once.
	for _, s := range []struct{ n, seq, c, rows, start int }{
		{1, 1, 1, 3, 0}, {12, 6, 5, 7, 0}, {35, 7, 33, 11, 4}, {40, 40, 192, 20, 0}, {100, 50, 320, 3, 1}, {2100, 300, 8, 50, 3},
	} {
		for _, positions := range []bool{false, true} {
			for _, scale := range []float32{1, 0.3} {
				l.embedding(s.n, s.seq, s.c, s.rows, s.start, positions, scale)
			}
		}
	}
}

// embedding runs forward and backward; with start > 0 some tokens are outside the local rows, on both sides.
func (l *lab) embedding(n, seq, c, rows, start int, positions bool, scale float32) {
	tokens := make([]int, n)
	for i := range tokens {
		tokens[i] = l.rng.IntN(rows)
		if start > 0 {
			tokens[i] = l.rng.IntN(rows + 2*start)
		}
	}
	local := func(i int) int { return tokens[i] - start }
	here := func(i int) bool { return local(i) >= 0 && local(i) < rows }

	x, table := l.out("x", n, c, c+2), l.in("table", rows, c, c+1)
	a := backend.Embedding{X: x.view, Tokens: l.ints("tokens", tokens).view, Table: table.view, SeqLen: seq, Scale: scale, VocabStart: start}
	var pos *buf
	if positions {
		pos = l.in("positions", seq+1, c, c)
		a.Positions = pos.view
	}
	l.run(func(st backend.Stream) { st.EmbeddingForward(a) })
	want := make([]float64, n*c)
	for i := range want {
		row, j := i/c, i%c
		if here(row) {
			want[i] = table.val[local(row)*c+j]
		}
		if positions {
			want[i] += pos.val[row%seq*c+j]
		}
		want[i] *= float64(scale)
	}
	l.near(x, want, boundElementwise)

	dx, dtable := l.in("dx", n, c, c+2), l.inout32("dtable", rows, c, c+1)
	a.X, a.Tokens, a.Table = dx.view, l.ints("tokens", tokens).view, dtable.view
	var dpos *buf
	var wantPos []float64
	if positions {
		dpos = l.inout32("dpositions", seq+1, c, c)
		a.Positions, wantPos = dpos.view, append(wantPos, dpos.val...)
	}
	l.run(func(st backend.Stream) { st.EmbeddingBackward(a) })
	want = append([]float64(nil), dtable.val...)
	for i, v := range dx.val {
		row, j := i/c, i%c
		if here(row) {
			want[local(row)*c+j] += float64(scale) * v
		}
		if positions {
			wantPos[row%seq*c+j] += float64(scale) * v
		}
	}
	l.near(dtable, want, boundSum)
	if positions {
		l.near(dpos, wantPos, boundSum)
	}
}

func caseRotary(l *lab) {
	for _, s := range []struct{ n, seq, heads, dim, space int }{{1, 1, 1, 2, 0}, {10, 5, 3, 6, 4}, {14, 7, 2, 64, 256}, {9, 3, 1, 128, 0}, {6, 6, 5, 32, 1}, {5, 5, 2, 80, 3}} {
		for _, inverse := range []bool{false, true} {
			cols := s.heads * s.dim
			x := l.inout("x", s.n, cols, cols+s.space)
			cos, sin := l.in32("cos", s.seq+2, s.dim/2, s.dim/2), l.in32("sin", s.seq+2, s.dim/2, s.dim/2+1)
			l.run(func(st backend.Stream) {
				st.Rotary(backend.Rotary{X: x.view, Cos: cos.view, Sin: sin.view, HeadDim: s.dim, SeqLen: s.seq, Inverse: inverse})
			})
			sign := 1.0
			if inverse {
				sign = -1
			}
			want := make([]float64, 0, len(x.val))
			for at := 0; at < len(x.val); at += s.dim {
				t := at / cols % s.seq * s.dim / 2
				want = append(want, rotate(x.val[at:at+s.dim], cos.val[t:t+s.dim/2], sin.val[t:t+s.dim/2], sign)...)
			}
			l.near(x, want, boundElementwise)
		}
	}
}

func caseGELU(l *lab) {
	for _, s := range some(l, shapes) {
		x, y := l.in("x", s.rows, s.cols, s.cols+1), l.out("y", s.rows, s.cols, s.ld)
		l.run(func(st backend.Stream) { st.GELUForward(y.view, x.view) })
		l.near(y, mapped(x.val, func(_ int, v float64) float64 { return gelu(v) }), boundActivation)
	}
}

func caseSwiGLU(l *lab) {
	for _, s := range some(l, shapes) {
		gates := l.normal(s.rows*s.cols, 3)
		for i := range gates {
			if i%11 == 0 {
				gates[i] = []float64{0, 20, -20, 88, -88, 104, -104, 1e4, -1e4}[i/11%9]
			}
		}
		gates = l.asStored(gates)
		gate := func(u use) *buf { return l.buffer("g", u, l.stored, s.rows, s.cols, s.ld, gates) }
		g, u, y := gate(read), l.in("u", s.rows, s.cols, s.cols+1), l.out("y", s.rows, s.cols, s.ld)
		l.run(func(st backend.Stream) { st.SwiGLUForward(backend.SwiGLU{G: g.view, U: u.view, Y: y.view}) })
		l.near(y, mapped(gates, func(i int, v float64) float64 { return silu(v) * u.val[i] }), boundActivation)

		for _, alias := range []bool{false, true} {
			var dg, du *buf
			dy := l.in("dy", s.rows, s.cols, s.cols+2)
			if alias {
				g, u = gate(both), l.inout("u", s.rows, s.cols, s.cols+1)
				dg, du = g, u
			} else {
				g, u = gate(read), l.in("u", s.rows, s.cols, s.cols+1)
				dg, du = l.out("dg", s.rows, s.cols, s.ld), l.out("du", s.rows, s.cols, s.cols)
			}
			l.run(func(st backend.Stream) {
				st.SwiGLUBackward(backend.SwiGLU{G: g.view, U: u.view, DY: dy.view, DG: dg.view, DU: du.view})
			})
			l.near(dg, mapped(gates, func(i int, v float64) float64 { return dy.val[i] * u.val[i] * siluGrad(v) }), boundActivation)
			l.near(du, mapped(gates, func(i int, v float64) float64 { return dy.val[i] * silu(v) }), boundActivation)
		}
	}
}

func caseCrossEntropy(l *lab) {
	type size struct{ n, vocab, cols, ld int }
	for _, s := range some(l, []size{{2, 50257, 50304, 50304}, {3, 2, 5, 5}, {7, 33, 64, 70}, {1, 1, 1, 1}, {5, 1000, 1024, 1024}}) {
		for _, std := range []float64{1, 30, 1e4} {
			for _, gradScale := range []float32{0, 1, 0.01} {
				l.crossEntropy(s.n, s.vocab, s.cols, s.ld, std, gradScale)
			}
		}
	}
}

func (l *lab) crossEntropy(n, vocab, cols, ld int, std float64, gradScale float32) {
	logits, targets := l.values(n*cols, std), make([]int, n)
	for i := range targets {
		if targets[i] = l.rng.IntN(vocab); i%3 == 2 {
			targets[i] = -1 - i
		}
		for j := vocab; j < cols; j++ { // the padding is not to be looked at
			logits[i*cols+j] = math.NaN()
		}
	}
	u := both
	if gradScale == 0 {
		u = read
	}
	z := l.buffer("logits", u, l.stored, n, cols, ld, logits)
	loss := l.outVec32("loss", n)
	a := backend.CrossEntropy{Logits: z.view, Targets: l.ints("targets", targets).view, Loss: loss.view, Vocab: vocab, GradScale: gradScale}
	l.run(func(st backend.Stream) { st.CrossEntropy(a) })
	wantLoss, want := make([]float64, n), make([]float64, n*cols)
	for i, target := range targets {
		if target >= 0 {
			var grad []float64
			wantLoss[i], grad = crossEntropy(logits[i*cols:][:vocab], target)
			for j, v := range grad {
				want[i*cols+j] = float64(gradScale) * v
			}
		}
	}
	l.nearAt(loss, wantLoss, boundEntropy, 1) // a sure target: the logarithm of almost 1
	if gradScale != 0 {
		// z - max is rounded to fp32: exp of it errs by that much. The gradient of a sure target cancels.
		l.nearAt(z, want, boundEntropy*math.Max(1, std/10), float64(gradScale)/math.Sqrt(float64(cols)))
	}
}
