package optim_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/optim"
	"cambium/src/rng"
	"cambium/src/tensor"
)

// fake are one rank's parameters without a model.
type fake struct {
	layout layout.Layout
	rank   int
	shards []model.Shard
	w, g   map[string]tensor.Tensor
}

func (f *fake) Shards() []model.Shard            { return f.shards }
func (f *fake) Weight(name string) tensor.Tensor { return f.w[name] }
func (f *fake) Grad(name string) tensor.Tensor   { return f.g[name] }

// SequencePartial: gains and shifts of norms.
func (f *fake) SequencePartial() (names []string) {
	for _, x := range f.shards {
		if x.SplitAxis < 0 && len(x.Shape) == 1 {
			names = append(names, x.Name)
		}
	}
	return names
}

func newFake(b backend.Backend, m arch.Model, g grid.Grid, rank int, dtype tensor.DType) (*fake, error) {
	l, err := layout.Weights(m, g)
	if err != nil {
		return nil, err
	}
	f := &fake{layout: l, rank: rank, w: map[string]tensor.Tensor{}, g: map[string]tensor.Tensor{}}
	for _, s := range l.Local(rank) {
		x := model.Shard{Tensor: l.Tensors[s.Tensor], Box: s.Box, Group: 1 + l.Tensors[s.Tensor].Layer}
		switch {
		case x.Layer == arch.LayerFinal, x.Name == arch.WordEmbeddings && !g.FirstStage(rank):
			x.Group = m.NumLayers + 1
		case x.Layer == arch.LayerEmbedding:
			x.Group = 0
		}
		f.shards = append(f.shards, x)
	}
	slices.SortStableFunc(f.shards, func(a, b model.Shard) int { return a.Group - b.Group })
	for _, block := range []struct {
		of map[string]tensor.Tensor
		t  tensor.DType
	}{{f.w, dtype}, {f.g, tensor.F32}} {
		_, err := backend.Plan(b, "parameters", func(a *backend.Arena) {
			for _, x := range f.shards {
				block.of[x.Name] = a.Tensor(block.t, x.Box.Dims()...)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

// rig is one rank with an optimizer.
type rig struct {
	b     backend.Backend
	s     backend.Stream
	world comm.Communicator
	p     *fake
	o     *optim.Optimizer
	grid  grid.Grid
	at    grid.Coord
	react bool // gradients depend on the weights that a pass read
}

// settings of a rig beside its grid.
type settings struct {
	config  optim.Config
	dtype   tensor.DType
	overlap bool
	bucket  int
	react   bool
}

// newRig places a rank. Like Megatron's, its communicators come from the grid alone.
func newRig(world comm.Communicator, m arch.Model, g grid.Grid, c settings) (*rig, error) {
	r := &rig{b: cpu.New(cpu.Options{Workers: 1}), world: world, grid: g, react: c.react, at: g.Coord(world.Rank())}
	r.s = r.b.NewStream("passes")
	p := optim.Parallel{World: world, SequenceParallel: true, BucketSize: c.bucket}
	if c.overlap {
		p.Stream, p.OverlapGradReduce, p.OverlapParamGather = r.b.NewStream("wires"), true, true
	}
	var err error
	for _, x := range []struct {
		dim grid.Dim
		to  *comm.Communicator
	}{{grid.DP, &p.DP}, {grid.TP, &p.TP}, {grid.Embedding, &p.Embedding}} {
		color, key := g.Split(x.dim, world.Rank())
		if *x.to, err = world.Split(x.dim.String(), color, key); err != nil {
			return nil, err
		}
	}
	if p.GridLayout, err = layout.Optimizer(m, g); err != nil {
		return nil, err
	}
	if r.p, err = newFake(r.b, m, g, world.Rank(), c.dtype); err != nil {
		return nil, err
	}
	r.o, err = optim.New(r.b, p, r.p, c.config)
	return r, err
}

// onGrid runs f on the ranks of a grid and fails the test with the first error.
func onGrid(t fataler, m arch.Model, g grid.Grid, c settings, f func(*rig) error) {
	t.Helper()
	err := local.NewWorld(g.World()).Run(func(world comm.Communicator) error {
		r, err := newRig(world, m, g, c)
		if err != nil {
			return err
		}
		defer r.b.Close()
		return f(r)
	})
	if err != nil {
		t.Fatalf("%v: %v", g, err)
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, a ...any)
}

// dataParallel is the grid of n ranks that hold the same weights.
func dataParallel(t testing.TB, n int) grid.Grid {
	g, err := grid.New(n, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// value is element i of the global parameter t: a multiple of 1/64 in [-1, 1] that depends on salt, name and place; 0 in the
// padding of the vocabulary. Sums of a few shares of such numbers are exact in fp32.
func value(k rng.Key, m arch.Model, t arch.Tensor, i int) float32 {
	if t.Axes[0] == arch.Vocab && i/t.Shape[1] >= m.VocabSize {
		return 0
	}
	return (float32(k.Below(uint64(i), 129)) - 64) / 64
}

// fill gives all weights (or gradients) of a rank their values, times what part says of each parameter.
func (r *rig) fill(at map[string]tensor.Tensor, salt string, part func(x model.Shard) float32) {
	for _, x := range r.p.shards {
		r.fillOne(x, at[x.Name].F32(), salt, part(x))
	}
}

func (r *rig) fillOne(x model.Shard, v []float32, salt string, part float32) {
	k := rng.NewKey(1, salt+x.Name)
	eachIndex(x.Tensor, x.Box, func(local, global int) { v[local] = part * value(k, r.p.layout.Model, x.Tensor, global) })
}

// eachIndex calls f for the elements of a box: their number in the box and in the whole tensor.
func eachIndex(t arch.Tensor, box layout.Box, f func(local, global int)) {
	if len(t.Shape) == 1 {
		for i := box.Lo[0]; i < box.Hi[0]; i++ {
			f(i-box.Lo[0], i)
		}
		return
	}
	n := 0
	for i := box.Lo[0]; i < box.Hi[0]; i++ {
		for j := box.Lo[1]; j < box.Hi[1]; j++ {
			f(n, i*t.Shape[1]+j)
			n++
		}
	}
}

func whole(model.Shard) float32 { return 1 }

// share is what rank i of n contributes to a sum: 1/4 each, and the last one the rest.
func share(i, n int) float32 {
	if i < n-1 {
		return 0.25
	}
	return 1 - 0.25*float32(n-1)
}

// part is what this rank contributes to the gradient of a parameter: a share of each group that its gradient is summed over.
func (r *rig) part(x model.Shard) float32 {
	p := share(r.at.DP, r.grid.DP)
	if slices.Contains(r.p.SequencePartial(), x.Name) {
		p *= share(r.at.TP, r.grid.TP)
	}
	if x.Name == arch.WordEmbeddings && !r.p.layout.Model.UntieOutput && r.grid.PP > 1 {
		p *= share(min(r.at.PP, 1), 2)
	}
	return p
}

// gathered are whole tensors by kind and name, put together from the ranks of a grid.
type gathered struct {
	mu  sync.Mutex
	all map[string][]float32
	is  map[string][]bool
	bad error
}

func newGathered() *gathered { return &gathered{all: map[string][]float32{}, is: map[string][]bool{}} }

// add takes a box. Replicas must be equal, bit for bit.
func (a *gathered) add(kind string, t arch.Tensor, box layout.Box, v []float32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := kind + " " + t.Name
	if a.all[name] == nil {
		a.all[name], a.is[name] = make([]float32, t.Len()), make([]bool, t.Len())
	}
	eachIndex(t, box, func(local, global int) {
		if a.is[name][global] && a.all[name][global] != v[local] {
			a.bad = fmt.Errorf("%s[%d] is %g on one rank and %g on another", name, global, a.all[name][global], v[local])
		}
		a.all[name][global], a.is[name][global] = v[local], true
	})
}

// take adds all of a rank: weights as fp32, and the optimizer's state.
func (a *gathered) take(r *rig) error {
	r.o.Settle(r.s)
	wide := map[string][]float32{}
	for _, x := range r.p.shards {
		w := r.p.w[x.Name]
		mem, err := r.b.Alloc("test", 4*w.Len())
		if err != nil {
			return err
		}
		f := tensor.New(mem, 0, tensor.F32, w.Dims()...)
		r.s.Copy(f, w)
		wide[x.Name] = f.F32()
	}
	if err := r.s.Sync(); err != nil {
		return err
	}
	for _, x := range r.p.shards {
		a.add("model", x.Tensor, x.Box, wide[x.Name])
	}
	for _, p := range r.o.State() {
		a.add(p.Kind, p.Tensor, p.Box, p.Data.F32())
	}
	return nil
}

// compare tells where two worlds differ by more than the bound; padding of the vocabulary counts if it is there.
func (a *gathered) compare(want *gathered, bound float64) error {
	if a.bad != nil {
		return a.bad
	}
	if len(a.all) != len(want.all) {
		return fmt.Errorf("%d tensors, want %d", len(a.all), len(want.all))
	}
	for name, v := range want.all {
		for i, got := range a.all[name] {
			w := float32(0)
			if i < len(v) {
				w = v[i]
			}
			if d := float64(got) - float64(w); d > bound || d < -bound || d != d || !a.is[name][i] {
				return fmt.Errorf("%s[%d] is %g, want %g", name, i, got, w)
			}
		}
	}
	return nil
}

var config = optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, ClipGrad: 1}

func gpt() arch.Model {
	m := arch.Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize, m.VocabSizeDivisibleBy, m.MupBaseWidth = 2, 12, 2, 17, 5, 6
	m.FFNHiddenSize = 19
	return m.Complete(7)
}
