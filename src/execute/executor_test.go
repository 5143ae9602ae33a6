package execute

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/model"
	"cambium/src/pipeline"
	"cambium/src/tensor"
)

const (
	fakeTokens = 3
	fakeHidden = 2
)

// fake is a model of one number a token: virtual stage v adds v+1. Its gradients carry the token with them, so that every
// backward pass can tell whether its slot still holds what its forward pass left there.
type fake struct {
	stage, stages, chunks int
	inputs                [][]tensor.Tensor // [chunk][slot]
	losses                tensor.Tensor
	cost                  map[pipeline.Op]time.Duration
	hooks                 model.Hooks
	grads                 []float64 // [chunk] the sum of all weight gradients
	errors                []string
}

func newFake(b backend.Backend, stage, stages, chunks int, slots []int) (*fake, error) {
	f := &fake{stage: stage, stages: stages, chunks: chunks, grads: make([]float64, chunks)}
	_, err := backend.Plan(b, "fake", func(a *backend.Arena) {
		f.inputs = nil
		for c := range chunks {
			f.inputs = append(f.inputs, nil)
			for range slots[c] {
				f.inputs[c] = append(f.inputs[c], a.Tensor(tensor.F32, fakeTokens, fakeHidden))
			}
		}
		f.losses = a.Tensor(tensor.F32, fakeTokens)
	})
	return f, err
}

func (f *fake) virtual(chunk int) int              { return chunk*f.stages + f.stage }
func (f *fake) First(chunk int) bool               { return f.virtual(chunk) == 0 }
func (f *fake) Last(chunk int) bool                { return f.virtual(chunk) == f.stages*f.chunks-1 }
func (f *fake) Input(p model.Pass) tensor.Tensor   { return f.inputs[p.Chunk][p.Slot] }
func (f *fake) Losses() tensor.Tensor              { return f.losses }
func (f *fake) SetHooks(h model.Hooks)             { f.hooks = h }
func (f *fake) offset(virtual int) float32         { return float32(virtual * (virtual + 1) / 2) }
func (f *fake) fail(format string, a ...any) error { return fmt.Errorf(format, a...) }

func (f *fake) ForwardPass(s backend.Stream, p model.Pass, tokens, out tensor.Tensor) {
	if f.hooks.WeightsNeeded != nil {
		f.hooks.WeightsNeeded(s, p.Chunk)
	}
	v, in := f.virtual(p.Chunk), f.Input(p)
	s.Do("forward", func() error {
		time.Sleep(f.cost[pipeline.Forward])
		x := in.F32()
		if v == 0 {
			for i := range x {
				x[i] = float32(tokens.I32()[i/fakeHidden])
			}
		}
		if out.Present() {
			for i := range x {
				out.F32()[i] = x[i] + float32(v+1)
			}
		}
		return nil
	})
}

// token is what the forward pass in a slot read.
func (f *fake) token(p model.Pass, i int) float32 {
	return f.Input(p).F32()[i] - f.offset(f.virtual(p.Chunk))
}

func (f *fake) LossPass(s backend.Stream, p model.Pass, targets tensor.Tensor) {
	s.Do("loss", func() error { return f.loss(p, targets) })
}

func (f *fake) loss(p model.Pass, targets tensor.Tensor) error {
	for i := range fakeTokens {
		f.losses.F32()[i] = f.token(p, i*fakeHidden) + 1000*float32(targets.I32()[i])
	}
	return nil
}

func (f *fake) BackwardPass(s backend.Stream, p model.Pass, b model.Back) {
	f.backward(s, "backward", f.cost[pipeline.Backward], p, b, true, true)
}

func (f *fake) BackwardInput(s backend.Stream, p model.Pass, b model.Back) {
	f.backward(s, "backward input", f.cost[pipeline.BackwardInput], p, b, true, false)
}

func (f *fake) BackwardWeight(s backend.Stream, p model.Pass) {
	f.backward(s, "backward weight", f.cost[pipeline.BackwardWeight], p, model.Back{}, false, true)
}

