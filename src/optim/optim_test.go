package optim_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"cambium/src/arch"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/optim"
)

// The gradients' sum over ranks is exact here, so without clipping every bit must agree; with it the norm is the same
// sum of squares in another order, in fp64.
func TestAnyNumberOfRanksStepsLikeOne(t *testing.T) {
	for _, clip := range []float64{0, 1} {
		c := config
		c.ClipGrad = clip
		want, norms := train(t, 1, 4, c)
		for _, n := range []int{2, 3} {
			got, gotNorms := train(t, n, 4, c)
			for i := range norms {
				if math.Abs(gotNorms[i]/norms[i]-1) > 1e-12 {
					t.Errorf("%d ranks, clip %g: gradient norm %g, one rank %g", n, clip, gotNorms[i], norms[i])
				}
			}
			for name := range want {
				for i := range want[name] {
					if d := math.Abs(float64(got[name][i] - want[name][i])); d > 1e-6*clip {
						t.Fatalf("%d ranks, clip %g: %s[%d] is %g, one rank %g", n, clip, name, i, got[name][i], want[name][i])
					}
				}
			}
		}
	}
}

// recorded is testdata/adamw.json.
type recorded struct {
	LR      []float64
	Weights map[string]json.RawMessage
	Steps   []struct {
		Norm           float64
		Grads, Weights map[string]json.RawMessage
	}
}

