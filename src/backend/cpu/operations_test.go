package cpu_test

import (
	"math"
	"runtime"
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/tensor"
)

// world is one small tensor set on which every operation can run.
type world struct {
	b   *cpu.Backend
	s   backend.Stream
	ops []func()
}

func newWorld(t *testing.T, workers int) *world {
	w := &world{b: cpu.New(cpu.Options{Workers: workers})}
	w.s = w.b.NewStream("operations")
	t.Cleanup(func() {
		if err := w.b.Close(); err != nil {
			t.Error(err)
		}
	})
	alloc := func(d tensor.DType, dims ...int) tensor.Tensor {
		n := d.Size()
		for _, x := range dims {
			n *= x
		}
		m, err := w.b.Alloc("world", n)
		if err != nil {
			t.Fatal(err)
		}
		return tensor.New(m, 0, d, dims...)
	}
	f := func(dims ...int) tensor.Tensor { return alloc(tensor.F32, dims...) }
	h := func(dims ...int) tensor.Tensor { return alloc(tensor.BF16, dims...) }
	const n, c, v, seq = 70, 48, 101, 35
	x, y, z, vec, vec2, rows, rows2 := f(n, c), f(n, c), f(n, c), f(c), f(c), f(n), f(n)
	half, ids, table, logits := h(n, c), alloc(tensor.I32, n), f(v, c), f(n, v)
	hx, hy, hgain, htable, hlogits, hqkv, hdqkv := h(n, c), h(n, c), h(c), h(v, c), h(n, v), h(n, 3*c), h(n, 3*c)
	birthRow, birthCol := alloc(tensor.I32, n), alloc(tensor.I32, c)
	qkv, dqkv, lse, sum := f(n, 3*c), f(n, 3*c), f(n/seq, 3, seq), alloc(tensor.F64, 1)
	cos, sin, stats := f(seq, 8), f(seq, 8), f(2*n, 3)
	s := w.s
	attention := backend.AttentionGrad{
		Attention: backend.Attention{
			Q: qkv.Columns(0, c), K: qkv.Columns(c, 2*c), V: qkv.Columns(2*c, 3*c), O: x, LSE: lse, HeadDim: 16, SeqLen: seq, Scale: 0.25,
		},
		DO: y, DQ: dqkv.Columns(0, c), DK: dqkv.Columns(c, 2*c), DV: dqkv.Columns(2*c, 3*c),
	}
	inHalf := attention
	inHalf.Q, inHalf.K, inHalf.V, inHalf.O = hqkv.Columns(0, c), hqkv.Columns(c, 2*c), hqkv.Columns(2*c, 3*c), hx
	inHalf.DO, inHalf.DQ, inHalf.DK, inHalf.DV = hy, hdqkv.Columns(0, c), hdqkv.Columns(c, 2*c), hdqkv.Columns(2*c, 3*c)
	adam := backend.AdamW{W: x, G: y, M: z, V: f(n, c), Step: 9, LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, GradScale: 1}
	adams := []backend.AdamW{adam, adam} // a list of one's own, as the optimizer has it
	adams[1].BirthRow, adams[1].BirthCol, adams[1].Out = birthRow, birthCol, half
	mask := backend.NormMask{Old: 30, V: 0.5, Divisor: c}
	bothStats := stats.Reshape(2, n, 3)
	w.ops = []func(){
		func() { s.Fill(x, 0.5) },
		func() { s.Fill(qkv, 0.1) },
		func() { s.Copy(half, x) },
		func() { s.Copy(y, half) },
		func() { s.Axpy(y, half, 0.5) },
		func() { s.Scale(y, 0.5) },
		func() { s.Fill(vec, 1) },
		func() { s.ScaleColumns(y, vec) },
		func() { s.ColumnSum(vec2, y, true) },
		func() { s.SumSquares(sum, y, false) },
		func() { s.Gemm(backend.Gemm{C: logits, A: x, B: table, TransB: true}) },
		func() { s.EmbeddingForward(backend.Embedding{X: x, Tokens: ids, Table: table, SeqLen: seq, Scale: 1}) },
		func() { s.EmbeddingBackward(backend.Embedding{X: x, Tokens: ids, Table: table, SeqLen: seq, Scale: 1}) },
		func() {
			s.NormForward(backend.Norm{X: x, Y: y, Gain: vec, Bias: vec, Mean: rows, RStd: rows2, Eps: 1e-5, Mask: mask})
		},
		func() {
			s.NormBackward(backend.NormGrad{X: x, DY: y, DX: z, Gain: vec, Mean: rows, RStd: rows2, DGain: vec2, DBias: vec2, Mask: mask})
		},
		func() {
			s.Rotary(backend.Rotary{X: qkv.Columns(0, c), Cos: cos, Sin: sin, HeadDim: 16, SeqLen: seq})
		},
		func() { s.AttentionForward(attention.Attention) },
		func() { s.AttentionBackward(attention) },
		func() { s.SwiGLUForward(backend.SwiGLU{G: x, U: y, Y: z}) },
		func() { s.SwiGLUBackward(backend.SwiGLU{G: x, U: y, DY: z, DG: x, DU: y}) },
		func() {
			s.CrossEntropy(backend.CrossEntropy{Logits: logits, Targets: ids, Loss: rows, Vocab: 99, GradScale: 1})
		},
		func() {
			s.CrossEntropyStats(backend.CrossEntropyStats{Logits: logits, Targets: ids, Stats: stats.Slice(0, n), VocabStart: 40, Vocab: 120})
		},
		func() {
			s.CrossEntropyFinish(backend.CrossEntropyFinish{Logits: logits, Targets: ids, Stats: bothStats, Loss: rows,
				VocabStart: 40, Vocab: 120, GradScale: 1})
		},
		func() { s.AdamW(adams[:1]...) },
		func() { s.AdamW(adams[1:]...) },

		func() { s.Axpy(half, hx, 0.5) },
		func() { s.Scale(half, 0.5) },
		func() { s.ColumnSum(vec2, half, true) },
		func() { s.SumSquares(sum, half, false) },
		func() { s.Gemm(backend.Gemm{C: hlogits, A: hx, B: htable, TransB: true}) },
		func() { s.Gemm(backend.Gemm{C: table, A: hlogits, TransA: true, B: hx, Accumulate: true}) },
		func() {
			s.Gemm(backend.Gemm{C: hx, A: hlogits, B: htable, Bias: hgain, Act: backend.GELU, Pre: hy})
		},
		func() {
			s.EmbeddingForward(backend.Embedding{X: hx, Tokens: ids, Table: htable, SeqLen: seq, Scale: 1})
		},
		func() {
			s.EmbeddingBackward(backend.Embedding{X: hx, Tokens: ids, Table: table, SeqLen: seq, Scale: 1})
		},
		func() {
			s.NormForward(backend.Norm{X: hx, Y: hy, Gain: hgain, Bias: hgain, Mean: rows, RStd: rows2, Eps: 1e-5, Mask: mask})
		},
		func() {
			s.NormBackward(backend.NormGrad{X: hx, DY: hy, DX: half, Gain: hgain, Mean: rows, RStd: rows2, DGain: vec2, DBias: vec2, Mask: mask})
		},
		func() {
			s.Rotary(backend.Rotary{X: hqkv.Columns(0, c), Cos: cos, Sin: sin, HeadDim: 16, SeqLen: seq})
		},
		func() { s.AttentionForward(inHalf.Attention) },
		func() { s.AttentionBackward(inHalf) },
		func() { s.SwiGLUForward(backend.SwiGLU{G: hx, U: hy, Y: half}) },
		func() { s.SwiGLUBackward(backend.SwiGLU{G: hx, U: hy, DY: half, DG: hx, DU: hy}) },
		func() {
			s.CrossEntropy(backend.CrossEntropy{Logits: hlogits, Targets: ids, Loss: rows, Vocab: 99, GradScale: 1})
		},
	}
	return w
}

