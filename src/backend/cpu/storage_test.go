package cpu_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/tensor"
)

// twins runs every operation twice: on 16-bit tensors, and in fp32 on the same values. An operation in 16 bits must be the
// fp32 operation on widened operands with its results rounded once, so both agree to the last bit.
type twins struct {
	*testing.T
	b     *cpu.Backend
	s     backend.Stream
	half  tensor.DType
	rng   *rand.Rand
	pairs []twin // of the operation under way
}

// twin is one operand: x of the type under test, or fp32 in both, and its fp32 twin y.
type twin struct{ x, y tensor.Tensor }

func (l *twins) alloc(d tensor.DType, rows, ld, cols int) tensor.Tensor {
	m, err := l.b.Alloc("twins", rows*ld*d.Size())
	if err != nil {
		l.Fatal(err)
	}
	return tensor.New(m, 0, d, rows, ld).Columns(0, cols)
}

// make is an operand of random values, with gap elements between its rows.
func (l *twins) make(d tensor.DType, rows, cols, gap int) twin {
	p := twin{l.alloc(d, rows, cols+gap, cols), l.alloc(tensor.F32, rows, cols+2*gap, cols)}
	for i := range rows {
		for j := range cols {
			p.y.F32()[i*p.y.LD()+j] = float32(l.rng.NormFloat64())
		}
	}
	l.s.Copy(p.x, p.y)
	l.s.Copy(p.y, p.x)
	l.pairs = append(l.pairs, p)
	return p
}

func (l *twins) matrix(rows, cols int) twin { return l.make(l.half, rows, cols, l.rng.IntN(3)) }
func (l *twins) single(rows, cols int) twin { return l.make(tensor.F32, rows, cols, 0) }
func (l *twins) vector(d tensor.DType, n int) twin {
	p := l.make(d, 1, n, 0)
	return twin{p.x.Reshape(n), p.y.Reshape(n)}
}