func flat(t *testing.T, raw json.RawMessage) []float32 {
	var rows [][]float32
	if json.Unmarshal(raw, &rows) == nil {
		return slices.Concat(rows...)
	}
	var v []float32
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestStepsLikePyTorch(t *testing.T) {
	raw, err := os.ReadFile("testdata/adamw.json")
	if err != nil {
		t.Fatal(err)
	}
	var rec recorded
	if err := json.Unmarshal(raw, &rec); err != nil {
		t.Fatal(err)
	}
	tensors := []arch.Tensor{
		{Name: "table", Shape: []int{5, 3}, Axes: []arch.Axis{arch.Vocab, arch.Hidden}, Layer: arch.LayerEmbedding, LRMult: 1, DecayMult: 1},
		{Name: "matrix", Shape: []int{4, 7}, Axes: []arch.Axis{arch.Query, arch.FFN}, LRMult: 0.1, DecayMult: 10},
		{Name: "gain", Shape: []int{6}, Axes: []arch.Axis{arch.KV}, LRMult: 1},
	}
	for _, n := range []int{1, 2} {
		ranks(t, n, func(dp comm.Communicator) error {
			r, err := newRig(dp, tensors, config)
			if err != nil {
				return err
			}
			for _, x := range tensors {
				copy(r.p.w[x.Name].F32(), flat(t, rec.Weights[x.Name]))
			}
			for i, step := range rec.Steps {
				for _, x := range tensors {
					g := r.p.g[x.Name].F32()
					clear(g)
					if dp.Rank() == n-1 {
						copy(g, flat(t, step.Grads[x.Name]))
						for j := range g {
							g[j] *= 8 // a loss scale
						}
					}
				}
				res, err := r.o.Step(r.s, rec.LR[i], 1.0/8)
				if err != nil {
					return err
				}
				if err := r.s.Sync(); err != nil {
					return err
				}
				if math.Abs(res.GradNorm/step.Norm-1) > 1e-6 {
					return fmt.Errorf("step %d: norm %g, PyTorch %g", i, res.GradNorm, step.Norm)
				}
				for _, x := range tensors {
					for j, want := range flat(t, step.Weights[x.Name]) {
						if got := r.p.w[x.Name].F32()[j]; math.Abs(float64(got-want)) > 1e-6 {
							return fmt.Errorf("step %d: %s[%d] is %g, PyTorch %g", i, x.Name, j, got, want)
						}
					}
				}
			}
			return nil
		})
	}
}

func TestMomentsTakeOneShareOfTheMemoryPerRank(t *testing.T) {
	m := gpt()
	total := 8 * m.ParameterCount()
	for _, n := range []int{1, 2, 4} {
		ranks(t, n, func(dp comm.Communicator) error {
			r, err := newRig(dp, m.Tensors(), config)
			if err != nil {
				return err
			}
			got, slack := r.b.Usage().ByLabel["optimizer"], 0
			for _, x := range m.Tensors() { // one row more than the mean, and alignment
				slack += 8*x.Len()/x.Shape[0] + 128
			}
			if got > total/n+slack+64 || got < total/n-slack {
				return fmt.Errorf("%d ranks: %d bytes of moments, want about %d / %d", n, got, total, n)
			}
			return nil
		})
	}
}

func TestStateHasTheBoxesOfTheLayout(t *testing.T) {
	m := gpt()
	for _, n := range []int{1, 3, 5} {
		g, err := grid.New(n, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		l, err := layout.Optimizer(m, g)
		if err != nil {
			t.Fatal(err)
		}
		ranks(t, n, func(dp comm.Communicator) error {
			r, err := newRig(dp, m.Tensors(), config)
			if err != nil {
				return err
			}
			want, got := l.Local(dp.Rank()), r.o.State()
			if len(got) != 2*len(want) {
				return fmt.Errorf("%d pieces, the layout has %d shards", len(got), len(want))
			}
			for i, p := range got {
				w := want[i/2]
				if p.Tensor.Name != l.Tensors[w.Tensor].Name || !p.Box.Equal(w.Box) || !slices.Equal(p.Data.Dims(), w.Box.Dims()) || p.Kind != []string{optim.ExpAvg, optim.ExpAvgSq}[i%2] {
					return fmt.Errorf("piece %d is %s %s %v %v, the layout has %s %v", i, p.Tensor.Name, p.Kind, p.Box, p.Data, l.Tensors[w.Tensor].Name, w.Box)
				}
			}
			return nil
		})
	}
}

// A NaN or an infinity on one rank, in a row that another one owns.
func TestOneBadGradientSkipsTheStepEverywhere(t *testing.T) {
	tensors := gpt().Tensors()
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
		ranks(t, 3, func(dp comm.Communicator) error {
			r, err := newRig(dp, tensors, config)
			if err != nil {
				return err
			}
			step := func(salt string) (optim.Result, error) {
				fill(tensors, r.p.g, salt)
				if salt == "bad" && dp.Rank() == 1 {
					r.p.g[arch.WordEmbeddings].F32()[0] = bad
				}
				res, err := r.o.Step(r.s, 1e-2, 1)
				if err == nil {
					err = r.s.Sync()
				}
				return res, err
			}
			if _, err := step("good"); err != nil {
				return err
			}
			before := snapshot(r)
			res, err := step("bad")
			if err != nil || !res.Skipped {
				return fmt.Errorf("rank %d: %+v, %v: want a skipped step", dp.Rank(), res, err)
			}
			if !slices.Equal(before, snapshot(r)) || r.o.Steps() != 1 {
				return fmt.Errorf("rank %d: a skipped step changed something", dp.Rank())
			}
			if res, err = step("next"); err != nil || res.Skipped {
				return fmt.Errorf("rank %d: %+v, %v: want a step", dp.Rank(), res, err)
			}
			if slices.Equal(before, snapshot(r)) || r.o.Steps() != 2 {
				return fmt.Errorf("rank %d: the step after a skipped one changed nothing", dp.Rank())
			}
			return nil
		})
	}
}

// snapshot is all weights and own moments.
func snapshot(r *rig) []float32 {
	var out []float32
	for _, x := range r.p.tensors {
		out = append(out, r.p.w[x.Name].F32()...)
	}
	for _, p := range r.o.State() {
		out = append(out, p.Data.F32()...)
	}
	return out
}

func TestAStateThatWasSavedGoesOnBitByBit(t *testing.T) {
	tensors := gpt().Tensors()
	ranks(t, 2, func(dp comm.Communicator) error {
		a, err := newRig(dp, tensors, config)
		if err != nil {
			return err
		}
		steps := func(r *rig, from, to int) error {
			for i := from; i < to; i++ {
				fill(tensors, r.p.g, fmt.Sprint(i))
				if _, err := r.o.Step(r.s, 1e-2, 1); err != nil {
					return err
				}
				if err := r.s.Sync(); err != nil {
					return err
				}
			}
			return nil
		}
		fill(tensors, a.p.w, "w")
		if err := steps(a, 0, 3); err != nil {
			return err
		}
		births := optim.Births{Layers: []int32{0, 3}}
		births.Axes[arch.Hidden] = []int32{0, 0, 0, 0, 0, 0, 0, 2, 2, 3, 3, 3}
		if err := a.o.SetBirths(a.s, births); err != nil {
			return err
		}
		b, err := newRig(dp, tensors, config)
		if err != nil {
			return err
		}
		raw, err := json.Marshal(a.o.Counters())
		if err != nil {
			return err
		}
		var c optim.Counters
		if err := json.Unmarshal(raw, &c); err != nil {
			return err
		}
		for i, p := range a.o.State() {
			copy(b.o.State()[i].Data.F32(), p.Data.F32())
		}
		for _, x := range tensors {
			copy(b.p.w[x.Name].F32(), a.p.w[x.Name].F32())
		}
		if err := b.o.Restore(b.s, c); err != nil {
			return err
		}
		for _, r := range []*rig{a, b} {
			if err := steps(r, 3, 6); err != nil {
				return err
			}
		}
		if !slices.Equal(snapshot(a), snapshot(b)) {
			return fmt.Errorf("rank %d: the restored optimizer went another way", dp.Rank())
		}
		return nil
	})
}

func TestImpossibleConfigurationsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*optim.Config){
		"beta1": func(c *optim.Config) { c.Beta1 = 1 }, "beta2": func(c *optim.Config) { c.Beta2 = -0.1 },
		"eps": func(c *optim.Config) { c.Eps = 0 }, "decay": func(c *optim.Config) { c.WeightDecay = -1 },
		"clip": func(c *optim.Config) { c.ClipGrad = math.NaN() },
	} {
		c := config
		if change(&c); c.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	r, err := newRig(local.NewWorld(1).Comm(0), gpt().Tensors(), config)
	if err != nil {
		t.Fatal(err)
	}
	bad := []optim.Births{{Layers: []int32{0}}, {Layers: []int32{0, 1}}, {}}
	bad[2].Axes[arch.FFN] = make([]int32, 18)
	for i, b := range bad {
		if r.o.SetBirths(r.s, b) == nil {
			t.Errorf("births %d: no error", i)
		}
	}
	if r.o.Restore(r.s, optim.Counters{Step: -1}) == nil {
		t.Error("a negative step count: no error")
	}
}

// The whole step: once warm, nothing is allocated, on the device or in Go (comm's control plane may for more than one rank).
func TestASteadyStepAllocatesNothing(t *testing.T) {
	r, err := newRig(local.NewWorld(1).Comm(0), gpt().Tensors(), config)
	if err != nil {
		t.Fatal(err)
	}
	fill(r.p.tensors, r.p.g, "g")
	step := func() {
		if _, err := r.o.Step(r.s, 1e-3, 1); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		step()
	}
	before := r.b.Usage().Current
	if n := testing.AllocsPerRun(20, step); n > 0 {
		t.Errorf("%g allocations a step", n)
	}
	if after := r.b.Usage(); after.Current != before || after.Peak != before {
		t.Errorf("device memory went from %d to %d, peak %d", before, after.Current, after.Peak)
	}
}