func (f *fake) backward(s backend.Stream, name string, cost time.Duration, p model.Pass, b model.Back, input, weight bool) {
	s.Do(name, func() error {
		time.Sleep(cost)
		if input && f.Last(p.Chunk) {
			if err := f.loss(p, b.Targets); err != nil {
				return err
			}
		}
		for i := range fakeTokens * fakeHidden {
			token := f.token(p, i)
			if weight {
				f.grads[p.Chunk] += float64(token)
			}
			if !input {
				continue
			}
			if f.First(p.Chunk) && float32(b.Tokens.I32()[i/fakeHidden]) != token {
				return f.fail("the backward pass of token %v has tokens of another micro-batch", token)
			}
			if want := token * b.GradScale; f.Last(p.Chunk) {
				b.DX.F32()[i] = want
			} else if got := b.DX.F32()[i]; got != want {
				return f.fail("virtual stage %d: gradient %v arrives at slot %d, which holds %v", f.virtual(p.Chunk), got, p.Slot, want)
			}
		}
		return nil
	})
	if weight && f.hooks.GradsReady != nil {
		f.hooks.GradsReady(s, p.Chunk)
	}
}

// named are the schedules under test.
func named(stages, micro int) map[string]pipeline.Schedule {
	all := map[string]pipeline.Schedule{
		"gpipe": pipeline.GPipe(stages, micro), "1f1b": pipeline.OneFOneB(stages, micro), "zb-h1": pipeline.ZBH1(stages, micro),
		"forward": pipeline.ForwardOnly(stages, 1, micro),
	}
	if micro%stages == 0 && stages > 1 {
		all["interleaved 2"] = pipeline.Interleaved(stages, 2, micro)
		all["interleaved 3"] = pipeline.Interleaved(stages, 3, micro)
		all["forward 2"] = pipeline.ForwardOnly(stages, 2, micro)
	}
	return all
}

// outcome is what a run of a schedule on the fake model gave.
type outcome struct {
	losses []float32
	grads  []float64 // by virtual stage
	hooks  []string
	busy   []time.Duration // by stage
	wall   time.Duration   // of the slowest
}

