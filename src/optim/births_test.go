package optim_test

import (
	"fmt"
	"math"
	"testing"

	"cambium/src/arch"
	"cambium/src/grid"
	"cambium/src/optim"
	"cambium/src/tensor"
)

// one is an entry with its own step count, in fp64: what births must amount to.
type one struct{ w, m, v, t float64 }

func (e *one) step(g, lr, decay float64, c optim.Config) {
	e.t++
	e.m = c.Beta1*e.m + (1-c.Beta1)*g
	e.v = c.Beta2*e.v + (1-c.Beta2)*g*g
	e.w -= lr*decay*e.w + lr*(e.m/(1-math.Pow(c.Beta1, e.t)))/(math.Sqrt(e.v/(1-math.Pow(c.Beta2, e.t)))+c.Eps)
}

// births of a model that grew after 4 and 7 steps: the last at[1] indices are born at 7, at[0] before them at 4.
func grownTwice() (arch.Model, optim.Births) {
	birth := func(n int, at ...int) []int32 {
		v := make([]int32, n)
		for i := range v {
			switch {
			case i >= n-at[1]:
				v[i] = 7
			case i >= n-at[1]-at[0]:
				v[i] = 4
			}
		}
		return v
	}
	m := gpt()
	m.FFNHiddenSize = 20
	b := optim.Births{Layers: []int32{0, 4}}
	b.Axes[arch.Hidden], b.Axes[arch.FFN], b.Axes[arch.Query] = birth(12, 3, 2), birth(20, 6, 0), birth(12, 0, 6)
	return m, b
}

// birthOf is the birth of element i of a global tensor.
func birthOf(b optim.Births, x arch.Tensor, i int) int32 {
	cols := x.Shape[len(x.Shape)-1]
	at := max(b.Layer(x.Layer), b.Axis(x.Axes[len(x.Axes)-1], i%cols))
	if len(x.Axes) > 1 {
		at = max(at, b.Axis(x.Axes[0], i/cols))
	}
	return at
}

// Two births of rows, columns and layers after 4 and 7 of 10 steps, on grids whose boxes cut every axis. Entries that are born
// have their moments cleared as growth does; each entry must move as one that counts its own steps. fp32 against fp64: a
// few ulp a step on weights of up to 1, so 1e-6.
func TestBirthsCountEveryEntrysOwnSteps(t *testing.T) {
	m, all := grownTwice()
	c := settings{config: config}
	c.config.ClipGrad = 0
	for _, shape := range [][3]int{{1, 1, 1}, {2, 1, 1}, {2, 2, 1}, {8, 2, 2}} {
		g, err := grid.New(shape[0], shape[1], shape[2])
		if err != nil {
			t.Fatal(err)
		}
		onGrid(t, m, g, c, func(r *rig) error {
			r.fill(r.p.w, "w", whole)
			ref := map[string][]one{}
			for _, x := range r.p.shards {
				for _, w := range r.p.w[x.Name].F32() {
					ref[x.Name] = append(ref[x.Name], one{w: float64(w)})
				}
			}
			for step := range 10 {
				if step == 4 || step == 7 {
					if err := bear(r, all, step, ref); err != nil {
						return err
					}
				}
				for _, x := range r.p.shards {
					v := make([]float32, x.Box.Volume())
					r.fillOne(x, v, fmt.Sprint(step), 1)
					for i, g := range v {
						ref[x.Name][i].step(float64(g), 1e-2*x.LRMult, config.WeightDecay*x.DecayMult, config)
					}
				}
				r.fill(r.p.g, fmt.Sprint(step), r.part)
				if _, err := r.o.Step(r.s, 1e-2, 1); err != nil {
					return err
				}
				if err := r.s.Sync(); err != nil {
					return err
				}
			}
			for _, x := range r.p.shards {
				var bad error
				eachIndex(x.Tensor, x.Box, func(local, global int) {
					got, want := float64(r.p.w[x.Name].F32()[local]), ref[x.Name][local].w
					if math.Abs(got-want) > 1e-6 {
						bad = fmt.Errorf("%s[%d] born at %d is %g, want %g", x.Name, global, birthOf(all, x.Tensor, global), got, want)
					}
				})
				if bad != nil {
					return bad
				}
			}
			return nil
		})
	}
}