// same compares all operands of both runs and begins anew.
func (l *twins) same(name string) {
	l.Helper()
	for i, p := range l.pairs {
		want := l.alloc(p.x.DType(), p.x.Rows(), p.x.Cols(), p.x.Cols())
		got := l.alloc(p.x.DType(), p.x.Rows(), p.x.Cols(), p.x.Cols())
		l.s.Copy(want, p.y)
		l.s.Copy(got, p.x)
		a, b := make([]byte, want.Bytes()), make([]byte, want.Bytes())
		l.s.Download(a, want)
		l.s.Download(b, got)
		if err := l.s.Sync(); err != nil {
			l.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(a, b) {
			at := slices.IndexFunc(a, func(byte) bool { return true })
			for at < len(a) && a[at] == b[at] {
				at++
			}
			l.Errorf("%s %v: operand %d, %v: element %d differs from the rounded fp32 result", name, l.half, i, p.x, at/p.x.DType().Size())
		}
		for _, t := range []tensor.Tensor{p.x, p.y, want, got} {
			l.b.Free(t.Memory())
		}
	}
	l.pairs = l.pairs[:0]
}

func TestSixteenBitsAreSinglePrecisionRoundedOnce(t *testing.T) {
	levels, counts := scope()
	counts = slices.DeleteFunc(counts, func(n int) bool { return n == 2 })
	for _, level := range levels {
		for _, half := range []tensor.DType{tensor.BF16, tensor.F16} {
			for _, workers := range counts {
				t.Run(fmt.Sprintf("%s/%v/workers%d", level, half, workers), func(t *testing.T) {
					b := cpu.New(cpu.Options{Level: level, Workers: workers})
					defer b.Close()
					l := &twins{T: t, b: b, s: b.NewStream("twins"), half: half, rng: rand.New(rand.NewPCG(1, 2))}
					l.vectors()
					l.gemms()
					l.norms()
					l.attentions()
					l.classifiers()
				})
			}
		}
	}
}

func (l *twins) vectors() {
	const n, c = 19, 75
	for _, scale := range []float32{1, 0.3} {
		x, y := l.matrix(n, c), l.matrix(n, c)
		for _, t := range [][2]tensor.Tensor{{x.x, y.x}, {x.y, y.y}} {
			l.s.Axpy(t[0], t[1], scale)
		}
		l.same("axpy")
	}
	x, v, sum := l.matrix(n, c), l.vector(tensor.F32, c), l.vector(tensor.F32, c)
	l.s.ScaleColumns(x.x, v.x)
	l.s.ScaleColumns(x.y, v.y)
	l.same("scale columns")
	x, sum = l.matrix(201, c), l.vector(tensor.F32, c)
	l.s.ColumnSum(sum.x, x.x, true)
	l.s.ColumnSum(sum.y, x.y, true)
	l.same("column sum")

	g, u, y, dy := l.matrix(n, c), l.matrix(n, c), l.matrix(n, c), l.matrix(n, c)
	l.s.SwiGLUForward(backend.SwiGLU{G: g.x, U: u.x, Y: y.x})
	l.s.SwiGLUForward(backend.SwiGLU{G: g.y, U: u.y, Y: y.y})
	l.s.SwiGLUBackward(backend.SwiGLU{G: g.x, U: u.x, DY: dy.x, DG: g.x, DU: u.x})
	l.s.SwiGLUBackward(backend.SwiGLU{G: g.y, U: u.y, DY: dy.y, DG: g.y, DU: u.y})
	l.same("swiglu")

	g, y = l.matrix(n, c), l.matrix(n, c)
	l.s.GELUForward(y.x, g.x)
	l.s.GELUForward(y.y, g.y)
	l.same("gelu")

	q, cos, sin := l.matrix(20, 96), l.single(10, 8), l.single(10, 8)
	l.s.Rotary(backend.Rotary{X: q.x, Cos: cos.x, Sin: sin.x, HeadDim: 16, SeqLen: 10})
	l.s.Rotary(backend.Rotary{X: q.y, Cos: cos.y, Sin: sin.y, HeadDim: 16, SeqLen: 10})
	l.same("rotary")

	tokens := l.alloc(tensor.I32, 1, n, n).Reshape(n)
	for i := range tokens.I32() {
		tokens.I32()[i] = int32(i * 7 % 31)
	}
	e, table, positions := l.matrix(n, c), l.matrix(31, c), l.matrix(n, c)
	embedding := func(x, table, positions tensor.Tensor) backend.Embedding {
		return backend.Embedding{X: x, Tokens: tokens, Table: table, Positions: positions, SeqLen: n, Scale: 0.7}
	}
	l.s.EmbeddingForward(embedding(e.x, table.x, positions.x))
	l.s.EmbeddingForward(embedding(e.y, table.y, positions.y))
	l.same("embedding forward")
	e, table, positions = l.matrix(n, c), l.single(31, c), l.single(n, c)
	l.s.EmbeddingBackward(embedding(e.x, table.x, positions.x))
	l.s.EmbeddingBackward(embedding(e.y, table.y, positions.y))
	l.same("embedding backward")
}

// gemms are products of one and of several blocks of K, divided by rows and by columns, and two so long that the items come
// back for another round.
func (l *twins) gemms() {
	shapes := [][3]int{{5, 3, 7}, {130, 50, 800}, {50, 130, 800}, {40, 70, 129}, {33, 400, 390}}
	if testing.Short() {
		shapes = shapes[:3]
	}
	for _, s := range shapes {
		for form := range 4 {
			transA, transB := form&1 != 0, form&2 != 0
			l.gemm(s, transA, transB, false, backend.Gemm{Accumulate: true, Alpha: 0.5})
			l.gemm(s, transA, transB, true, backend.Gemm{Accumulate: true})
			l.gemm(s, transA, transB, false, backend.Gemm{Act: backend.GELU})
			l.gemm(s, transA, transB, false, backend.Gemm{Act: backend.GELUGrad, Alpha: 2})
		}
	}
	if !testing.Short() && l.b.Level() != "portable" && l.half == tensor.BF16 && l.b.Workers() == 3 {
		for _, s := range [][3]int{{128, 128, 17000}, {112, 130, 21000}} {
			l.gemm(s, true, false, false, backend.Gemm{Accumulate: true})
			l.gemm(s, false, true, false, backend.Gemm{Act: backend.GELU})
		}
	}
}

func (l *twins) gemm(s [3]int, transA, transB, single bool, g backend.Gemm) {
	m, n, k := s[0], s[1], s[2]
	turned := func(rows, cols int, trans bool) twin {
		if trans {
			rows, cols = cols, rows
		}
		return l.matrix(rows, cols)
	}
	a, b, c, bias, pre := turned(m, k, transA), turned(k, n, transB), l.matrix(m, n), l.vector(l.half, n), l.matrix(m, n)
	if single {
		c = l.single(m, n)
	}
	g.TransA, g.TransB = transA, transB
	x, y := g, g
	x.A, x.B, x.C, x.Bias = a.x, b.x, c.x, bias.x
	y.A, y.B, y.C, y.Bias = a.y, b.y, c.y, bias.y
	if g.Act != backend.NoActivation {
		x.Pre, y.Pre = pre.x, pre.y
	}
	if g.Act == backend.GELU { // of z as it is stored, with and without Pre
		z := l.matrix(m, n)
		y.Act, y.C, y.Pre = backend.NoActivation, z.y, tensor.Tensor{}
		l.s.Gemm(x)
		l.s.Gemm(y)
		l.s.Copy(z.x, z.y)
		l.s.Copy(pre.y, z.x)
		l.s.GELUForward(c.y, pre.y)
		x.Pre, x.C = tensor.Tensor{}, z.x
		l.s.Gemm(x)
		l.s.Copy(z.y, c.x)
		l.same(fmt.Sprintf("gemm %v, transposed %v %v, and GELU", s, transA, transB))
		return
	}
	l.s.Gemm(x)
	l.s.Gemm(y)
	l.same(fmt.Sprintf("gemm %v, transposed %v %v, %+v", s, transA, transB, g.Act))
}

func (l *twins) norms() {
	const n, c = 37, 70
	mask := backend.NormMask{Old: 41, V: 0.3, Divisor: c}
	for _, rms := range []bool{false, true} {
		x, y, gain, bias := l.matrix(n, c), l.matrix(n, c), l.vector(l.half, c), l.vector(l.half, c)
		mean, rstd, dgain, dbias := l.vector(tensor.F32, n), l.vector(tensor.F32, n), l.vector(tensor.F32, c), l.vector(tensor.F32, c)
		a := backend.Norm{X: x.x, Y: y.x, Gain: gain.x, Bias: bias.x, Mean: mean.x, RStd: rstd.x, Eps: 1e-3, RMS: rms, Mask: mask}
		b := backend.Norm{X: x.y, Y: y.y, Gain: gain.y, Bias: bias.y, Mean: mean.y, RStd: rstd.y, Eps: 1e-3, RMS: rms, Mask: mask}
		l.s.NormForward(a)
		l.s.NormForward(b)
		dy, dx := l.matrix(n, c), l.matrix(n, c)
		l.s.NormBackward(backend.NormGrad{X: x.x, DY: dy.x, DX: dx.x, DResidual: dx.x, Gain: gain.x, Mean: mean.x, RStd: rstd.x,
			DGain: dgain.x, DBias: dbias.x, RMS: rms, Mask: mask})
		l.s.NormBackward(backend.NormGrad{X: x.y, DY: dy.y, DX: dx.y, DResidual: dx.y, Gain: gain.y, Mean: mean.y, RStd: rstd.y,
			DGain: dgain.y, DBias: dbias.y, RMS: rms, Mask: mask})
		l.same("norm")
	}
	// The residual sum is rounded before it is normed: normed again from there it gives the same.
	x, again, delta, gain := l.matrix(n, c), l.matrix(n, c), l.matrix(n, c), l.vector(l.half, c)
	mean, rstd := l.vector(tensor.F32, n), l.vector(tensor.F32, n)
	l.s.NormForward(backend.Norm{X: x.x, Residual: x.x, Y: delta.x, Delta: delta.x, Gain: gain.x, Mean: mean.x, RStd: rstd.x, DeltaScale: 0.3})
	l.s.Copy(x.y, x.x)
	l.s.NormForward(backend.Norm{X: x.y, Y: delta.y, Gain: gain.y, Mean: mean.y, RStd: rstd.y})
	l.s.NormForward(backend.Norm{X: x.x, Y: again.x, Gain: gain.x, Mean: mean.x, RStd: rstd.x})
	l.s.Copy(again.y, again.x)
	l.same("norm of a residual sum")
}

func (l *twins) attentions() {
	for _, z := range [][5]int{{2, 70, 4, 2, 24}, {1, 130, 2, 2, 64}, {2, 7, 3, 1, 10}} {
		n, wide, narrow := z[0]*z[1], z[2]*z[4], z[3]*z[4]
		q, k, v, o, lse := l.matrix(n, wide), l.matrix(n, narrow), l.matrix(n, narrow), l.matrix(n, wide), l.single(z[0]*z[2], z[1])
		do, dq, dk, dv, heads := l.matrix(n, wide), l.matrix(n, wide), l.matrix(n, narrow), l.matrix(n, narrow), l.vector(tensor.F32, z[2])
		a := backend.Attention{Q: q.x, K: k.x, V: v.x, O: o.x, LSE: lse.x, HeadScale: heads.x, HeadDim: z[4], SeqLen: z[1], Scale: 0.2}
		b := backend.Attention{Q: q.y, K: k.y, V: v.y, O: o.y, LSE: lse.y, HeadScale: heads.y, HeadDim: z[4], SeqLen: z[1], Scale: 0.2}
		l.s.AttentionForward(a)
		l.s.AttentionForward(b)
		l.s.Copy(o.y, o.x) // the backward pass reads the rounded output
		l.s.AttentionBackward(backend.AttentionGrad{Attention: a, DO: do.x, DQ: dq.x, DK: dk.x, DV: dv.x})
		l.s.AttentionBackward(backend.AttentionGrad{Attention: b, DO: do.y, DQ: dq.y, DK: dk.y, DV: dv.y})
		l.same(fmt.Sprintf("attention %v", z))
	}
}

func (l *twins) classifiers() {
	const n, vocab, cols = 9, 77, 80
	targets := l.alloc(tensor.I32, 1, n, n).Reshape(n)
	for i := range targets.I32() {
		targets.I32()[i] = int32(i*9 - 1)
	}
	z, loss := l.matrix(n, cols), l.vector(tensor.F32, n)
	l.s.CrossEntropy(backend.CrossEntropy{Logits: z.x, Targets: targets, Loss: loss.x, Vocab: vocab, GradScale: 0.5})
	l.s.CrossEntropy(backend.CrossEntropy{Logits: z.y, Targets: targets, Loss: loss.y, Vocab: vocab, GradScale: 0.5})
	l.same("cross entropy")

	// With one shard the halves are the whole: x holds what CrossEntropyFinish gives, y what CrossEntropy does.
	z, loss = l.matrix(n, cols), l.vector(tensor.F32, n)
	whole := l.alloc(l.half, n, cols, cols)
	l.s.Copy(whole, z.x)
	stats := l.alloc(tensor.F32, n, 3, 3)
	l.s.CrossEntropyStats(backend.CrossEntropyStats{Logits: z.x, Targets: targets, Stats: stats, Vocab: vocab})
	l.s.CrossEntropyFinish(backend.CrossEntropyFinish{Logits: z.x, Targets: targets, Stats: stats.Reshape(1, n, 3), Loss: loss.x, Vocab: vocab, GradScale: 0.5})
	l.s.CrossEntropy(backend.CrossEntropy{Logits: whole, Targets: targets, Loss: loss.y, Vocab: vocab, GradScale: 0.5})
	l.s.Copy(z.y, whole)
	l.same("cross entropy of one shard")
}
