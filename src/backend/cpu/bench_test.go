package cpu_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/tensor"
)

// bench is a backend with a stream, for one benchmark.
type bench struct {
	*testing.B
	b backend.Backend
	s backend.Stream
}

// eachLevel runs f at every instruction set of this processor with one worker and with one on each core.
func eachLevel(b *testing.B, f func(b bench)) {
	for _, level := range cpu.Levels() {
		for _, workers := range []int{1, runtime.NumCPU()} {
			b.Run(fmt.Sprintf("%s/workers%d", level, workers), func(b *testing.B) {
				dev := cpu.New(cpu.Options{Level: level, Workers: workers})
				defer dev.Close()
				f(bench{b, dev, dev.NewStream("bench")})
			})
		}
	}
}

func (b bench) tensor(d tensor.DType, dims ...int) tensor.Tensor {
	n := d.Size()
	for _, x := range dims {
		n *= x
	}
	m, err := b.b.Alloc("bench", n)
	if err != nil {
		b.Fatal(err)
	}
	t := tensor.New(m, 0, d, dims...)
	if d == tensor.F32 {
		for i, v := 0, t.F32(); i < len(v); i++ {
			v[i] = float32(math.Sin(float64(i)))
		}
	}
	return t
}

func (b bench) f32(dims ...int) tensor.Tensor { return b.tensor(tensor.F32, dims...) }

// time reports bytes moved a second, and the share of what a copy of this size class reaches with as many workers.
func (b bench) time(bytes int, enqueue func()) {
	b.Helper()
	enqueue()
	if err := b.s.Sync(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		enqueue()
		b.s.Sync()
	}
	b.StopTimer()
	rate := float64(bytes) * float64(b.N) / b.Elapsed().Seconds() / 1e9
	b.ReportMetric(rate, "GB/s")
	b.ReportMetric(100*rate/b.copyRate(), "%copy")
}

// copyRate is the GB/s read and written by copying 64 MB, the best of some.
func (b bench) copyRate() float64 {
	const n = 16 << 20
	x, y := b.f32(n), b.f32(n)
	best := 0.0
	for range 8 {
		start := time.Now()
		b.s.Copy(y, x)
		b.s.Sync()
		best = max(best, 2*4*n/time.Since(start).Seconds()/1e9)
	}
	b.b.Free(x.Memory())
	b.b.Free(y.Memory())
	return best
}

func BenchmarkAdamW(b *testing.B) {
	eachLevel(b, func(b bench) {
		const n = 8 << 20
		a := backend.AdamW{
			W: b.f32(1, n), G: b.f32(1, n), M: b.f32(1, n), V: b.f32(1, n), Step: 5,
			LR: 1e-4, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, GradScale: 1,
		}
		b.s.Fill(a.V, 1)
		b.time(7*4*n, func() { b.s.AdamW(a) })
	})
}

func BenchmarkAxpy(b *testing.B) {
	eachLevel(b, func(b bench) {
		const n = 8 << 20
		x, y := b.f32(n), b.f32(n)
		b.time(3*4*n, func() { b.s.Axpy(y, x, 1e-9) })
	})
}

func BenchmarkSumSquares(b *testing.B) {
	eachLevel(b, func(b bench) {
		const n = 8 << 20
		x, out := b.f32(n), b.tensor(tensor.F64, 1)
		b.time(4*n, func() { b.s.SumSquares(out, x, false) })
	})
}

func BenchmarkColumnSum(b *testing.B) {
	eachLevel(b, func(b bench) {
		x, out := b.f32(2048, 1536), b.f32(1536)
		b.time(x.Bytes(), func() { b.s.ColumnSum(out, x, true) })
	})
}

func BenchmarkCopyBF16(b *testing.B) {
	eachLevel(b, func(b bench) {
		const n = 8 << 20
		x, y := b.f32(n), b.tensor(tensor.BF16, n)
		b.time(6*n, func() { b.s.Copy(y, x) })
	})
}

func BenchmarkCrossEntropy(b *testing.B) {
	eachLevel(b, func(b bench) {
		z, targets, loss := b.f32(256, 50304), b.tensor(tensor.I32, 256), b.f32(256)
		b.time(2*z.Bytes(), func() {
			b.s.CrossEntropy(backend.CrossEntropy{Logits: z, Targets: targets, Loss: loss, Vocab: 50257, GradScale: 1})
		})
	})
}

