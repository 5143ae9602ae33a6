package cpu_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/tensor"
)

// timed is one operation of a training step, and how often a step of 6 layers has it.
type timed struct {
	name  string
	count int
	run   func()
}

// BenchmarkStorage is a training step of a GPT of 30M parameters (6 layers x 384, 8 sequences of 256 tokens, vocabulary
// 50304 in chunks of 256 tokens), operation by operation, in fp32, bf16 and fp16: the best time of each of many
// interleaved rounds, and the sum over the step beside fp32's. -v prints the table.
func BenchmarkStorage(b *testing.B) {
	dev := cpu.New(cpu.Options{Workers: runtime.GOMAXPROCS(0), Level: os.Getenv(cpu.LevelVariable)})
	defer dev.Close()
	w := bench{b, dev, dev.NewStream("bench")}
	types := []tensor.DType{tensor.F32, tensor.BF16, tensor.F16}
	var lists [3][]timed
	for i, d := range types {
		lists[i] = w.trainingStep(d)
	}
	best := make([][3]time.Duration, len(lists[0]))
	for b.Loop() {
		for i := range best {
			for t := range types {
				start := time.Now()
				lists[t][i].run()
				if err := w.s.Sync(); err != nil {
					b.Fatal(err)
				}
				if d := time.Since(start); best[i][t] == 0 || d < best[i][t] {
					best[i][t] = d
				}
			}
		}
	}
	var sum [3]float64
	for i, op := range lists[0] {
		for t := range types {
			sum[t] += best[i][t].Seconds() * 1e3 * float64(op.count)
		}
		us := func(t int) float64 { return float64(best[i][t].Nanoseconds()) / 1e3 }
		b.Logf("%-22s %4d x fp32 %9.1f us  bf16 %9.1f us (%.2f)  fp16 %9.1f us (%.2f)", op.name, op.count, us(0), us(1), us(1)/us(0), us(2), us(2)/us(0))
	}
	b.Logf("step: fp32 %.1f ms, bf16 %.1f ms, fp16 %.1f ms", sum[0], sum[1], sum[2])
	b.ReportMetric(sum[0], "fp32-ms/step")
	b.ReportMetric(sum[1]/sum[0], "bf16/fp32")
	b.ReportMetric(sum[2]/sum[0], "fp16/fp32")
	b.ReportMetric(0, "ns/op")
}

func (b bench) stored(d tensor.DType, rows, cols int) tensor.Tensor {
	t := b.tensor(d, rows, cols)
	b.s.Fill(t, 0.01)
	return t
}

func (b bench) trainingStep(d tensor.DType) []timed {
	const layers, n, seq, c, f, vocab, chunk = 6, 2048, 256, 384, 1536, 50304, 256
	m := func(rows, cols int) tensor.Tensor { return b.stored(d, rows, cols) }
	x, y, r := m(n, c), m(n, c), m(n, c)
	qkv, dqkv, act, pre := m(n, 3*c), m(n, 3*c), m(n, f), m(n, f)
	wqkv, wo, w1, w2, table, z := m(3*c, c), m(c, c), m(f, c), m(c, f), m(vocab, c), m(chunk, vocab)
	gqkv, go_, g1, g2, gtable := b.f32(3*c, c), b.f32(c, c), b.f32(f, c), b.f32(c, f), b.f32(vocab, c)
	gain, bias, bias3, biasF := m(1, c).Reshape(c), m(1, c).Reshape(c), m(1, 3*c).Reshape(3*c), m(1, f).Reshape(f)
	mean, rstd, lse, dgain, loss := b.f32(n), b.f32(n), b.f32(n/seq, 6, seq), b.f32(c), b.f32(chunk)
	tokens := b.tensor(tensor.I32, n)
	a := backend.AttentionGrad{Attention: backend.Attention{Q: qkv.Columns(0, c), K: qkv.Columns(c, 2*c), V: qkv.Columns(2*c, 3*c), O: x, LSE: lse,
		HeadDim: 64, SeqLen: seq, Scale: 0.125}, DO: y, DQ: dqkv.Columns(0, c), DK: dqkv.Columns(c, 2*c), DV: dqkv.Columns(2*c, 3*c)}
	s := b.s
	forward := func(c, a, w, bias tensor.Tensor) func() {
		return func() { s.Gemm(backend.Gemm{C: c, A: a, B: w, TransB: true, Bias: bias}) }
	}
	data := func(c, dy, w tensor.Tensor) func() { return func() { s.Gemm(backend.Gemm{C: c, A: dy, B: w}) } }
	weight := func(g, dy, x tensor.Tensor) func() {
		return func() { s.Gemm(backend.Gemm{C: g, A: dy, TransA: true, B: x, Accumulate: true, Alpha: 1e-6}) }
	}
	return []timed{
		{"qkv forward", layers, forward(qkv, x, wqkv, bias3)}, {"qkv data", layers, data(y, dqkv, wqkv)}, {"qkv weight", layers, weight(gqkv, dqkv, x)},
		{"dense forward", layers, forward(y, x, wo, bias)}, {"dense data", layers, data(y, x, wo)}, {"dense weight", layers, weight(go_, y, x)},
		{"fc1 forward and GELU", layers, func() {
			s.Gemm(backend.Gemm{C: act, A: x, B: w1, TransB: true, Bias: biasF, Act: backend.GELU, Pre: pre})
		}},
		{"fc1 data", layers, data(y, act, w1)}, {"fc1 weight", layers, weight(g1, act, x)},
		{"fc2 forward", layers, forward(y, act, w2, bias)},
		{"fc2 data and GELU'", layers, func() { s.Gemm(backend.Gemm{C: act, A: x, B: w2, Act: backend.GELUGrad, Pre: pre}) }},
		{"fc2 weight", layers, weight(g2, x, act)},
		{"head forward", n / chunk, forward(z, x.Slice(0, chunk), table, tensor.Tensor{})},
		{"head data", n / chunk, data(y.Slice(0, chunk), z, table)}, {"head weight", n / chunk, weight(gtable, z, x.Slice(0, chunk))},
		{"cross entropy", n / chunk, func() {
			s.CrossEntropy(backend.CrossEntropy{Logits: z, Targets: tokens.Slice(0, chunk), Loss: loss, Vocab: 50257, GradScale: 1e-4})
		}},
		{"norm forward", 2*layers + 1, func() {
			s.NormForward(backend.Norm{X: x, Residual: x, Delta: y, Y: y, Gain: gain, Bias: bias, Mean: mean, RStd: rstd, Eps: 1, DeltaScale: 1e-6})
		}},
		{"norm backward", 2*layers + 1, func() {
			s.NormBackward(backend.NormGrad{X: x, DY: y, DX: r, DResidual: r, Gain: gain, Mean: mean, RStd: rstd, DGain: dgain, DBias: dgain})
		}},
		{"attention forward", layers, func() { s.AttentionForward(a.Attention) }},
		{"attention backward", layers, func() { s.AttentionBackward(a) }},
		{"column sums", 4 * layers, func() { s.ColumnSum(dgain, x, true) }},
		{"embedding forward", 1, func() {
			s.EmbeddingForward(backend.Embedding{X: x, Tokens: tokens, Table: table, Positions: y, SeqLen: seq, Scale: 1})
		}},
	}
}