// bear clears what is born after step, in the optimizer and in the reference, and sets the births up to then.
func bear(r *rig, all optim.Births, step int, ref map[string][]one) error {
	now := optim.Births{Layers: cut(all.Layers, step)}
	for a := range all.Axes {
		now.Axes[a] = cut(all.Axes[a], step)
	}
	for _, p := range r.o.State() {
		if p.Kind == optim.Weight {
			continue
		}
		eachIndex(p.Tensor, p.Box, func(local, global int) {
			if birthOf(all, p.Tensor, global) == int32(step) {
				p.Data.F32()[local] = 0
			}
		})
	}
	for _, x := range r.p.shards {
		eachIndex(x.Tensor, x.Box, func(local, global int) {
			if birthOf(all, x.Tensor, global) == int32(step) { // what it was before it was born is of no interest
				ref[x.Name][local] = one{w: float64(r.p.w[x.Name].F32()[local])}
			}
		})
	}
	return r.o.SetBirths(r.s, now)
}

func cut(v []int32, step int) []int32 {
	if v == nil {
		return nil
	}
	out := make([]int32, len(v))
	for i, b := range v {
		if b <= int32(step) {
			out[i] = b
		}
	}
	return out
}

// A new entry's first step is one learning rate long (without decay), not 0.45 of it, as the copied step count would make it
// with beta2 = 0.95.
func TestTheFirstUpdateOfANewEntryIsOneLearningRate(t *testing.T) {
	c := settings{config: optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}}
	onGrid(t, gpt(), dataParallel(t, 1), c, func(r *rig) error {
		if err := r.o.Restore(r.s, optim.Counters{Step: 50, Births: optim.Births{Layers: []int32{0, 50}}}); err != nil {
			return err
		}
		r.fill(r.p.g, "g", whole)
		if _, err := r.o.Step(r.s, 1e-2, 1); err != nil {
			return err
		}
		if err := r.s.Sync(); err != nil {
			return err
		}
		for layer, want := range []float64{1e-2 * 0.1 / math.Sqrt(0.05), 1e-2} {
			name := arch.LayerTensor(layer, "input_norm.bias")
			for i, g := range r.p.g[name].F32() {
				if got := math.Abs(float64(r.p.w[name].F32()[i])); g != 0 && math.Abs(got/want-1) > 0.1 {
					return fmt.Errorf("layer %d: the first update is %g, want %g", layer, got, want)
				}
			}
		}
		return nil
	})
}

func TestBirthsAreDroppedWhenAllEntriesAreOld(t *testing.T) {
	c := settings{config: config} // 15/(1-beta2) = 300 steps
	onGrid(t, gpt(), dataParallel(t, 1), c, func(r *rig) error {
		plain := r.b.Usage().Current
		if err := r.o.Restore(r.s, optim.Counters{Step: 309, Births: optim.Births{Layers: []int32{0, 11}}}); err != nil {
			return err
		}
		for range 3 { // ages 299, 300, 301
			if _, err := r.o.Step(r.s, 1e-2, 1); err != nil {
				return err
			}
			gone := r.o.Births().Layers == nil
			if age := r.o.Steps() - 11; age != 300 && gone != (age > 300) || (r.b.Usage().Current == plain) != gone {
				return fmt.Errorf("at age %d births are %v, %d bytes beside %d", age, r.o.Births(), r.b.Usage().Current, plain)
			}
		}
		return nil
	})
}

// Births and 16-bit weights go together: the model's weights are the rounded masters at every age.
func TestBirthsMoveMastersAndTheirRoundedCopies(t *testing.T) {
	m, all := grownTwice()
	g, err := grid.New(4, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, dtype := range []tensor.DType{tensor.BF16, tensor.F16} {
		onGrid(t, m, g, settings{config: config, dtype: dtype}, func(r *rig) error {
			if err := r.o.Restore(r.s, optim.Counters{Step: 8, Births: all}); err != nil {
				return err
			}
			for step := range 3 {
				r.fill(r.p.g, fmt.Sprint(step), r.part)
				if _, err := r.o.Step(r.s, 1e-2, 1); err != nil {
					return err
				}
				if err := r.s.Sync(); err != nil {
					return err
				}
			}
			got := newGathered()
			if err := got.take(r); err != nil {
				return err
			}
			r.o.PublishWeights(r.s)
			want := newGathered()
			if err := want.take(r); err != nil {
				return err
			}
			if largest(got.all["model "+arch.WordEmbeddings]) == 0 {
				return fmt.Errorf("the weights did not move")
			}
			for name, v := range want.all {
				for i := range v {
					if got.all[name][i] != v[i] {
						return fmt.Errorf("%v: %s[%d] is %g, its master rounds to %g", dtype, name, i, got.all[name][i], v[i])
					}
				}
			}
			return nil
		})
	}
}

func largest(v []float32) (top float32) {
	for _, x := range v {
		top = max(top, x, -x)
	}
	return top
}
