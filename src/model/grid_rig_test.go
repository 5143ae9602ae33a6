package model_test

import (
	"fmt"
	"slices"
	"sync"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/rng"
	"cambium/src/tensor"
)

// job is one training step of a model on a grid: forward and backward passes of some micro-batches, driven by hand.
type job struct {
	m              arch.Model
	mask           arch.Mask
	tp, pp, chunks int // chunks 0: 1
	sequence       bool
	recompute      model.Recompute
	split          bool
	dtype          tensor.DType
	micro          int // micro-batches, of two sequences
	workers        int
	scale          float32 // of the loss; 0: 1
}

func (j job) String() string {
	return fmt.Sprintf("tp%d pp%d chunks %d sequence parallel %v recompute %v split %v %v", j.tp, j.pp, max(j.chunks, 1), j.sequence, j.recompute, j.split, j.dtype)
}

// outcome is what a job gives, put together from all ranks: every gradient whole, and the loss of every token.
type outcome struct {
	grads  map[string][]float32
	losses []float32
	bytes  []int // of activations, by rank
}

const (
	jobBatch = 2
	jobSeq   = 8
)

func (j job) grid() grid.Grid {
	return grid.Grid{TP: j.tp, PP: j.pp, DP: 1, Chunks: max(j.chunks, 1)}
}

// value is what a test puts in a parameter: as the initialiser, with noise on gains and shifts, so that a forgotten one shows.
func value(m arch.Model, t arch.Tensor, b layout.Box) []float32 {
	v := make([]float32, b.Volume())
	initialValues(v, m, t, 7, b.Lo, b.Hi)
	if len(t.Shape) == 1 {
		noise := make([]float32, len(v))
		rng.NewKey(5, t.Name).FillNormal(noise, uint64(b.Lo[0]), 0.3)
		for i := range v {
			v[i] += noise[i]
		}
	}
	return v
}

// run makes the step on ranks that are goroutines.
func (j job) run() (*outcome, error) {
	g := j.grid()
	l, err := layout.Weights(j.m, g)
	if err != nil {
		return nil, err
	}
	out := &outcome{grads: map[string][]float32{}, losses: make([]float32, j.micro*jobBatch*jobSeq), bytes: make([]int, g.World())}
	for _, t := range l.Tensors {
		out.grads[t.Name] = make([]float32, t.Len())
		for i := range out.grads[t.Name] {
			out.grads[t.Name][i] = unset
		}
	}
	var mu sync.Mutex
	err = local.NewWorld(g.World()).Run(func(world comm.Communicator) error {
		r, err := j.open(l, world)
		if err != nil {
			return err
		}
		defer r.b.Close()
		if err := r.step(); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		return r.deposit(out)
	})
	return out, err
}

// unset is what no gradient is.
const unset = float32(-123456)

// gridRank is one rank of a job.
type gridRank struct {
	*rig
	job               job
	l                 layout.Layout
	world, tp, pp     comm.Communicator
	embedding         comm.Communicator
	at                grid.Coord
	out, dx           tensor.Tensor
	allTokens, allFor tensor.Tensor // of all micro-batches
	losses            [][]float32
	calls             []string // of the hooks
}

func (j job) open(l layout.Layout, world comm.Communicator) (*gridRank, error) {
	g := l.Grid
	r := &gridRank{rig: &rig{b: cpu.New(cpu.Options{Workers: max(j.workers, 1)})}, job: j, l: l, world: world, at: g.Coord(world.Rank())}
	r.s = r.b.NewStream("test")
	for _, k := range []struct {
		dim grid.Dim
		to  *comm.Communicator
	}{{grid.TP, &r.tp}, {grid.PP, &r.pp}, {grid.Embedding, &r.embedding}} {
		color, key := g.Split(k.dim, world.Rank())
		c, err := world.Split(k.dim.String(), color, key)
		if err != nil {
			return nil, err
		}
		*k.to = c
	}
	var err error
	if r.p, err = model.NewParams(r.b, l, world.Rank(), model.ParamOptions{DType: j.dtype, Grads: true}); err != nil {
		return nil, err
	}
	o := model.Options{MicroBatch: jobBatch, SeqLength: jobSeq, Recompute: j.recompute, SplitBackward: j.split}
	for range max(j.chunks, 1) {
		o.Slots = append(o.Slots, j.micro)
	}
	o.Hooks = model.Hooks{
		WeightsNeeded: r.hook("needs"),
		GradsReady:    r.hook("ready"),
	}
	if r.m, err = model.New(r.b, j.m.Function(), r.p, model.Parallel{TP: r.tp, SequenceParallel: j.sequence}, o); err != nil {
		return nil, err
	}
	r.m.SetMask(j.mask)
	return r, r.load()
}

func (r *gridRank) hook(name string) func(backend.Stream, int) {
	return func(_ backend.Stream, group int) { r.calls = append(r.calls, fmt.Sprint(name, " ", group)) }
}

