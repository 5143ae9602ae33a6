package growth_test

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

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

// place is one rank of a grid with a state whose every element is its own: weights, masters and moments are random
// functions of the global index.
type place struct {
	world   comm.Communicator
	b       backend.Backend
	s       backend.Stream
	arch    arch.Model
	f       arch.Function
	state   growth.State
	groups  optim.Parallel
	pp      comm.Communicator
	staging int
	sent    *atomic.Int64 // bytes that left any rank in growth
}

// counting counts what leaves a rank.
type counting struct {
	comm.Communicator
	sent *atomic.Int64
}

func (c counting) AllToAll(s backend.Stream, name string, send, recv []tensor.Tensor) {
	for p, t := range send {
		if t.Present() {
			if p == c.Rank() {
				panic("a message to itself")
			}
			c.sent.Add(int64(t.Bytes()))
		}
	}
	c.Communicator.AllToAll(s, name, send, recv)
}

func (c counting) AllGather(s backend.Stream, name string, send []tensor.Tensor, recv [][]tensor.Tensor) {
	for _, t := range send {
		c.sent.Add(int64(t.Bytes() * (c.Size() - 1)))
	}
	c.Communicator.AllGather(s, name, send, recv)
}

// groupsOf places a rank in a grid.
func groupsOf(world comm.Communicator, m arch.Model, g grid.Grid, sent *atomic.Int64) (p optim.Parallel, pp comm.Communicator) {
	split := func(d grid.Dim) comm.Communicator {
		color, key := g.Split(d, world.Rank())
		c, err := world.Split(d.String(), color, key)
		must(err)
		return c
	}
	l, err := layout.Optimizer(m, g)
	must(err)
	return optim.Parallel{
		World: counting{world, sent}, DP: counting{split(grid.DP), sent}, TP: split(grid.TP), Embedding: split(grid.Embedding), GridLayout: l,
	}, split(grid.PP)
}

func newPlace(world comm.Communicator, m arch.Model, g grid.Grid, dtype tensor.DType, sent *atomic.Int64) *place {
	r := &place{world: world, b: cpu.New(cpu.Options{Workers: 1}), arch: m, f: m.Function(), sent: sent}
	r.s = r.b.NewStream("test")
	r.groups, r.pp = groupsOf(world, m, g, sent)
	l, err := layout.Weights(m, g)
	must(err)
	r.state.Params, err = model.NewParams(r.b, l, world.Rank(), model.ParamOptions{DType: dtype, Grads: true})
	must(err)
	r.state.Optimizer, err = optim.New(r.b, r.groups, r.state.Params, adam)
	must(err)
	for _, p := range r.state.Optimizer.State() {
		random(p.Data.F32(), m, p.Kind, p.Tensor, p.Box)
	}
	if dtype == tensor.F32 {
		for _, x := range r.state.Params.Shards() {
			random(r.state.Params.Weight(x.Name).F32(), m, optim.Weight, x.Tensor, x.Box)
		}
	}
	r.state.Optimizer.PublishWeights(r.s)
	must(r.s.Sync())
	births := optim.Births{Layers: make([]int32, m.NumLayers)}
	births.Layers[m.NumLayers-1] = 33
	must(r.state.Optimizer.Restore(r.s, optim.Counters{Step: 40, Births: births}))
	return r
}

// random fills a box of a parameter, or of a moment: gains near 1, squares positive, padding zero.
func random(v []float32, m arch.Model, kind string, t arch.Tensor, box layout.Box) {
	rng.NewKey(6, kind+t.Name).FillNormalBox(v, t.Shape, box.Lo, box.Hi, 0.1)
	eachIndex(t, box, func(local, global int) {
		switch {
		case t.Axes[0] == arch.Vocab && global/t.Shape[1] >= m.VocabSize:
			v[local] = 0
		case kind == optim.ExpAvgSq:
			v[local] *= v[local]
		case kind == optim.Weight && t.Role == arch.Gain:
			v[local]++
		}
	})
}