func (w *world) step(t *testing.T) {
	for _, op := range w.ops {
		op()
	}
	if err := w.s.Sync(); err != nil {
		t.Fatal(err)
	}
}

func TestNoOperationAllocatesOnceItHasRun(t *testing.T) {
	for _, workers := range []int{1, 2} {
		w := newWorld(t, workers)
		for range 3 {
			w.step(t)
		}
		// An operation that allocates does so in every step of every window. The runtime's own allocations (a waiter's record when
		// goroutines park and wake on different processors) come and go with the load of the machine: the best window counts.
		const windows, steps = 5, 20
		fewest := uint64(math.MaxUint64)
		for range windows {
			fewest = min(fewest, mallocs(func() {
				for range steps {
					w.step(t)
				}
			}))
		}
		if fewest >= steps {
			t.Errorf("%d workers: at least %d allocations in %d steps of %d operations", workers, fewest, steps, len(w.ops))
		}
	}
}

// mallocs is the number of objects that the whole program allocates on the heap while f runs.
func mallocs(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// TestScratchMemoryIsCountedAndStays: what operations need beside their operands is told apart from what was allocated, and
// no longer grows once each has run.
func TestScratchMemoryIsCountedAndStays(t *testing.T) {
	w := newWorld(t, 2)
	before := w.b.Usage()
	w.step(t)
	w.step(t)
	once := w.b.Usage()
	for range 5 {
		w.step(t)
	}
	if after := w.b.Usage(); after.Scratch != once.Scratch || once.Scratch < 4*70*48 || before.Scratch != 0 {
		t.Errorf("scratch memory: %d bytes at first, %d after two steps, %d after seven", before.Scratch, once.Scratch, after.Scratch)
	}
	if once.Current != before.Current || once.Peak != before.Peak {
		t.Errorf("allocated: %d bytes before, %d after, %d at most", before.Current, once.Current, once.Peak)
	}
	if err := w.b.Close(); err != nil || w.b.Usage().Scratch != 0 {
		t.Errorf("after Close %d bytes of scratch are left, %v", w.b.Usage().Scratch, err)
	}
}

func TestWrongArgumentsPanicInTheCaller(t *testing.T) {
	w := newWorld(t, 1)
	mem, err := w.b.Alloc("wrong", 4096)
	if err != nil {
		t.Fatal(err)
	}
	x, short := tensor.New(mem, 0, tensor.F32, 4, 8), tensor.New(mem, 1024, tensor.F32, 4, 7)
	ints := tensor.New(mem, 2048, tensor.I32, 4)
	half, square := tensor.New(mem, 3072, tensor.BF16, 4, 8), tensor.New(mem, 3200, tensor.BF16, 8, 8)
	var none tensor.Tensor
	for name, f := range map[string]func(){
		"absent":            func() { w.s.Scale(none, 1) },
		"type":              func() { w.s.Scale(ints, 1) },
		"shapes":            func() { w.s.Axpy(x, short, 1) },
		"conversion":        func() { w.s.Copy(x.Slice(0, 1).Columns(0, 4).Reshape(4), ints) },
		"column sum":        func() { w.s.ColumnSum(short.Slice(0, 1), x, false) },
		"sum of squares":    func() { w.s.SumSquares(x, x, false) },
		"norm without gain": func() { w.s.NormForward(backend.Norm{X: x, Y: x, RStd: none}) },
		"rotary":            func() { w.s.Rotary(backend.Rotary{X: x, Cos: x, Sin: x, HeadDim: 3, SeqLen: 2}) },
		"attention": func() {
			w.s.AttentionForward(backend.Attention{Q: x, K: x, V: x, O: x, LSE: x, HeadDim: 3, SeqLen: 4})
		},
		"cross entropy": func() {
			w.s.CrossEntropy(backend.CrossEntropy{Logits: x, Targets: ints, Loss: x.Slice(0, 1).Columns(0, 4), Vocab: 9})
		},
		"cross entropy stats": func() {
			w.s.CrossEntropyStats(backend.CrossEntropyStats{Logits: x, Targets: ints, Stats: x, Vocab: 9})
		},
		"cross entropy finish": func() {
			w.s.CrossEntropyFinish(backend.CrossEntropyFinish{Logits: x, Targets: ints, Stats: short.Slice(0, 1).Columns(0, 4), Loss: x, Vocab: 9})
		},
		"mixed types":      func() { w.s.SwiGLUForward(backend.SwiGLU{G: x, U: x, Y: half}) },
		"16-bit gradient":  func() { w.s.ColumnSum(half.Slice(0, 1).Reshape(8), x, false) },
		"16-bit factors":   func() { w.s.Gemm(backend.Gemm{C: x, A: x, B: half}) },
		"activation, fp32": func() { w.s.Gemm(backend.Gemm{C: x, A: half, B: square, Act: backend.GELU}) },
		"adam step":        func() { w.s.AdamW(backend.AdamW{W: x, G: x, M: x, V: x}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
	if err := w.s.Sync(); err != nil {
		t.Errorf("a call that panicked left something in the stream: %v", err)
	}
}

func TestTargetOutsideTheVocabularyFailsTheStream(t *testing.T) {
	w := newWorld(t, 2)
	mem, err := w.b.Alloc("targets", 4096)
	if err != nil {
		t.Fatal(err)
	}
	logits, loss, targets := tensor.New(mem, 0, tensor.F32, 2, 8), tensor.New(mem, 1024, tensor.F32, 2), tensor.New(mem, 2048, tensor.I32, 2)
	targets.I32()[1] = 7
	w.s.CrossEntropy(backend.CrossEntropy{Logits: logits, Targets: targets, Loss: loss, Vocab: 7, GradScale: 1})
	if err := w.s.Sync(); err == nil {
		t.Error("target 7 of a vocabulary of 7 passed")
	}
	stats := tensor.New(mem, 3072, tensor.F32, 2, 3)
	w.s.CrossEntropyStats(backend.CrossEntropyStats{Logits: logits, Targets: targets, Stats: stats, Vocab: 7, VocabStart: 4})
	if err := w.s.Sync(); err == nil {
		t.Error("target 7 of a split vocabulary of 7 passed")
	}
}

// TestAttentionNeedsATileOfScoresAndNoMore: beside its operands attention in fp32 needs the same memory for every length of a
// sequence, in 16 bits a sum for each key and value more; a matrix of all scores would be 64 MiB here.
func TestAttentionNeedsATileOfScoresAndNoMore(t *testing.T) {
	const c, long = 16, 4096
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16} {
		b := cpu.New(cpu.Options{Workers: 1})
		defer b.Close()
		s := b.NewStream("attention")
		need := func(seq int) int64 {
			f := func(d tensor.DType, rows, cols int) tensor.Tensor {
				mem, err := b.Alloc("attention", rows*cols*d.Size())
				if err != nil {
					t.Fatal(err)
				}
				return tensor.New(mem, 0, d, rows, cols)
			}
			x := func() tensor.Tensor { return f(d, seq, c) }
			a := backend.AttentionGrad{
				Attention: backend.Attention{Q: x(), K: x(), V: x(), O: x(), LSE: f(tensor.F32, 1, seq).Reshape(1, 1, seq), HeadDim: c, SeqLen: seq, Scale: 0.25},
				DO:        x(), DQ: x(), DK: x(), DV: x(),
			}
			s.AttentionForward(a.Attention)
			s.AttentionBackward(a)
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			return int64(b.Usage().Scratch)
		}
		if short, more := need(64), need(long); more == 0 || more-short > 3*4*long*c {
			t.Errorf("%v: attention over 64 tokens needs %d bytes of scratch memory, over %d tokens %d", d, short, long, more)
		}
	}
}