// load puts weights and tokens on the device.
func (r *gridRank) load() error {
	largest := 0
	for _, h := range r.p.Shards() {
		largest = max(largest, h.LocalLen())
	}
	n := r.job.micro * r.m.Tokens()
	rows, cols, dtype := r.m.Stream()
	mem, err := r.b.Alloc("test", 4*largest+8*n+2*rows*cols*4)
	if err != nil {
		return err
	}
	for _, h := range r.p.Shards() {
		w := r.p.Weight(h.Name)
		staging := tensor.New(mem, 0, tensor.F32, w.Dims()...)
		r.s.Upload(staging, tensor.HostBytes(value(r.job.m, h.Tensor, h.Box)))
		r.s.Copy(w, staging)
		if err := r.s.Sync(); err != nil {
			return err
		}
	}
	at := 4 * largest
	r.allTokens, r.allFor = tensor.New(mem, at, tensor.I32, n), tensor.New(mem, at+4*n, tensor.I32, n)
	at += 8 * n
	r.out, r.dx = tensor.New(mem, at, dtype, rows, cols), tensor.New(mem, at+4*rows*cols, dtype, rows, cols)
	r.tokens, r.targets = r.allTokens, r.allFor
	r.draw(r.job.m.VocabSize, 0)
	r.targets.I32()[3] = -1
	return nil
}

// step runs all micro-batches forward and then, the last one first, backward.
func (r *gridRank) step() error {
	r.p.RenewGrads(r.s)
	g := r.l.Grid
	for i := range r.job.micro {
		for v := range g.VirtualStages() {
			if v%g.PP == r.at.PP {
				r.forward(i, v, g)
			}
		}
	}
	for i := r.job.micro - 1; i >= 0; i-- {
		for v := g.VirtualStages() - 1; v >= 0; v-- {
			if v%g.PP == r.at.PP {
				r.backward(i, v, g)
			}
		}
	}
	r.reduceShared()
	return r.s.Sync()
}

func (r *gridRank) part(t tensor.Tensor, i int) tensor.Tensor {
	n := r.m.Tokens()
	return t.Slice(i*n, (i+1)*n)
}

func (r *gridRank) forward(i, v int, g grid.Grid) {
	p := model.Pass{Chunk: v / g.PP, Slot: i}
	if !r.m.First(p.Chunk) {
		r.pp.Recv(r.s, "activations", (v-1)%g.PP, r.m.Input(p))
	}
	r.m.ForwardPass(r.s, p, r.part(r.allTokens, i), r.out)
	if !r.m.Last(p.Chunk) {
		r.pp.Send(r.s, "activations", (v+1)%g.PP, r.out)
	}
}

func (r *gridRank) backward(i, v int, g grid.Grid) {
	p := model.Pass{Chunk: v / g.PP, Slot: i}
	if !r.m.Last(p.Chunk) {
		r.pp.Recv(r.s, "gradients", (v+1)%g.PP, r.dx)
	}
	n := r.job.micro * r.m.Tokens()
	scale := max(r.job.scale, 1) / float32(n)
	b := model.Back{Tokens: r.part(r.allTokens, i), Targets: r.part(r.allFor, i), GradScale: scale, DX: r.dx}
	if r.job.split {
		r.m.BackwardInput(r.s, p, b)
	} else {
		r.m.BackwardPass(r.s, p, b)
	}
	if !r.m.First(p.Chunk) {
		r.pp.Send(r.s, "gradients", (v-1)%g.PP, r.dx)
	}
	if r.job.split {
		r.m.BackwardWeight(r.s, p)
	}
	if r.m.Last(p.Chunk) {
		r.losses = append(r.losses, make([]float32, r.m.Tokens()))
		r.s.Download(tensor.HostBytes(r.losses[len(r.losses)-1]), r.m.Losses())
	}
}

// reduceShared adds up what the ranks of a replica have in parts: gradients of the norms under sequence parallelism, and of a
// tied table on two stages.
func (r *gridRank) reduceShared() {
	if r.job.sequence {
		for _, name := range r.p.SequencePartial() {
			r.tp.AllReduce(r.s, "norms", comm.Sum, r.p.Grad(name))
		}
	}
	if r.pp.Size() > 1 && !r.job.m.UntieOutput && (r.at.PP == 0 || r.at.PP == r.pp.Size()-1) {
		r.embedding.AllReduce(r.s, "tied table", comm.Sum, r.p.Grad(arch.WordEmbeddings))
	}
}

// deposit writes the rank's gradients into whole ones. Ranks that hold the same must have the same bits.
func (r *gridRank) deposit(o *outcome) error {
	o.bytes[r.world.Rank()] = r.m.ActivationBytes()
	for _, h := range r.p.Shards() {
		whole, mine := o.grads[h.Name], r.p.Grad(h.Name).F32()
		n := 0
		layout.Runs(layout.Whole(h.Shape), h.Box, func(first, count int) {
			was := whole[first : first+count]
			if was[0] != unset && !slices.Equal(was, mine[n:n+count]) {
				n = -1 << 40
			} else if n >= 0 {
				copy(was, mine[n:n+count])
			}
			n += count
		})
		if n < 0 {
			return fmt.Errorf("%s: rank %d has another gradient than its replica", h.Name, r.world.Rank())
		}
	}
	for i, l := range r.losses {
		at := o.losses[(r.job.micro-1-i)*r.m.Tokens():][:len(l)]
		if r.at.TP > 0 && at[0] != 0 && !slices.Equal(at, l) {
			return fmt.Errorf("rank %d has other losses than its tensor-parallel group", r.world.Rank())
		}
		copy(at, l)
	}
	return nil
}