// eachIndex calls f for the elements of a box: their number in the box and in the whole tensor.
func eachIndex(t arch.Tensor, box layout.Box, f func(local, global int)) {
	lo, hi, cols := 0, 1, t.Shape[len(t.Shape)-1]
	if len(t.Shape) == 2 {
		lo, hi = box.Lo[0], box.Hi[0]
	}
	n, last := 0, len(t.Shape)-1
	for i := lo; i < hi; i++ {
		for j := box.Lo[last]; j < box.Hi[last]; j++ {
			f(n, i*cols+j)
			n++
		}
	}
}

// grow goes over to another shape and grid, and checks what growth says about itself: nothing but what had to travels, and
// memory never exceeds old and new state with the staging that it names.
func (r *place) grow(to arch.Model, g grid.Grid, o growth.Options, n int) (*growth.Plan, error) {
	plan, err := growth.NewPlan(r.arch, r.f, to, o)
	if err != nil {
		return nil, err
	}
	next, pp := groupsOf(r.world, to, g, r.sent)
	old := r.b.Usage()
	must(r.world.Barrier("before growth"))
	before := r.sent.Load()
	must(r.world.Barrier("growth"))
	grown, err := growth.Grow(growth.Job{Plan: plan, Backend: r.b, Stream: r.s, Old: r.state, Parallel: next, Seed: 11, Growth: n, Staging: r.staging})
	if err != nil {
		return nil, err
	}
	must(r.world.Barrier("grown"))
	sent, both := r.sent.Load()-before, r.b.Usage()
	must(r.world.Barrier("counted"))
	s := grown.Stats
	dtype := r.state.Params.DType()
	traffic, staging, err := growth.Measure(plan, r.groups.GridLayout.Grid, g, dtype, r.world.Rank())
	if total := traffic.Total(); err != nil || total != (growth.Moved{Bytes: s.BytesMoved, LowerBound: s.BytesLowerBound}) || r.staging == 0 && staging != s.StagingBytes {
		return nil, fmt.Errorf("measured %+v with staging of %d (%v), it was %+v", traffic, staging, err, s)
	}
	exact := dtype == tensor.F32 || plan.Factor(arch.Tensor{Role: arch.Gain}) == 1
	switch {
	case sent != s.BytesMoved:
		return nil, fmt.Errorf("%d bytes left their ranks, the stats say %d", sent, s.BytesMoved)
	case exact && s.BytesMoved != s.BytesLowerBound:
		return nil, fmt.Errorf("%d bytes moved, %d had to", s.BytesMoved, s.BytesLowerBound)
	case both.Peak > max(both.Current+s.StagingBytes, old.Peak) || both.ByLabel["growth staging"] != 0:
		return nil, fmt.Errorf("peak %d, old and new state %d, staging %d: %+v", both.Peak, both.Current, s.StagingBytes, both.ByLabel)
	case !(s.Seconds > 0):
		return nil, fmt.Errorf("growth took %g seconds", s.Seconds)
	}
	if err := grown.Commit(); err != nil {
		return nil, err
	}
	r.state, r.arch, r.f, r.groups, r.pp = grown.State, to, plan.Function, next, pp
	return plan, nil
}

// step takes an optimizer step with gradients of its own.
func (r *place) step() error {
	for _, x := range r.state.Params.Shards() {
		random(r.state.Params.Grad(x.Name).F32(), r.arch, "gradient", x.Tensor, x.Box)
	}
	if _, err := r.state.Optimizer.Step(r.s, 1e-2, 1); err != nil {
		return err
	}
	return r.s.Sync()
}

