package optim_test

import (
	"fmt"
	"math"
	"testing"

	"cambium/src/arch"
	"cambium/src/comm"
	"cambium/src/optim"
)

// one is an entry with its own step count, in fp64: what births must amount to.
type one struct{ w, m, v, t float64 }

func (e *one) step(g, lr, decay float64, c optim.Config) {
	e.t++
	e.m = c.Beta1*e.m + (1-c.Beta1)*g
	e.v = c.Beta2*e.v + (1-c.Beta2)*g*g
	e.w -= lr*decay*e.w + lr*(e.m/(1-math.Pow(c.Beta1, e.t)))/(math.Sqrt(e.v/(1-math.Pow(c.Beta2, e.t)))+c.Eps)
}

// Two births of rows, columns and layers after 4 and 7 of 10 steps. Entries that are born have their moments cleared as
// growth does; each entry must move as one that counts its own steps. fp32 against fp64: a few ulp a step on weights of
// up to 1, so 1e-6.
func TestBirthsCountEveryEntrysOwnSteps(t *testing.T) {
	m := gpt()
	tensors := m.Tensors()
	birth := func(n int, at ...int) []int32 { // the last at[1] indices are born at 7, at[0] before them at 4
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
	all := optim.Births{Layers: []int32{0, 4}}
	all.Axes[arch.Hidden], all.Axes[arch.FFN], all.Axes[arch.Query] = birth(12, 3, 2), birth(19, 5, 0), birth(12, 0, 6)
	of := func(x arch.Tensor, i int) int32 {
		cols := x.Shape[len(x.Shape)-1]
		b := max(all.Layer(x.Layer), all.Axis(x.Axes[len(x.Axes)-1], i%cols))
		if len(x.Axes) > 1 {
			b = max(b, all.Axis(x.Axes[0], i/cols))
		}
		return b
	}
	c := config
	c.ClipGrad = 0
	for _, n := range []int{1, 2} {
		ranks(t, n, func(dp comm.Communicator) error {
			r, err := newRig(dp, tensors, c)
			if err != nil {
				return err
			}
			fill(tensors, r.p.w, "w")
			ref := map[string][]one{}
			for _, x := range tensors {
				for _, w := range r.p.w[x.Name].F32() {
					ref[x.Name] = append(ref[x.Name], one{w: float64(w)})
				}
			}
			for step := range 10 {
				if step == 4 || step == 7 {
					if err := bear(r, all, of, step, ref); err != nil {
						return err
					}
				}
				fill(tensors, r.p.g, fmt.Sprint(step))
				for _, x := range tensors {
					for i, g := range r.p.g[x.Name].F32() {
						ref[x.Name][i].step(float64(g), 1e-2*x.LRMult, c.WeightDecay*x.DecayMult, c)
					}
				}
				if _, err := r.o.Step(r.s, 1e-2, 1/float64(n)); err != nil {
					return err
				}
				if err := r.s.Sync(); err != nil {
					return err
				}
			}
			for _, x := range tensors {
				for i, got := range r.p.w[x.Name].F32() {
					if want := ref[x.Name][i].w; math.Abs(float64(got)-want) > 1e-6 {
						return fmt.Errorf("%d ranks: %s[%d] born at %d is %g, want %g", n, x.Name, i, of(x, i), got, want)
					}
				}
			}
			return nil
		})
	}
}

// bear clears what is born after step, in the optimizer and in the reference, and sets the births up to then.
func bear(r *rig, all optim.Births, of func(arch.Tensor, int) int32, step int, ref map[string][]one) error {
	now := optim.Births{Layers: cut(all.Layers, step)}
	for a := range all.Axes {
		now.Axes[a] = cut(all.Axes[a], step)
	}
	for _, p := range r.o.State() {
		per := p.Tensor.Len() / p.Tensor.Shape[0]
		for i := range p.Data.F32() {
			if of(p.Tensor, p.Box.Lo[0]*per+i) == int32(step) {
				p.Data.F32()[i] = 0
			}
		}
	}
	for _, x := range r.p.tensors {
		for i := range ref[x.Name] {
			if of(x, i) == int32(step) {
				ref[x.Name][i] = one{w: float64(r.p.w[x.Name].F32()[i])} // what it was before it was born is of no interest
			}
		}
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
	c := optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}
	ranks(t, 1, func(dp comm.Communicator) error {
		r, err := newRig(dp, gpt().Tensors(), c)
		if err != nil {
			return err
		}
		if err := r.o.Restore(r.s, optim.Counters{Step: 50, Births: optim.Births{Layers: []int32{0, 50}}}); err != nil {
			return err
		}
		fill(r.p.tensors, r.p.g, "g")
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
	ranks(t, 1, func(dp comm.Communicator) error {
		r, err := newRig(dp, gpt().Tensors(), config) // 15/(1-beta2) = 300 steps
		if err != nil {
			return err
		}
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
