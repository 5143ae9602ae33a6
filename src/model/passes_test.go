package model_test

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/tensor"
)

// onGrid runs f on every rank of a job.
func (j job) onGrid(t *testing.T, f func(*gridRank) error) {
	t.Helper()
	l, err := layout.Weights(j.m, j.grid())
	if err != nil {
		t.Fatal(err)
	}
	err = local.NewWorld(l.Grid.World()).Run(func(world comm.Communicator) error {
		r, err := j.open(l, world)
		if err != nil {
			return err
		}
		defer r.b.Close()
		return f(r)
	})
	if err != nil {
		t.Errorf("%v: %v", j, err)
	}
}

// passes runs every chunk of the rank forward and backward, without its neighbours: over whatever is in the buffers between
// stages.
func (r *gridRank) passes() error {
	b := model.Back{Tokens: r.part(r.allTokens, 0), Targets: r.part(r.allFor, 0), GradScale: 0.1, DX: r.dx}
	r.p.RenewGrads(r.s)
	for c := range r.m.Chunks() {
		r.m.ForwardPass(r.s, model.Pass{Chunk: c}, b.Tokens, r.out)
	}
	for c := range r.m.Chunks() {
		if p := (model.Pass{Chunk: c}); r.job.split {
			r.m.BackwardInput(r.s, p, b)
			r.m.BackwardWeight(r.s, p)
		} else {
			r.m.BackwardPass(r.s, p, b)
		}
	}
	return r.s.Sync()
}

func TestSteadyPassesOfManyRanksAllocateNothing(t *testing.T) {
	const steps = 20
	for _, j := range []job{
		{tp: 2, pp: 1, recompute: model.RecomputeFull}, {tp: 2, pp: 2, chunks: 2, sequence: true}, {tp: 2, pp: 2, sequence: true, split: true},
	} {
		for _, m := range shapes() {
			j.m, j.mask, j.micro = m, halfway(m), 1
			j.onGrid(t, func(r *gridRank) error {
				r.m.SetHooks(model.Hooks{})
				run := func(n int) error {
					for range n {
						if err := r.passes(); err != nil {
							return err
						}
					}
					return r.world.Barrier("passes")
				}
				if err := run(20); err != nil {
					return err
				}
				device := r.b.Usage().Current
				// Of all ranks together. One list a call would be a hundred a step, in every window; the runtime's own objects, for
				// goroutines that wait, come and go with the load of the machine: the best window counts.
				fewest := uint64(math.MaxUint64)
				for range 5 {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					if err := run(steps); err != nil {
						return err
					}
					runtime.ReadMemStats(&after)
					fewest = min(fewest, after.Mallocs-before.Mallocs)
				}
				if fewest > 5*steps {
					return fmt.Errorf("at least %d allocations in %d steps", fewest, steps)
				}
				if now := r.b.Usage().Current; now != device {
					return fmt.Errorf("device memory went from %d to %d bytes", device, now)
				}
				return nil
			})
		}
	}
}

// A group's weights are asked for before anything reads them, and its gradients announced once in each backward pass, in the
// order in which they are ready.
func TestHooksFollowThePassesThroughTheGroups(t *testing.T) {
	m := shapes()["gpt2"]
	untied := m
	untied.UntieOutput = true
	for _, c := range []struct {
		j    job
		want [][]string // by rank
	}{
		{job{m: m, tp: 1, pp: 1}, [][]string{{"needs 0 1 2 3 4 5", "ready 5 4 3 2 1 0"}}},
		{job{m: untied, tp: 1, pp: 2, chunks: 2}, [][]string{{"needs 0 1 3", "ready 1 0 3"}, {"needs 2 4 5", "ready 2 5 4"}}},
		{job{m: m, tp: 1, pp: 2, split: true}, [][]string{{"needs 0 1 2", "ready 2 1 0"}, {"needs 3 4 5", "ready 5 4 3"}}},
	} {
		c.j.micro = 1
		c.j.onGrid(t, func(r *gridRank) error {
			r.calls = nil
			if err := r.passes(); err != nil {
				return err
			}
			got := map[string]string{"needs": "needs", "ready": "ready"}
			for _, call := range r.calls {
				kind, group, _ := strings.Cut(call, " ")
				got[kind] += " " + group
			}
			if want := c.want[r.world.Rank()]; got["needs"] != want[0] || got["ready"] != want[1] {
				return fmt.Errorf("hooks %v, want %q", got, want)
			}
			return nil
		})
	}
}

