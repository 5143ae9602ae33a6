package execute

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/model"
	"cambium/src/pipeline"
	"cambium/src/tensor"
)

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
// computations sleep and the clock is synctest's, which goes on when every goroutine waits: a load on the machine takes no time.
func TestTheMeasuredBubbleIsTheSchedulesOwn(t *testing.T) {
	const stages, micro, unit = 4, 8, 4 * time.Millisecond
	for name, sched := range named(stages, micro) {
		u := unit * time.Duration(2) / time.Duration(sched.Chunks())
		cost := map[pipeline.Op]time.Duration{
			pipeline.Forward: u, pipeline.Backward: 2 * u, pipeline.BackwardInput: u, pipeline.BackwardWeight: u,
		}
		line, err := pipeline.Simulate(sched, pipeline.Costs{Forward: 1, Backward: 2, BackwardInput: 1, BackwardWeight: 1})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			out := execute(t, sched, 1, cost)
			busy := time.Duration(0)
			for _, b := range out.busy {
				busy += b
			}
			got, want := 1-busy.Seconds()/(out.wall.Seconds()*stages), line.BubbleShare()
			t.Logf("%-14s bubble measured %.6f, by the schedule %.6f", name, got, want)
			if math.Abs(got-want) > 1e-9 {
				t.Errorf("%s: bubble measured %.6f, by the schedule %.6f", name, got, want)
			}
		})
	}
}
