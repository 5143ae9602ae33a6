package optim_test

import (
	"fmt"
	"slices"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/optim"
	"cambium/src/rng"
	"cambium/src/tensor"
)

// fake are parameters without a model.
type fake struct {
	tensors []arch.Tensor
	w, g    map[string]tensor.Tensor
}

func (f *fake) Tensors() []arch.Tensor           { return f.tensors }
func (f *fake) Weight(name string) tensor.Tensor { return f.w[name] }
func (f *fake) Grad(name string) tensor.Tensor   { return f.g[name] }

// rig is one rank with an optimizer.
type rig struct {
	b  backend.Backend
	s  backend.Stream
	dp comm.Communicator
	p  *fake
	o  *optim.Optimizer
}

func newRig(dp comm.Communicator, tensors []arch.Tensor, c optim.Config) (*rig, error) {
	r := &rig{b: cpu.New(cpu.Options{Workers: 1}), dp: dp}
	r.s = r.b.NewStream("test")
	r.p = &fake{tensors: tensors, w: map[string]tensor.Tensor{}, g: map[string]tensor.Tensor{}}
	_, err := backend.Plan(r.b, "weights", func(a *backend.Arena) {
		for _, t := range tensors {
			r.p.w[t.Name], r.p.g[t.Name] = a.Tensor(tensor.F32, t.Shape...), a.Tensor(tensor.F32, t.Shape...)
		}
	})
	if err != nil {
		return nil, err
	}
	r.o, err = optim.New(r.b, dp, r.p, c)
	return r, err
}

// fill gives all weights (or gradients) values that depend on name, place and salt: multiples of 1/64 in [-1, 1], whose
// sums over a few ranks are exact.
func fill(tensors []arch.Tensor, at map[string]tensor.Tensor, salt string) {
	for _, t := range tensors {
		k := rng.NewKey(1, salt+t.Name)
		for i, v := 0, at[t.Name].F32(); i < len(v); i++ {
			v[i] = (float32(k.Below(uint64(i), 129)) - 64) / 64
		}
	}
}

// ranks runs f on n ranks and fails the test with the first error.
func ranks(t *testing.T, n int, f func(comm.Communicator) error) {
	t.Helper()
	if err := local.NewWorld(n).Run(f); err != nil {
		t.Fatal(err)
	}
}

var config = optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, ClipGrad: 1}

func gpt() arch.Model {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize, m.VocabSizeDivisibleBy, m.MupBaseWidth = 2, 12, 2, 17, 5, 6
	m.FFNHiddenSize = 19
	return m.Complete(7)
}

// train takes steps on n ranks, each with its share of the same gradients, and returns rank 0's weights, which all ranks
// must have.
func train(t *testing.T, n, steps int, c optim.Config) (weights map[string][]float32, norms []float64) {
	tensors := gpt().Tensors()
	all := make([]map[string][]float32, n)
	ranks(t, n, func(dp comm.Communicator) error {
		r, err := newRig(dp, tensors, c)
		if err != nil {
			return err
		}
		fill(tensors, r.p.w, "w")
		for step := range steps {
			fill(tensors, r.p.g, fmt.Sprint(step))
			for _, x := range tensors { // shares 1/4, 1/2, ... that add up to 1
				share := []float32{1}
				if n > 1 {
					share = append(slices.Repeat([]float32{0.25}, n-1), 1-0.25*float32(n-1))
				}
				for i := range r.p.g[x.Name].F32() {
					r.p.g[x.Name].F32()[i] *= share[dp.Rank()]
				}
			}
			res, err := r.o.Step(r.s, 1e-2, 1)
			if err != nil {
				return err
			}
			if err := r.s.Sync(); err != nil { // the gradients are written on the host next
				return err
			}
			if dp.Rank() == 0 {
				norms = append(norms, res.GradNorm)
			}
		}
		all[dp.Rank()] = map[string][]float32{}
		for _, x := range tensors {
			all[dp.Rank()][x.Name] = slices.Clone(r.p.w[x.Name].F32())
		}
		return nil
	})
	for q := range all {
		for name, w := range all[q] {
			if !slices.Equal(w, all[0][name]) {
				t.Fatalf("%d ranks: %s differs between ranks 0 and %d", n, name, q)
			}
		}
	}
	return all[0], norms
}