// Shards say which group needs them: what a stage holds of a tied table is its first or its last group.
func TestShardsAreOrderedByGroup(t *testing.T) {
	m := shapes()["gpt2"]
	for _, c := range []struct {
		pp, rank int
		table    int // group of the tied table, -1 where it is not
	}{{1, 0, 0}, {4, 0, 0}, {4, 1, -1}, {4, 3, 5}} {
		l, err := layout.Weights(m, grid.Grid{TP: 1, PP: c.pp, DP: 1, Chunks: 1})
		if err != nil {
			t.Fatal(err)
		}
		b := cpu.New(cpu.Options{Workers: 1})
		p, err := model.NewParams(b, l, c.rank, model.ParamOptions{DType: tensor.BF16, Grads: true})
		if err != nil {
			t.Fatal(err)
		}
		last, table := 0, -1
		for _, s := range p.Shards() {
			if s.Group < last || !slices.Equal(p.Weight(s.Name).Dims(), s.Box.Dims()) {
				t.Errorf("pp %d, rank %d: %s of group %d behind group %d, weight %v", c.pp, c.rank, s.Name, s.Group, last, p.Weight(s.Name))
			}
			w, g := p.Weight(s.Name), p.Grad(s.Name)
			if w.DType() != tensor.BF16 || g.DType() != tensor.F32 || 2*w.Offset() != g.Offset() {
				t.Errorf("%s: weight %v at %d, gradient %v at %d", s.Name, w, w.Offset(), g, g.Offset())
			}
			if last = s.Group; s.Name == arch.WordEmbeddings {
				table = s.Group
			}
		}
		if table != c.table {
			t.Errorf("pp %d, rank %d: table in group %d, want %d", c.pp, c.rank, table, c.table)
		}
		b.Close()
	}
}

// Evaluation over pipeline stages, two micro-batches in flight, gives the losses of training's forward passes, and logits on the
// last stage.
func TestLossPassesOverTheGridAreThoseOfTraining(t *testing.T) {
	for name, m := range shapes() {
		want := mustRun(t, job{m: m, mask: halfway(m), tp: 1, pp: 1, micro: 2})
		var mu sync.Mutex
		for _, j := range []job{{tp: 2, pp: 2, chunks: 2}, {tp: 2, pp: 2, sequence: true}, {tp: 4, pp: 1, dtype: tensor.F16}} {
			j.m, j.mask, j.micro = m, halfway(m), 2
			bound := lossTolerance
			if j.dtype == tensor.F16 {
				bound = 0.01 // see TestSixteenBitsStayWithinTheirRounding
			}
			got := make([]float32, len(want.losses))
			j.onGrid(t, func(r *gridRank) error {
				o := model.Options{MicroBatch: jobBatch, SeqLength: jobSeq, Inference: true}
				for range r.m.Chunks() {
					o.Slots = append(o.Slots, 2)
				}
				x, err := model.New(r.b, m.Function(), r.p, model.Parallel{TP: r.tp, SequenceParallel: j.sequence}, o)
				if err != nil {
					return err
				}
				if x.ActivationBytes() >= r.m.ActivationBytes() {
					return fmt.Errorf("%d bytes for inference, %d for training", x.ActivationBytes(), r.m.ActivationBytes())
				}
				r.m = x
				r.m.SetMask(j.mask)
				return r.evaluate(func(i int, losses []float32) {
					mu.Lock()
					defer mu.Unlock()
					copy(got[i*r.m.Tokens():], losses)
				})
			})
			if d := lossesApart(&outcome{losses: got}, want); !(d < bound) {
				t.Errorf("%s, %v: losses differ by %g", name, j, d)
			}
		}
	}
}