// execute runs a schedule some steps long; token t of micro-batch m in step s is 100 s + 10 m + t.
func execute(t *testing.T, sched pipeline.Schedule, steps int, cost map[pipeline.Op]time.Duration) outcome {
	t.Helper()
	stages, chunks, micro := len(sched), sched.Chunks(), sched.MicroBatches()
	out := outcome{grads: make([]float64, stages*chunks), busy: make([]time.Duration, stages)}
	var mu sync.Mutex
	err := local.NewWorld(stages).Run(func(world comm.Communicator) error {
		b := cpu.New(cpu.Options{Workers: 1})
		defer b.Close()
		stage := world.Rank()
		_, slots := pipeline.Slots(sched[stage])
		m, err := newFake(b, stage, stages, chunks, slots)
		if err != nil {
			return err
		}
		m.cost = cost
		note := func(what string) func(backend.Stream, int) {
			return func(_ backend.Stream, chunk int) {
				mu.Lock()
				defer mu.Unlock()
				out.hooks = append(out.hooks, fmt.Sprint(what, " ", m.virtual(chunk)))
			}
		}
		e, err := New(b, world, m, Options{
			Schedule: sched, Shape: Shape{Tokens: fakeTokens, Rows: fakeTokens, Hidden: fakeHidden, DType: tensor.F32},
			Hooks: model.Hooks{WeightsNeeded: note("weights"), GradsReady: note("grads")}, Clock: cost != nil,
		})
		if err != nil {
			return err
		}
		defer e.Close()
		s := b.NewStream("compute")
		for step := range steps {
			if err := world.Barrier("step"); err != nil {
				return err
			}
			begin, next := time.Now(), 0
			err := e.Run(s, 0.5, func(m int, tokens, targets []int32) error {
				if m != next {
					return fmt.Errorf("micro-batch %d is asked for after %d of them", m, next)
				}
				next++
				for i := range tokens {
					tokens[i], targets[i] = int32(100*step+10*m+i), int32(m)
				}
				return nil
			})
			if err != nil {
				return err
			}
			if err := s.Sync(); err != nil {
				return err
			}
			mu.Lock()
			for _, x := range e.Spans() {
				out.busy[stage] += x.End.Sub(x.Begin)
				out.wall = max(out.wall, x.End.Sub(begin))
			}
			mu.Unlock()
			if stage == stages-1 {
				for m, l := range e.Losses() {
					for i, got := range l {
						if want := float32(100*step + 10*m + i + 1000*m); got != want {
							return fmt.Errorf("loss of token %d of micro-batch %d is %v, want %v", i, m, got, want)
						}
					}
					out.losses = append(out.losses, l...)
				}
			}
		}
		for c, g := range m.grads {
			out.grads[m.virtual(c)] = g
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.losses) != steps*micro*fakeTokens {
		t.Fatalf("%d losses, want %d", len(out.losses), steps*micro*fakeTokens)
	}
	return out
}

// Every schedule computes the same: each micro-batch meets every virtual stage forward and backward, with its own
// activations, tokens and gradients.
func TestEveryScheduleComputesEveryMicroBatch(t *testing.T) {
	const steps = 2
	for stages := 1; stages <= 4; stages++ {
		for _, micro := range []int{1, 2, 3, 4, 8} {
			for name, sched := range named(stages, micro) {
				t.Run(fmt.Sprintf("%s %dx%d", name, stages, micro), func(t *testing.T) {
					out := execute(t, sched, steps, nil)
					want := 0.0
					for s := range steps {
						for m := range micro {
							for i := range fakeTokens {
								want += fakeHidden * float64(100*s+10*m+i)
							}
						}
					}
					trains := name[:3] != "for"
					for v, g := range out.grads {
						if trains && g != want || !trains && g != 0 {
							t.Errorf("virtual stage %d of %d: gradient %v, want %v", v, len(out.grads), g, want)
						}
					}
					hooks := map[string]int{}
					for _, h := range out.hooks {
						hooks[h]++
					}
					for v := range out.grads {
						if n := hooks[fmt.Sprint("weights ", v)]; n != steps {
							t.Errorf("virtual stage %d: weights needed %d times in %d steps", v, n, steps)
						}
						if n := hooks[fmt.Sprint("grads ", v)]; trains && n != steps {
							t.Errorf("virtual stage %d: gradients ready %d times in %d steps", v, n, steps)
						}
					}
				})
			}
		}
	}
}

// The share of time in which equal stages idle, measured by the clock, is the one that the schedule itself foretells. The
// computations sleep, so that the number of cores does not matter.
func TestTheMeasuredBubbleIsTheSchedulesOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("sleeps")
	}
	const stages, micro, unit = 4, 8, 4 * time.Millisecond
	for name, sched := range named(stages, micro) {
		chunks := sched.Chunks()
		u := unit * time.Duration(2) / time.Duration(chunks)
		cost := map[pipeline.Op]time.Duration{
			pipeline.Forward: u, pipeline.Backward: 2 * u, pipeline.BackwardInput: u, pipeline.BackwardWeight: u,
		}
		line, err := pipeline.Simulate(sched, pipeline.Costs{Forward: 1, Backward: 2, BackwardInput: 1, BackwardWeight: 1})
		if err != nil {
			t.Fatal(err)
		}
		want, best := line.BubbleShare(), math.Inf(1)
		for range 8 { // a busy machine adds idle time, never takes any
			if math.Abs(best-want) < 0.015 {
				break
			}
			out := execute(t, sched, 1, cost)
			busy := time.Duration(0)
			for _, b := range out.busy {
				busy += b
			}
			best = math.Min(best, 1-busy.Seconds()/(out.wall.Seconds()*stages))
		}
		t.Logf("%-14s bubble measured %.3f, by the schedule %.3f", name, best, want)
		if math.Abs(best-want) > 0.03 {
			t.Errorf("%s: bubble measured %.3f, by the schedule %.3f", name, best, want)
		}
	}
}
