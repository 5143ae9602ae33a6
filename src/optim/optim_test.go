package optim_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"cambium/src/arch"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/optim"
	"cambium/src/tensor"
)

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

// The recorded tensors are laid into a model whose matrices have their factors: muP's width multiplier is 10. Whatever is
// left of its parameters is zero and stays so.
func TestStepsLikePyTorch(t *testing.T) {
	raw, err := os.ReadFile("testdata/adamw.json")
	if err != nil {
		t.Fatal(err)
	}
	var rec recorded
	if err := json.Unmarshal(raw, &rec); err != nil {
		t.Fatal(err)
	}
	m := gpt()
	m.HiddenSize, m.MupBaseWidth, m.FFNHiddenSize = 10, 1, 20
	names := map[string]string{"table": arch.WordEmbeddings, "matrix": arch.LayerTensor(0, "attention.query.weight"), "gain": arch.FinalNormGain}
	for _, shape := range [][3]int{{1, 1, 1}, {2, 1, 1}, {4, 2, 2}} {
		g, err := grid.New(shape[0], shape[1], shape[2])
		if err != nil {
			t.Fatal(err)
		}
		onGrid(t, m, g, settings{config: config}, func(r *rig) error {
			// lay puts a recorded tensor where its elements stand in the first rows of a parameter.
			each := func(name string, f func(x model.Shard, local, i int)) {
				for _, x := range r.p.shards {
					if x.Name == names[name] {
						eachIndex(x.Tensor, x.Box, func(local, global int) {
							if global < len(flat(t, rec.Weights[name])) {
								f(x, local, global)
							}
						})
					}
				}
			}
			for name := range names {
				v := flat(t, rec.Weights[name])
				each(name, func(x model.Shard, local, i int) { r.p.w[x.Name].F32()[local] = v[i] })
			}
			for n, step := range rec.Steps {
				r.fill(r.p.g, "", func(model.Shard) float32 { return 0 })
				for name := range names {
					v := flat(t, step.Grads[name])
					each(name, func(x model.Shard, local, i int) { r.p.g[x.Name].F32()[local] = 8 * v[i] * r.part(x) }) // a loss scale of 8
				}
				res, err := r.o.Step(r.s, rec.LR[n], 1.0/8)
				if err != nil {
					return err
				}
				if err := r.s.Sync(); err != nil {
					return err
				}
				if math.Abs(res.GradNorm/step.Norm-1) > 1e-6 {
					return fmt.Errorf("step %d: norm %g, PyTorch %g", n, res.GradNorm, step.Norm)
				}
				for name := range names {
					v := flat(t, step.Weights[name])
					var bad error
					each(name, func(x model.Shard, local, i int) {
						if got := r.p.w[x.Name].F32()[local]; math.Abs(float64(got-v[i])) > 1e-6 {
							bad = fmt.Errorf("step %d: %s[%d] is %g, PyTorch %g", n, name, i, got, v[i])
						}
					})
					if bad != nil {
						return bad
					}
				}
			}
			return nil
		})
	}
}

// Moments, and masters of 16-bit weights, are one share a rank of what one rank would need.
func TestStateTakesOneShareOfTheMemoryPerRank(t *testing.T) {
	m := gpt()
	m.FFNHiddenSize = 20
	for _, dtype := range []tensor.DType{tensor.F32, tensor.BF16} {
		per := 8 // bytes an element: two moments
		if dtype != tensor.F32 {
			per = 12 // and the master
		}
		for _, shape := range [][3]int{{1, 1, 1}, {2, 1, 1}, {4, 1, 1}, {4, 2, 1}, {8, 2, 1}, {8, 2, 2}} {
			g, err := grid.New(shape[0], shape[1], shape[2])
			if err != nil {
				t.Fatal(err)
			}
			onGrid(t, m, g, settings{config: config, dtype: dtype}, func(r *rig) error {
				share, slack := 0, 0
				for _, x := range r.p.shards { // one row more than the mean, and alignment
					share += per * x.Box.Volume()
					slack += per*x.Box.Volume()/x.Box.Dims()[0] + 3*64
				}
				share /= g.DP
				if got := r.b.Usage().ByLabel["optimizer"]; got > share+slack+64 || got < share-slack {
					return fmt.Errorf("%v: %d bytes of state, want about %d", dtype, got, share)
				}
				return nil
			})
		}
	}
}