// evaluate runs two micro-batches forward and hands out their losses; the logits of the last must explain the last loss.
func (r *gridRank) evaluate(each func(i int, losses []float32)) error {
	g, n := r.l.Grid, r.m.Tokens()
	for i := range r.job.micro {
		for v := range g.VirtualStages() {
			if v%g.PP == r.at.PP {
				r.forward(i, v, g)
			}
		}
		if r.at.PP != g.PP-1 {
			continue
		}
		r.m.LossPass(r.s, model.Pass{Chunk: r.m.Chunks() - 1, Slot: i}, r.part(r.allFor, i))
		losses := make([]float32, n)
		r.s.Download(tensor.HostBytes(losses), r.m.Losses())
		z := r.m.GatherLogits(r.s, n-1, n)
		row := make([]float32, r.job.m.VocabSize)
		r.s.Download(tensor.HostBytes(row), z.Columns(0, len(row)))
		if err := r.s.Sync(); err != nil {
			return err
		}
		each(i, losses)
		sum := 0.0
		for _, z := range row {
			sum += math.Exp(float64(z))
		}
		target := r.allFor.I32()[(i+1)*n-1]
		if want := math.Log(sum) - float64(row[target]); math.Abs(want-float64(losses[n-1])) > 1e-5 {
			return fmt.Errorf("micro-batch %d: the logits give a loss of %v, the pass gives %v", i, want, losses[n-1])
		}
	}
	return r.s.Sync()
}

func TestImpossibleGridsAreOneSentence(t *testing.T) {
	m := shapes()["gpt2"]
	l, err := layout.Weights(m, grid.Grid{TP: 2, PP: 2, DP: 1, Chunks: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tp     int
		change func(*model.Options)
		want   string
	}{
		{1, func(*model.Options) {}, "tensor-parallel group of 1 ranks"},
		{2, func(o *model.Options) { o.MicroBatch, o.SeqLength = 1, 7 }, "sequence_parallel: micro_batch_size 1 x seq_length 7"},
		{2, func(o *model.Options) { o.Slots = []int{1, 1} }, "slots for 2 chunks of layers: want 1"},
		{2, func(o *model.Options) { o.SplitBackward, o.Recompute = true, model.RecomputeFull }, "recompute_granularity is full"},
	} {
		err := local.NewWorld(c.tp).Run(func(tp comm.Communicator) error {
			b := cpu.New(cpu.Options{Workers: 1})
			defer b.Close()
			p, err := model.NewParams(b, l, tp.Rank(), model.ParamOptions{Grads: true})
			if err != nil {
				return err
			}
			o := model.Options{MicroBatch: 2, SeqLength: 8}
			c.change(&o)
			_, err = model.New(b, m.Function(), p, model.Parallel{TP: tp, SequenceParallel: true}, o)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one sentence with %q", err, c.want)
		}
	}
	b := cpu.New(cpu.Options{Workers: 1})
	defer b.Close()
	if _, err := model.NewParams(b, l, 0, model.ParamOptions{DType: tensor.F64}); err == nil || !strings.Contains(err.Error(), "weights in fp64") {
		t.Errorf("error %v for weights in fp64", err)
	}
	boxes, err := layout.Optimizer(m, grid.Grid{TP: 1, PP: 1, DP: 2, Chunks: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := model.NewParams(b, boxes, 0, model.ParamOptions{}); err == nil || !strings.Contains(err.Error(), "as layout.Weights gives") {
		t.Errorf("error %v for a layout of optimizer state", err)
	}
}
