package growth_test

import (
	"fmt"
	"math"
	"testing"

	"cambium/src/arch"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/growth"
	"cambium/src/rng"
)

// entry is a parameter's element with moments and a step count of its own, in fp64.
type entry struct{ w, m, v, t float64 }

func (e *entry) step(g, lr float64, x arch.Tensor) {
	e.t++
	e.m = adam.Beta1*e.m + (1-adam.Beta1)*g
	e.v = adam.Beta2*e.v + (1-adam.Beta2)*g*g
	mean, square := e.m/(1-math.Pow(adam.Beta1, e.t)), e.v/(1-math.Pow(adam.Beta2, e.t))
	lr *= x.LRMult
	e.w -= lr*adam.WeightDecay*x.DecayMult*e.w + lr*mean/(math.Sqrt(square)+adam.Eps)
}

// Two growths in a row, steps before, between and after: every element must be where AdamW with an own step count, own
// moments and the growth's factors puts it. fp32 against fp64 over 21 steps of 1e-2: 1e-6.
func TestEveryElementCountsItsOwnStepsOverTwoGrowths(t *testing.T) {
	for _, op := range []growth.Options{{Operator: growth.Zero}, {Operator: growth.Mask, LayerPlacement: growth.Spread, NewLayers: growth.Copy}} {
		for _, ranks := range []int{1, 2, 3} {
			err := local.NewWorld(ranks).Run(func(dp comm.Communicator) error {
				r := newRig(dp, llama(2, 20, 3, 17))
				r.staging = 50 // many messages
				defer r.close()
				ref := map[string][]entry{}
				adopt(r, ref)
				step := 0
				for i, to := range []arch.Model{r.arch, llama(2, 33, 3, 23), llama(3, 33, 5, 30)} {
					if i > 0 {
						from := r.arch
						plan, _, err := r.grow(to, op, i)
						if err != nil {
							return err
						}
						ref = regrow(r, ref, from, to, plan)
					}
					for range 7 {
						step++
						for _, x := range r.state.Params.Shards() {
							g := r.state.Params.Grad(x.Name).F32()
							rng.NewKey(4, fmt.Sprint(step, x.Name)).FillNormal(g, 0, 1e-3)
							if x.Axes[0] == arch.Vocab {
								clear(g[r.arch.VocabSize*x.Shape[1]:]) // padding never has a gradient
							}
							for j := range g {
								ref[x.Name][j].step(float64(g[j]), 1e-2, x.Tensor)
							}
						}
						res, err := r.state.Optimizer.Step(r.s, 1e-2, 1/float64(ranks))
						if err != nil {
							return err
						}
						if res.Clip != 1 {
							return fmt.Errorf("gradients of norm %g were clipped", res.GradNorm)
						}
						must(r.s.Sync())
					}
					for _, x := range r.state.Params.Shards() {
						for j, w := range r.state.Params.Weight(x.Name).F32() {
							if want := ref[x.Name][j].w; math.Abs(float64(w)-want) > 1e-6 {
								return fmt.Errorf("%+v, %d ranks, after %d growths: %s[%d] at its step %g is %g, want %g", op, ranks, i, x.Name, j, ref[x.Name][j].t, w, want)
							}
						}
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// adopt takes weights as they are, with no moments.
func adopt(r *rig, ref map[string][]entry) {
	for _, x := range r.state.Params.Shards() {
		ref[x.Name] = nil
		for _, w := range r.state.Params.Weight(x.Name).F32() {
			ref[x.Name] = append(ref[x.Name], entry{w: float64(w)})
		}
	}
}

// regrow moves the reference's entries to their new places; new entries start with the weights that growth gave them.
func regrow(r *rig, old map[string][]entry, from, to arch.Model, plan *growth.Plan) map[string][]entry {
	ref := map[string][]entry{}
	adopt(r, ref)
	for _, x := range from.Tensors() {
		name, at := places(x, from, to, placement(from, to, plan.Options.LayerPlacement))
		d0, d := float64(from.HiddenSize), float64(to.HiddenSize)
		c := 1.0
		switch {
		case x.Name == arch.FinalNormGain:
			c = math.Sqrt(d / d0)
		case x.Name == arch.FinalNormShift:
			c = d / d0
		case x.Role == arch.Gain:
			c = math.Sqrt(d0 / d)
		}
		for i, j := range at {
			e := old[x.Name][i]
			ref[name][j] = entry{w: e.w * c, m: e.m / c, v: e.v / (c * c), t: e.t}
		}
	}
	return ref
}
