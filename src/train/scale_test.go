package train

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cambium/src/comm"
)

// A rank whose weights hold an infinity has gradients that are not finite: every rank skips the step, and the scale goes
// through every state of the transcript that package schedule publishes, on a grid of tp2 pp2 dp2.
func TestOverflowsOnOneRankFollowTheTranscriptOnAll(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "schedule", "testdata", "lossscale.txt"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	cfg := smallRun(t, t.TempDir(), 8, "zero", "precision.params_dtype=fp16", "precision.initial_loss_scale=16", "precision.loss_scale_window=4", "train.global_batch_size=8",
		"model.num_attention_heads=2", "stages.0.train.train_iters=100", "stages.0.model.num_layers=2",
		"stages.0.parallel.tensor_model_parallel_size=2", "stages.0.parallel.pipeline_model_parallel_size=2")
	cfg.Stages = cfg.Stages[:1]
	j := &job{cfg: cfg, ctx: t.Context()}
	if err := j.findWorld(); err != nil {
		t.Fatal(err)
	}
	if err := j.prepare(); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if err := j.world.Run(func(world comm.Communicator) error {
		return j.withRank(world, func(r *rank) error { return r.overflow(lines) })
	}); err != nil {
		t.Fatal(err)
	}
}

func (r *rank) overflow(lines []string) error {
	state := func() string {
		return fmt.Sprintf("scale %g clean %d hysteresis %d", r.scale.Scale, r.scale.Clean, r.scale.Hysteresis)
	}
	if got, want := state(), strings.TrimPrefix(lines[0], "start "); got != want {
		return fmt.Errorf("before the first step: %s, want %s", got, want)
	}
	skipped := 0
	for i, line := range lines[1:] {
		overflows := line[0] == 'X'
		mend := func() {}
		if guilty := i % r.world.Size(); overflows && guilty == r.world.Rank() {
			var err error
			if mend, err = r.spoil(); err != nil {
				return err
			}
		}
		before := r.scale.Scale
		o, err := r.step()
		if err != nil {
			return err
		}
		mend()
		if overflows {
			skipped++
		}
		if o.skipped != overflows || o.scale != before || state() != line[2:] || r.allSkipped != skipped {
			return fmt.Errorf("step %d (%c): skipped %v at scale %g, %d in all; then %s, want %s", i+1, line[0], o.skipped, o.scale, r.allSkipped, state(), line[2:])
		}
	}
	if want := len(lines) - 1 - skipped; r.state.Optimizer.Steps() != want {
		return fmt.Errorf("the optimizer took %d steps, want %d", r.state.Optimizer.Steps(), want)
	}
	return nil
}

// spoil makes one of this rank's weights infinite; mend takes that back.
func (r *rank) spoil() (mend func(), err error) {
	r.state.Optimizer.Settle(r.stream)
	if err := r.stream.Sync(); err != nil {
		return nil, err
	}
	for _, s := range r.state.Params.Shards() {
		if strings.HasSuffix(s.Name, ".mlp.fc1.weight") {
			w := r.state.Params.Weight(s.Name).U16()
			saved := w[0]
			w[0] = 0x7c00 // infinity in fp16
			return func() { w[0] = saved }, nil
		}
	}
	return nil, fmt.Errorf("rank %d has no MLP", r.world.Rank())
}

// A loss scale that is far too high comes down by itself, the log tells of it, and a run that is resumed goes on with the
// scale and the counts that it had.
func TestADynamicLossScaleComesDownAndIsResumed(t *testing.T) {
	sets := []string{"precision.params_dtype=fp16", "precision.initial_loss_scale=4294967296", "precision.loss_scale_window=3", "stages.0.train.train_iters=40"}
	straight := t.TempDir()
	run(t, smallRun(t, straight, 2, "zero", sets...))
	want := history(t, straight)
	skipped, grew := 0, 0
	for i, it := range want.Iterations {
		if it.Skipped {
			skipped++
		}
		if i > 0 && it.LossScale > want.Iterations[i-1].LossScale {
			grew++
		}
	}
	if skipped < 8 || grew < 2 {
		t.Fatalf("%d steps skipped, %d rises of the scale: this shows nothing", skipped, grew)
	}
	stops := []int{3, 22, 41}
	if testing.Short() {
		stops = stops[1:2]
	}
	for _, k := range stops {
		dir := t.TempDir()
		run(t, smallRun(t, dir, 2, "zero", append(sets, fmt.Sprintf("exit.exit_interval=%d", k))...))
		run(t, smallRun(t, dir, 2, "zero", sets...))
		got := history(t, dir)
		if len(got.Iterations) != len(want.Iterations) {
			t.Fatalf("resumed at %d: %d iterations, want %d", k, len(got.Iterations), len(want.Iterations))
		}
		for i, w := range want.Iterations {
			if g := got.Iterations[i]; g.LossScale != w.LossScale || g.LMLoss != w.LMLoss || g.Skipped != w.Skipped {
				t.Fatalf("resumed at %d: iteration %d has loss %v at scale %v; straight %v at %v", k, i+1, g.LMLoss, g.LossScale, w.LMLoss, w.LossScale)
			}
		}
	}
}
