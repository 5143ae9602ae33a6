package optim_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cambium/src/arch"
	"cambium/src/grid"
	"cambium/src/model"
	"cambium/src/optim"
	"cambium/src/tensor"
)

// drawModel is a random small model that tp up to 4 can split.
func drawModel(t *rapid.T) arch.Model {
	m := arch.Defaults()
	i := func(what string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(t, what) }
	b := func(what string) bool { return rapid.Bool().Draw(t, what) }
	m.NumLayers, m.HiddenSize, m.FFNHiddenSize = i("layers", 1, 5), i("hidden", 1, 9), 4*i("ffn", 1, 3)
	m.NumQueryGroups = 4
	m.NumAttentionHeads = 4 * i("heads a group", 1, 2)
	m.KVChannels = i("head size", 1, 3)
	m.VocabSize, m.VocabSizeDivisibleBy, m.MaxPositions = i("vocab", 1, 20), i("divisible", 1, 4), i("positions", 1, 5)
	m.SwiGLU, m.LinearBias, m.UntieOutput = b("swiglu"), b("bias"), b("untie")
	if b("rms") {
		m.Normalization = arch.RMSNorm
	}
	if b("muP") {
		m.MupBaseWidth = 4
	}
	return m
}

// drawGrid is a grid of up to 8 ranks, interleaved at times.
func drawGrid(t *rapid.T, layers int) grid.Grid {
	tp := rapid.SampledFrom([]int{1, 1, 2, 4}).Draw(t, "tp")
	pp := rapid.IntRange(1, min(layers, 8/tp)).Draw(t, "pp")
	dp := rapid.IntRange(1, 8/(tp*pp)).Draw(t, "dp")
	g, err := grid.New(tp*pp*dp, tp, pp)
	if err != nil {
		t.Fatal(err)
	}
	if chunks := layers / pp; pp > 1 && chunks > 1 && rapid.Bool().Draw(t, "interleaved") {
		g = g.Interleaved(chunks)
	}
	return g
}

// run takes some steps on a grid, each of some micro-batches, and gathers everything.
func run(t fataler, m arch.Model, g grid.Grid, c settings, steps, micro int) (*gathered, []float64) {
	all := newGathered()
	norms := make([]float64, steps)
	onGrid(t, m, g, c, func(r *rig) error {
		if c.dtype == tensor.F32 {
			r.fill(r.p.w, "w", whole)
		} else {
			for _, p := range r.o.State() {
				if p.Kind == optim.Weight {
					r.fillOne(model.Shard{Tensor: p.Tensor, Box: p.Box}, p.Data.F32(), "w", 0.7) // not a 16-bit number
				}
			}
			r.o.PublishWeights(r.s)
		}
		h := r.o.Hooks()
		for step := range steps {
			r.o.Begin(micro)
			for i := range micro {
				r.pass(h, step, i, micro)
			}
			res, err := r.o.Step(r.s, 1e-2, 1)
			if err != nil {
				return err
			}
			if norms[step] == 0 || r.at == (grid.Coord{}) {
				norms[step] = res.GradNorm
			}
		}
		return all.take(r)
	})
	return all, norms
}

