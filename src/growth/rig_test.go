package growth_test

import (
	"fmt"
	"math"
	"slices"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/grid"
	"cambium/src/growth"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/optim"
	"cambium/src/rng"
	"cambium/src/tensor"
)

const (
	batch = 2
	seq   = 12
)

// adam has a large eps: with the usual one a gradient that is zero but for rounding still moves a weight by a learning rate, in a
// direction that the order of sums decides, and runs could not be compared.
var adam = optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-3, WeightDecay: 0.1, ClipGrad: 1}

// rig is one rank with a model in training.
type rig struct {
	b               backend.Backend
	s               backend.Stream
	dp              comm.Communicator
	arch            arch.Model
	f               arch.Function
	state           growth.State
	m               *model.Model
	tokens, targets tensor.Tensor
	staging         int
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// newRig is a model with random weights, all of them far from their initial values, so that a forgotten one shows.
func newRig(dp comm.Communicator, m arch.Model) *rig {
	r := &rig{b: cpu.New(cpu.Options{Workers: 1}), dp: dp, arch: m, f: m.Function()}
	r.s = r.b.NewStream("test")
	place := r.parallel(m)
	l, err := layout.Weights(m, place.GridLayout.Grid)
	must(err)
	p, err := model.NewParams(r.b, l, dp.Rank(), model.ParamOptions{Grads: true})
	must(err)
	must(p.Init(r.s, 7))
	for _, t := range p.Shards() {
		w, noise := p.Weight(t.Name).F32(), make([]float32, t.Len())
		rng.NewKey(8, t.Name).FillNormal(noise, 0, 1)
		for i := range w {
			switch {
			case t.Axes[0] == arch.Vocab && i/m.HiddenSize >= m.VocabSize: // padding
			case t.Role == arch.Gain, t.Role == arch.Shift:
				w[i] += 0.3 * noise[i]
			default:
				w[i] = 3*w[i] + 0.1*noise[i]
			}
		}
	}
	o, err := optim.New(r.b, place, p, adam)
	must(err)
	r.state = growth.State{Params: p, Optimizer: o}
	mem, err := r.b.Alloc("tokens", 8*batch*seq)
	must(err)
	r.tokens, r.targets = tensor.New(mem, 0, tensor.I32, batch*seq), tensor.New(mem, 4*batch*seq, tensor.I32, batch*seq)
	r.bind()
	r.draw(0)
	return r
}

// parallel is the place in a grid of ranks that hold the same weights.
func (r *rig) parallel(m arch.Model) optim.Parallel {
	g, err := grid.New(r.dp.Size(), 1, 1)
	must(err)
	boxes, err := layout.Optimizer(m, g)
	must(err)
	return optim.Parallel{World: r.dp, DP: r.dp, GridLayout: boxes}
}

func alone(m arch.Model) *rig { return newRig(local.NewWorld(1).Comm(0), m) }

// bind makes a model over the present parameters.
func (r *rig) bind() {
	if r.m != nil {
		r.m.Close()
	}
	var err error
	r.m, err = model.New(r.b, r.f, r.state.Params, model.Parallel{}, model.Options{MicroBatch: batch, SeqLength: seq})
	must(err)
}

// draw takes micro-batch number n.
func (r *rig) draw(n int) {
	k := rng.NewKey(3, fmt.Sprint("tokens", n))
	for i := range r.tokens.Len() {
		r.tokens.I32()[i] = int32(k.Below(uint64(i), uint64(r.arch.VocabSize)))
		r.targets.I32()[i] = int32(k.Below(uint64(i)+1<<32, uint64(r.arch.VocabSize)))
	}
}

// grow plans and applies a growth, and goes on with the larger model.
func (r *rig) grow(to arch.Model, o growth.Options, n int) (*growth.Plan, growth.Stats, error) {
	plan, err := growth.NewPlan(r.arch, r.f, to, o)
	if err != nil {
		return nil, growth.Stats{}, err
	}
	g, err := growth.Grow(growth.Job{Plan: plan, Backend: r.b, Stream: r.s, Parallel: r.parallel(plan.To), Old: r.state, Seed: 11, Growth: n, Staging: r.staging})
	if err != nil {
		return nil, growth.Stats{}, err
	}
	if err := g.Commit(); err != nil {
		return nil, growth.Stats{}, err
	}
	r.state, r.arch, r.f = g.State, plan.To, plan.Function
	r.bind()
	return plan, g.Stats, nil
}

// beside grows a copy of the state and leaves r alone; drop ends it.
func (r *rig) beside(plan *growth.Plan) (big *rig, drop func(), err error) {
	g, err := growth.Grow(growth.Job{Plan: plan, Backend: r.b, Stream: r.s, Parallel: r.parallel(plan.To), Old: r.state, Seed: 11})
	if err != nil {
		return nil, nil, err
	}
	if err := g.Params.AllocateGrads(); err != nil {
		return nil, nil, err
	}
	copied := *r
	big = &copied
	big.state, big.arch, big.f, big.m = g.State, plan.To, plan.Function, nil
	big.bind()
	return big, func() { big.m.Close(); g.Abort() }, nil
}

func (r *rig) close() { must(r.b.Close()) }

// loss is the mean loss with a mask, in fp64.
func (r *rig) loss(k arch.Mask) float64 {
	r.m.SetMask(k)
	r.m.Forward(r.s, r.tokens, r.targets)
	must(r.s.Sync())
	sum := 0.0
	for _, l := range r.m.Losses().F32() {
		sum += float64(l)
	}
	return sum / float64(r.m.Tokens())
}

// logits are those of all tokens over the real vocabulary.
func (r *rig) logits(k arch.Mask) []float32 {
	r.m.SetMask(k)
	r.m.Forward(r.s, r.tokens, tensor.Tensor{})
	var out []float32
	for lo := 0; lo < r.m.Tokens(); lo += r.m.MaxLogits() {
		z := r.m.Logits(r.s, lo, min(lo+r.m.MaxLogits(), r.m.Tokens()))
		must(r.s.Sync())
		for i := range z.Rows() {
			out = append(out, z.F32()[i*z.LD():][:r.arch.VocabSize]...)
		}
	}
	return out
}

// grads are the gradients of the mean loss by name.
func (r *rig) grads(k arch.Mask) map[string][]float32 {
	r.m.SetMask(k)
	r.state.Params.ZeroGrads(r.s)
	r.m.ForwardBackward(r.s, r.tokens, r.targets, 1/float32(r.m.Tokens()))
	must(r.s.Sync())
	out := map[string][]float32{}
	for _, t := range r.state.Params.Shards() {
		out[t.Name] = slices.Clone(r.state.Params.Grad(t.Name).F32())
	}
	return out
}

// places is the new element of each old element of a parameter, by the formulas of the specification alone: prefixes, heads by
// (group, slot), layers at place[l].
func places(t arch.Tensor, from, to arch.Model, place []int) (name string, at []int) {
	index := func(a arch.Axis, i int) int {
		if a != arch.Query {
			return i
		}
		d := from.KVChannels
		r, s := from.NumAttentionHeads/from.NumQueryGroups, to.NumAttentionHeads/to.NumQueryGroups
		h, c := i/d, i%d
		return (h/r*s+h%r)*d + c
	}
	name = t.Name
	if t.Layer >= 0 {
		name = fmt.Sprintf("layers.%d%s", place[t.Layer], t.Name[len(fmt.Sprintf("layers.%d", t.Layer)):])
	}
	for i := range t.Len() {
		if len(t.Axes) == 1 {
			at = append(at, index(t.Axes[0], i))
			continue
		}
		cols := t.Shape[1]
		at = append(at, index(t.Axes[0], i/cols)*to.Size(t.Axes[1])+index(t.Axes[1], i%cols))
	}
	return name, at
}

// placement is where each old layer goes.
func placement(from, to arch.Model, where string) []int {
	out := make([]int, from.NumLayers)
	for l := range out {
		if out[l] = l; where == growth.Spread {
			out[l] = l * to.NumLayers / from.NumLayers
		}
	}
	return out
}

// apart is max|a-b| / max|b|.
func apart(a, b []float32) float64 {
	diff, top := 0.0, 1e-300
	for i := range b {
		diff, top = max(diff, math.Abs(float64(a[i])-float64(b[i]))), max(top, math.Abs(float64(b[i])))
	}
	if diff != diff {
		return math.Inf(1)
	}
	return diff / top
}

func largest(v []float32) float64 {
	top := 0.0
	for _, x := range v {
		top = max(top, math.Abs(float64(x)))
	}
	return top
}
