package train

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"cambium/src/comm"
)

// The steady step plans nothing: the device's memory stays as it is, and Go's heap gets a few small objects a step, some
// 50 bytes, however large the model. Inside a mask ramp and with births alive too.
func TestTheSteadyStepAllocatesNothingOnTheDevice(t *testing.T) {
	const most = 12 // heap objects a step and rank; 4 were seen
	for _, c := range []struct{ ranks, stages int }{{1, 1}, {2, 1}, {4, 2}} {
		t.Run(fmt.Sprintf("%d ranks, %d pipeline stages", c.ranks, c.stages), func(t *testing.T) {
			steadyRun(t, c.ranks, 25, most, fmt.Sprint("stages.b.parallel.pipeline_model_parallel_size=", c.stages))
		})
	}
}

// steadyRun has a run take windows of n steps each in its second stage.
func steadyRun(t *testing.T, ranks, n, most int, sets ...string) {
	t.Helper()
	cfg := smallRun(t, t.TempDir(), ranks, "mask", append([]string{"stages.b.growth.ramp_iters=300", "stages.b.train.train_iters=300"}, sets...)...)
	j := &job{cfg: cfg, ctx: t.Context()}
	if err := j.findWorld(); err != nil {
		t.Fatal(err)
	}
	if err := j.prepare(); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	err := j.world.Run(func(world comm.Communicator) error {
		return j.withRank(world, func(r *rank) error { return r.steady(t, n, most) })
	})
	if err != nil {
		t.Fatal(err)
	}
}

// steady runs into the second stage, and then compares what is allocated over some steps: nothing on the device, and at most so many heap
// objects (0: however many).
func (r *rank) steady(t *testing.T, n, most int) error {
	steps := func(n int) error {
		for range n {
			if r.place.Stage != r.stage {
				if err := r.grow(); err != nil {
					return err
				}
			}
			if _, err := r.step(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := steps(8 + max(n-5, 5)); err != nil {
		return err
	}
	if !r.mask(r.place).Active() || r.state.Optimizer.Births().Last() == 0 {
		t.Errorf("the ramp or the births are over at iteration %d: nothing is shown", r.place.Iteration)
	}
	if err := r.world.Barrier("before"); err != nil {
		return err
	}
	before := r.backend.Usage()
	// A step that allocates does so in every window; the runtime's own objects, for goroutines that wait, come and go with the
	// load of the machine.
	const windows = 4
	objects, bytes := uint64(math.MaxUint64), uint64(math.MaxUint64)
	for range windows {
		var a, b runtime.MemStats
		runtime.ReadMemStats(&a)
		if err := steps(n); err != nil {
			return err
		}
		runtime.ReadMemStats(&b)
		objects, bytes = min(objects, b.Mallocs-a.Mallocs), min(bytes, b.TotalAlloc-a.TotalAlloc)
	}
	if after := r.backend.Usage(); after.Current != before.Current || after.Peak != before.Peak {
		t.Errorf("%d bytes on the device before, %d after; at most %d and %d", before.Current, after.Current, before.Peak, after.Peak)
	}
	if each := int(objects) / n / r.world.Size(); most > 0 && each > most {
		t.Errorf("%d heap objects a step and rank: want at most %d", each, most)
	} else {
		t.Logf("%d heap objects, %d bytes a step and rank", each, int(bytes)/n/r.world.Size())
	}
	return nil
}