// pass is a micro-batch as a model would enqueue it: a forward pass that reads the weights of one group after another, and a
// backward pass that adds to their gradients. Everything happens in the stream, some of it late.
func (r *rig) pass(h model.Hooks, step, micro, of int) {
	late := func(i int) {
		if (step+micro+r.at.DP)%3 == 0 && i%7 == 0 {
			time.Sleep(200 * time.Microsecond)
		}
	}
	seen := map[string][]float32{}
	last := -1
	for _, x := range r.p.shards {
		if x.Group != last && h.WeightsNeeded != nil {
			h.WeightsNeeded(r.s, x.Group)
		}
		last = x.Group
		if r.react {
			read := make([]float32, x.Box.Volume())
			seen[x.Name] = read
			r.s.Do("read "+x.Name, func() error { copyWide(read, r.p.w[x.Name]); return nil })
		}
	}
	for i := len(r.p.shards) - 1; i >= 0; i-- {
		x := r.p.shards[i]
		g, read := r.p.g[x.Name], seen[x.Name]
		r.s.Do("gradient of "+x.Name, func() error {
			late(i)
			part := r.part(x) * share(micro, of)
			add := make([]float32, g.Len())
			r.fillOne(x, add, fmt.Sprint(step), part)
			if micro == 0 {
				clear(g.F32())
			}
			for j := range add {
				g.F32()[j] += add[j]
			}
			for j, w := range read {
				g.F32()[j] += 0.3 * part * w
			}
			return nil
		})
		if (i == 0 || r.p.shards[i-1].Group != x.Group) && h.GradsReady != nil {
			h.GradsReady(r.s, x.Group)
		}
	}
}

// copyWide copies fp32 or bf16 numbers.
func copyWide(dst []float32, x tensor.Tensor) {
	if x.DType() == tensor.F32 {
		copy(dst, x.F32())
		return
	}
	for i, b := range x.U16() {
		dst[i] = math.Float32frombits(uint32(b) << 16)
	}
}

// Gradients' sums over ranks are exact here, so without clipping every bit of weights and moments must be the single rank's;
// with it the norm is the same sum of squares in another order, in fp64.
func TestAnyGridStepsLikeOneRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t)
		g := drawGrid(t, m.NumLayers)
		c := settings{config: config, dtype: rapid.SampledFrom([]tensor.DType{tensor.F32, tensor.BF16, tensor.F16}).Draw(t, "type")}
		c.bucket, c.overlap = rapid.SampledFrom([]int{1, 100, 400, 0}).Draw(t, "bucket"), rapid.Bool().Draw(t, "overlap")
		bound := 0.0
		if rapid.Bool().Draw(t, "no clipping") {
			c.config.ClipGrad = 0
		} else if bound = 1e-6; c.dtype != tensor.F32 {
			bound = 1e-2 // a last bit of a master can turn a bit of the model's weight
		}
		one, err := grid.New(1, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		micro := rapid.IntRange(1, 3).Draw(t, "micro-batches")
		want, norms := run(t, m, one, settings{config: c.config, dtype: c.dtype}, 3, 1)
		got, gotNorms := run(t, m, g, c, 3, micro)
		if err := got.compare(want, bound); err != nil {
			t.Fatalf("%v %+v: %v", g, c, err)
		}
		for i := range norms {
			if math.Abs(gotNorms[i]/norms[i]-1) > 1e-12 {
				t.Fatalf("%v %+v: gradient norm %g, one rank %g", g, c, gotNorms[i], norms[i])
			}
		}
	})
}

// Gradients that depend on the weights just read, and that do round: overlap and bucket size must not change a bit,
// clipping included. A pass that reads weights before they have come, or a bucket that leaves too early, shows.
func TestOverlapChangesNoBit(t *testing.T) {
	m := gpt()
	m.NumLayers, m.FFNHiddenSize = 5, 20
	for _, shape := range [][3]int{{3, 1, 1}, {8, 2, 1}, {8, 2, 2}, {6, 1, 2}} {
		g, err := grid.New(shape[0], shape[1], shape[2])
		if err != nil {
			t.Fatal(err)
		}
		for _, dtype := range []tensor.DType{tensor.F32, tensor.BF16} {
			var want *gathered
			for _, c := range []settings{{}, {overlap: true}, {overlap: true, bucket: 1}, {bucket: 300}, {overlap: true, bucket: 300}} {
				c.config, c.dtype, c.react = config, dtype, true
				c.config.ClipGrad = 0.3
				got, _ := run(t, m, g, c, 3, 3)
				if want == nil {
					want = got
				}
				if err := got.compare(want, 0); err != nil {
					t.Errorf("%v %+v: %v", g, c, err)
				}
			}
		}
	}
}