// loss is the mean loss of a micro-batch that all ranks know, through the stages one after another.
func (r *place) loss(k arch.Mask) (float64, error) {
	g := r.groups.GridLayout.Grid
	m, err := model.New(r.b, r.f, r.state.Params, model.Parallel{TP: r.groups.TP, SequenceParallel: g.TP == 2}, model.Options{
		MicroBatch: batch, SeqLength: seq})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	m.SetMask(k)
	rows, cols, dtype := m.Stream()
	mem, err := r.b.Alloc("test", 2*4*batch*seq+rows*cols*dtype.Size())
	if err != nil {
		return 0, err
	}
	defer r.b.Free(mem)
	tokens, targets := tensor.New(mem, 0, tensor.I32, batch*seq), tensor.New(mem, 4*batch*seq, tensor.I32, batch*seq)
	out := tensor.New(mem, 8*batch*seq, dtype, rows, cols)
	key := rng.NewKey(3, "tokens")
	for i := range batch * seq {
		tokens.I32()[i], targets.I32()[i] = int32(key.Below(uint64(i), uint64(r.arch.VocabSize))), int32(key.Below(uint64(i)+1<<32, uint64(r.arch.VocabSize)))
	}
	stages, me := g.PP*max(g.Chunks, 1), g.Coord(r.world.Rank())
	for v := range stages {
		if v%g.PP != me.PP {
			continue
		}
		p := model.Pass{Chunk: v / g.PP}
		if v > 0 {
			r.pp.Recv(r.s, "activations", (v-1)%g.PP, m.Input(p))
		}
		m.ForwardPass(r.s, p, tokens, out)
		if v+1 < stages {
			r.pp.Send(r.s, "activations", (v+1)%g.PP, out)
		} else {
			m.LossPass(r.s, p, targets)
		}
	}
	if err := r.s.Sync(); err != nil {
		return 0, err
	}
	sum := []float64{0}
	if me.PP == g.PP-1 && me.TP == 0 && me.DP == 0 {
		for _, l := range m.Losses().F32() {
			sum[0] += float64(l)
		}
	}
	err = r.world.Reduce("loss", comm.Sum, sum)
	return sum[0] / (batch * seq), err
}

// gathered are whole tensors by kind and name, put together from all ranks.
type gathered struct {
	mu     sync.Mutex
	all    map[string][]float32
	is     map[string][]bool
	bad    error
	births optim.Births
}

func newGathered() *gathered { return &gathered{all: map[string][]float32{}, is: map[string][]bool{}} }

func (a *gathered) add(kind string, t arch.Tensor, box layout.Box, v []float32) {
	name := kind + " " + t.Name
	if a.all[name] == nil {
		a.all[name], a.is[name] = make([]float32, t.Len()), make([]bool, t.Len())
	}
	eachIndex(t, box, func(local, global int) {
		if a.is[name][global] && math.Float32bits(a.all[name][global]) != math.Float32bits(v[local]) {
			a.bad = fmt.Errorf("%s[%d] is %g on one rank and %g on another", name, global, a.all[name][global], v[local])
		}
		a.all[name][global], a.is[name][global] = v[local], true
	})
}

// take adds a rank's weights, as fp32, and its optimizer's state.
func (a *gathered) take(r *place) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range r.state.Params.Shards() {
		w := r.state.Params.Weight(x.Name)
		mem, err := r.b.Alloc("test", 4*w.Len())
		must(err)
		wide := tensor.New(mem, 0, tensor.F32, w.Dims()...)
		r.s.Copy(wide, w)
		must(r.s.Sync())
		a.add("model", x.Tensor, x.Box, wide.F32())
		r.b.Free(mem)
	}
	for _, p := range r.state.Optimizer.State() {
		a.add(p.Kind, p.Tensor, p.Box, p.Data.F32())
	}
	a.births = r.state.Optimizer.Births()
}

// compare tells where two worlds differ in a bit. The vocabulary may be padded to other lengths; padding is zero.
func (a *gathered) compare(want *gathered) error {
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
			if got != w || !a.is[name][i] {
				return fmt.Errorf("%s[%d] is %g (written: %v), want %g", name, i, got, a.is[name][i], w)
			}
		}
	}
	if fmt.Sprint(a.births) != fmt.Sprint(want.births) {
		return fmt.Errorf("births are %v, want %v", a.births, want.births)
	}
	return nil
}

// everywhere runs f on the ranks of a new world.
func everywhere(ranks int, f func(world comm.Communicator, sent *atomic.Int64) error) error {
	var sent atomic.Int64
	return local.NewWorld(ranks).Run(func(world comm.Communicator) error { return f(world, &sent) })
}
