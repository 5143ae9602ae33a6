package model_test

import (
	"testing"
	"time"

	"cambium/src/arch"
	"cambium/src/model"
)

// BenchmarkStep times forward and backward passes, without the optimizer, on one worker.
func BenchmarkStep(b *testing.B) {
	shape := func(layers, hidden, heads, vocab, seq int) arch.Model {
		m := arch.Defaults()
		m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize = layers, hidden, heads, vocab
		return m.Complete(seq)
	}
	for _, c := range []struct {
		name       string
		m          arch.Model
		batch, seq int
	}{
		{"4x128", shape(4, 128, 2, 4096, 128), 4, 128},
		{"6x192", shape(6, 192, 3, 4096, 128), 4, 128},
		{"6x384 V50304", shape(6, 384, 6, 50304, 256), 8, 256},
	} {
		b.Run(c.name, func(b *testing.B) {
			if c.m.HiddenSize > 200 && testing.Short() {
				b.Skip("large")
			}
			r := newRig(b, c.m, model.Options{MicroBatch: c.batch, SeqLength: c.seq}, 1)
			defer r.b.Close()
			r.grads(b)
			best := time.Duration(1 << 62)
			for b.Loop() {
				start := time.Now()
				r.m.ForwardBackward(r.s, r.tokens, r.targets, 1/float32(r.m.Tokens()))
				if err := r.s.Sync(); err != nil {
					b.Fatal(err)
				}
				best = min(best, time.Since(start))
			}
			// 6 N + 12 L (H D) T floating-point operations a token; N: the matrices a token meets (tied table once)
			n := c.m.ParameterCount() - c.m.MaxPositions*c.m.HiddenSize
			flops := float64(6*n+12*c.m.NumLayers*c.m.QuerySize()*c.seq) * float64(r.m.Tokens())
			b.ReportMetric(flops/best.Seconds()/1e9, "best-GFLOP/s")
			b.ReportMetric(float64(r.m.Tokens())/best.Seconds(), "best-tokens/s")
		})
	}
}