func BenchmarkNormForward(b *testing.B) {
	eachLevel(b, func(b bench) {
		const n, c = 2048, 768
		a := backend.Norm{
			X: b.f32(n, c), Y: b.f32(n, c), Residual: b.f32(n, c), Delta: b.f32(n, c),
			Gain: b.f32(c), Bias: b.f32(c), Mean: b.f32(n), RStd: b.f32(n), Eps: 1e-5,
		}
		b.time(4*4*n*c, func() { b.s.NormForward(a) })
	})
}

func BenchmarkNormBackward(b *testing.B) {
	eachLevel(b, func(b bench) {
		const n, c = 2048, 768
		a := backend.NormGrad{
			X: b.f32(n, c), DY: b.f32(n, c), DX: b.f32(n, c), DResidual: b.f32(n, c),
			Gain: b.f32(c), Mean: b.f32(n), RStd: b.f32(n), DGain: b.f32(c), DBias: b.f32(c),
		}
		b.time(4*4*n*c, func() { b.s.NormBackward(a) })
	})
}

func BenchmarkSwiGLUBackward(b *testing.B) {
	eachLevel(b, func(b bench) {
		const n, f = 2048, 2048
		a := backend.SwiGLU{G: b.f32(n, f), U: b.f32(n, f), DY: b.f32(n, f), DG: b.f32(n, f), DU: b.f32(n, f)}
		b.time(5*4*n*f, func() { b.s.SwiGLUBackward(a) })
	})
}

func BenchmarkRotary(b *testing.B) {
	eachLevel(b, func(b bench) {
		a := backend.Rotary{X: b.f32(2048, 768), Cos: b.f32(256, 32), Sin: b.f32(256, 32), HeadDim: 64, SeqLen: 256}
		b.s.Fill(a.Cos, 1) // turning by 0: repeated shrinking would end in subnormal numbers
		b.s.Fill(a.Sin, 0)
		b.time(2*a.X.Bytes(), func() { b.s.Rotary(a) })
	})
}

// BenchmarkAttention reports GFLOP/s of the products alone, the causal half counted: 2 forward, 5 backward, of
// T (T+1)/2 x D multiply-adds for each head.
func BenchmarkAttention(b *testing.B) {
	for _, z := range [][4]int{{4, 64, 12, 64}, {8, 256, 6, 64}, {2, 1024, 4, 64}, {1, 2048, 4, 64}, {2, 512, 4, 128}, {4, 256, 8, 32}} {
		batch, seq, heads, dim := z[0], z[1], z[2], z[3]
		b.Run(fmt.Sprintf("B%dT%dH%dD%d", batch, seq, heads, dim), func(b *testing.B) {
			eachLevel(b, func(b bench) {
				n, c := batch*seq, heads*dim
				qkv, dqkv := b.f32(n, 3*c), b.f32(n, 3*c)
				a := backend.AttentionGrad{
					Attention: backend.Attention{
						Q: qkv.Columns(0, c), K: qkv.Columns(c, 2*c), V: qkv.Columns(2*c, 3*c), O: b.f32(n, c), LSE: b.f32(batch, heads, seq),
						HeadDim: dim, SeqLen: seq, Scale: float32(1 / math.Sqrt(float64(dim))),
					},
					DO: b.f32(n, c), DQ: dqkv.Columns(0, c), DK: dqkv.Columns(c, 2*c), DV: dqkv.Columns(2*c, 3*c),
				}
				flops := 2 * float64(batch*heads) * float64(seq*(seq+1)/2) * float64(dim)
				b.s.AttentionForward(a.Attention)
				b.Run("forward", func(t *testing.B) { bench{t, b.b, b.s}.flops(2*flops, func() { b.s.AttentionForward(a.Attention) }) })
				b.Run("backward", func(t *testing.B) { bench{t, b.b, b.s}.flops(5*flops, func() { b.s.AttentionBackward(a) }) })
			})
		})
	}
}

// flops reports GFLOP/s.
func (b bench) flops(count float64, enqueue func()) {
	b.Helper()
	enqueue()
	if err := b.s.Sync(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		enqueue()
		b.s.Sync()
	}
	b.StopTimer()
	b.ReportMetric(count*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