func TestStateHasTheBoxesOfTheLayout(t *testing.T) {
	m := gpt()
	m.FFNHiddenSize = 20
	kinds := []string{optim.Weight, optim.ExpAvg, optim.ExpAvgSq}
	for _, shape := range [][3]int{{1, 1, 1}, {3, 1, 1}, {5, 1, 1}, {4, 2, 2}} {
		g, err := grid.New(shape[0], shape[1], shape[2])
		if err != nil {
			t.Fatal(err)
		}
		l, err := layout.Optimizer(m, g)
		if err != nil {
			t.Fatal(err)
		}
		onGrid(t, m, g, settings{config: config}, func(r *rig) error {
			want, got := l.Local(r.p.rank), r.o.State()
			if len(got) != len(kinds)*len(want) {
				return fmt.Errorf("%d pieces, the layout has %d shards", len(got), len(want))
			}
			for i, p := range got {
				w := want[i/len(kinds)]
				if p.Tensor.Name != l.Tensors[w.Tensor].Name || !p.Box.Equal(w.Box) || !slices.Equal(p.Data.Dims(), w.Box.Dims()) || p.Kind != kinds[i%len(kinds)] {
					return fmt.Errorf("piece %d is %s %s %v %v, the layout has %s %v", i, p.Tensor.Name, p.Kind, p.Box, p.Data, l.Tensors[w.Tensor].Name, w.Box)
				}
			}
			return nil
		})
	}
}

// A NaN or an infinity on one rank, in a row that another one owns, in a layer that most ranks do not have.
func TestOneBadGradientSkipsTheStepEverywhere(t *testing.T) {
	m := gpt()
	m.FFNHiddenSize = 20
	for _, shape := range [][3]int{{3, 1, 1}, {8, 2, 2}} {
		g, err := grid.New(shape[0], shape[1], shape[2])
		if err != nil {
			t.Fatal(err)
		}
		for i, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
			onGrid(t, m, g, settings{config: config, overlap: i == 0}, func(r *rig) error {
				step := func(salt string) (optim.Result, error) {
					r.fill(r.p.g, salt, r.part)
					if salt == "bad" && r.p.rank == 1 {
						r.p.g[arch.LayerTensor(0, "mlp.fc1.weight")].F32()[0] = bad
					}
					res, err := r.o.Step(r.s, 1e-2, 1)
					r.o.Settle(r.s)
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
					return fmt.Errorf("rank %d: %+v, %v: want a skipped step", r.p.rank, res, err)
				}
				if !slices.Equal(before, snapshot(r)) || r.o.Steps() != 1 {
					return fmt.Errorf("rank %d: a skipped step changed something", r.p.rank)
				}
				if res, err = step("next"); err != nil || res.Skipped {
					return fmt.Errorf("rank %d: %+v, %v: want a step", r.p.rank, res, err)
				}
				if slices.Equal(before, snapshot(r)) || r.o.Steps() != 2 {
					return fmt.Errorf("rank %d: the step after a skipped one changed nothing", r.p.rank)
				}
				return nil
			})
		}
	}
}

// snapshot is all weights and own moments of a rank in fp32.
func snapshot(r *rig) []float32 {
	var out []float32
	for _, x := range r.p.shards {
		out = append(out, r.p.w[x.Name].F32()...)
	}
	for _, p := range r.o.State() {
		out = append(out, p.Data.F32()...)
	}
	return out
}

func TestAStateThatWasSavedGoesOnBitByBit(t *testing.T) {
	m := gpt()
	onGrid(t, m, dataParallel(t, 2), settings{config: config}, func(a *rig) error {
		steps := func(r *rig, from, to int) error {
			for i := from; i < to; i++ {
				r.fill(r.p.g, fmt.Sprint(i), r.part)
				if _, err := r.o.Step(r.s, 1e-2, 1); err != nil {
					return err
				}
				if err := r.s.Sync(); err != nil {
					return err
				}
			}
			return nil
		}
		a.fill(a.p.w, "w", whole)
		if err := steps(a, 0, 3); err != nil {
			return err
		}
		births := optim.Births{Layers: []int32{0, 3}}
		births.Axes[arch.Hidden] = []int32{0, 0, 0, 0, 0, 0, 0, 2, 2, 3, 3, 3}
		if err := a.o.SetBirths(a.s, births); err != nil {
			return err
		}
		b, err := newRig(a.world, m, a.grid, settings{config: config})
		if err != nil {
			return err
		}
		defer b.b.Close()
		for i, p := range a.o.State() {
			copy(b.o.State()[i].Data.F32(), p.Data.F32()) // own rows of the weights among them
		}
		text, err := json.Marshal(a.o.Counters())
		if err != nil {
			return err
		}
		var c optim.Counters
		if err := json.Unmarshal(text, &c); err != nil {
			return err
		}
		b.o.PublishWeights(b.s)
		if err := b.o.Restore(b.s, c); err != nil {
			return err
		}
		for _, r := range []*rig{a, b} {
			if err := steps(r, 3, 6); err != nil {
				return err
			}
		}
		if !slices.Equal(snapshot(a), snapshot(b)) {
			return fmt.Errorf("rank %d: the restored optimizer went another way", a.p.rank)
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
	onGrid(t, gpt(), dataParallel(t, 1), settings{config: config}, func(r *rig) error {
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
		l, err := layout.Optimizer(gpt(), dataParallel(t, 2))
		if err != nil {
			return err
		}
		if _, err := optim.New(r.b, optim.Parallel{World: r.world, DP: r.world, GridLayout: l}, r.p, config); err == nil || !strings.Contains(err.Error(), "grid of tp1 pp1 dp2") {
			t.Errorf("the layout of another grid: %v", err)
		}
		return nil
	})
}

// A gradient that comes behind the last announced pass would be lost: its bucket has left. Step says so instead of stepping.
func TestMoreBackwardPassesThanAnnouncedAreRefused(t *testing.T) {
	onGrid(t, gpt(), dataParallel(t, 2), settings{config: config, overlap: true, bucket: 1}, func(r *rig) error {
		r.o.Begin(1)
		h := r.o.Hooks()
		r.pass(h, 0, 0, 1)
		h.GradsReady(r.s, 1)
		if _, err := r.o.Step(r.s, 1e-2, 1); err == nil || !strings.Contains(err.Error(), "2 backward passes") {
			return fmt.Errorf("rank %d: %v", r.p.rank, err)
		}
		return nil
	})
}

// The whole step: once warm, nothing is allocated, on the device or in Go (comm's control plane may for more than one rank).
func TestASteadyStepAllocatesNothing(t *testing.T) {
	onGrid(t, gpt(), dataParallel(t, 1), settings{config: config}, func(r *rig) error {
		r.fill(r.p.g, "g", whole)
		step := func() {
			if _, err := r.o.Step(r.s, 1e-3, 1); err != nil {
				t.Error(err)
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
		return nil
	})
}

func TestBucketsAreFilledUpToTheirSize(t *testing.T) {
	if a, b := optim.DefaultBucketSize(8), optim.DefaultBucketSize(64); a != 40_000_000 || b != 64_000_000 {
		t.Errorf("the default bucket sizes of 8 and 64 ranks are %d and %d", a, b)
	}
}
