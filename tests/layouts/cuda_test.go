//go:build cuda

package layouts

import (
	"fmt"
	"testing"

	"cambium/src/backend/cuda"
	"cambium/src/comm/nccl"
	"cambium/src/config"
	"cambium/src/telemetry"
)

// onDevices makes ranks compute on GPUs, or on the emulated one, with messages through host memory.
const onDevices = "backend=cuda"

// programTags are what the program for ranks of MPI is built with.
const programTags = "mpi,cuda"

func needDevice(t *testing.T) {
	t.Helper()
	if _, err := cuda.Devices(); err != nil {
		t.Skipf("no device: %v", err)
	}
}

// The CUDA backend learns on every kind of layout what one rank learns on the processor. Its exponentials and orders of sums
// are others, so the bounds are wider than between layouts of one backend.
func TestDevicesTrainLikeTheProcessor(t *testing.T) {
	needDevice(t)
	slow := []string{"train.lr=1e-3", "train.min_lr=1e-4"}
	for _, c := range []struct {
		model, dtype string
		cut          cut
		bounds       bounds
		sets         []string
	}{
		{"gpt2", "fp32", cut{tp: 2, pp: 2, dp: 2, schedule: "1f1b", sequence: true}, bounds{1e-5, 2e-4}, nil},
		{"llama", "fp32", cut{tp: 4, pp: 1, dp: 2, sequence: true, recompute: "full"}, bounds{1e-5, 2e-4}, []string{"train.global_batch_size=4"}},
		{"flm", "fp32", cut{tp: 1, pp: 4, dp: 2, schedule: "zero-bubble"}, bounds{1e-5, 2e-4}, nil},
		{"flm", "bf16", cut{tp: 2, pp: 2, dp: 2, schedule: "1f1b"}, bounds{1e-3, 1e-2}, slow},
		{"llama", "fp16", cut{tp: 2, pp: 2, dp: 1, schedule: "interleaved", virtual: 2, recompute: "selective"}, bounds{1.5e-4, 1.5e-3}, append(slow, "precision.initial_loss_scale=1024")},
	} {
		t.Run(fmt.Sprint(c.dtype, " ", c.model, " ", c.cut), func(t *testing.T) {
			sets := append([]string{"train.train_iters=3"}, c.sets...) // an emulated device is slow
			want := run(t, configure(t, t.TempDir(), c.model, c.dtype, one, sets...))
			got := run(t, configure(t, t.TempDir(), c.model, c.dtype, c.cut, append(sets, onDevices)...))
			apart := compare(t, got, want, c.bounds)
			t.Logf("losses differ by %.1e at most, gradient norms by %.1e", apart.loss, apart.norm)
		})
	}
}

// What goes by NCCL arrives: a model cut in all three ways learns what one rank does, and grows from grid to grid.
func TestDevicesTrainOverNCCL(t *testing.T) {
	needDevice(t)
	if n, err := cuda.Devices(); err != nil || n < 8 || nccl.Find() != nil {
		t.Skipf("%d devices (%v); NCCL: %v", n, err, nccl.Find())
	}
	const byNCCL = "comm=nccl"
	c := cut{tp: 2, pp: 2, dp: 2, schedule: "1f1b", sequence: true}
	want := run(t, configure(t, t.TempDir(), "gpt2", "fp32", one))
	got := run(t, configure(t, t.TempDir(), "gpt2", "fp32", c, onDevices, byNCCL))
	apart := compare(t, got, want, bounds{1e-5, 2e-4})
	t.Logf("losses differ by %.1e at most, gradient norms by %.1e", apart.loss, apart.norm)

	want = run(t, growOnDevices(t, t.TempDir(), 1, oneRank))
	got = run(t, growOnDevices(t, t.TempDir(), 4, deviceGrids, onDevices, byNCCL))
	apart = compare(t, got, want, bounds{1e-4, 2e-3})
	t.Logf("growing: losses differ by %.1e at most, gradient norms by %.1e", apart.loss, apart.norm)
}

// Ranks of MPI, each a process with a device, train by NCCL, whose id they share by MPI, and through host memory what ranks as goroutines do.
func TestDevicesOverMPITrainByNCCLOrHostMemory(t *testing.T) {
	needDevice(t)
	if n, err := cuda.Devices(); err != nil || n < 2 || nccl.Find() != nil {
		t.Skipf("%d devices (%v); NCCL: %v", n, err, nccl.Find())
	}
	start := overMPI(t)
	c := cut{tp: 2, pp: 1, dp: 1, sequence: true}
	for _, by := range []string{"comm=nccl", "comm=staged"} {
		t.Run(by, func(t *testing.T) {
			sets := []string{"train.train_iters=3", onDevices, by}
			want := run(t, configure(t, t.TempDir(), "gpt2", "fp32", c, sets...))
			got := start(c.world(), configure(t, t.TempDir(), "gpt2", "fp32", c, sets...))
			compare(t, got, want, bounds{})
		})
	}
}

// deviceGrids are those of a growing run on four ranks.
var deviceGrids = []string{
	"{tensor_model_parallel_size: 2}", "{tensor_model_parallel_size: 2, pipeline_model_parallel_size: 2, sequence_parallel: true}",
	"{pipeline_model_parallel_size: 4}",
}

// growOnDevices is grow by mask with fewer steps: in each stage but the first three of a ramp and one behind it.
func growOnDevices(t *testing.T, dir string, ranks int, grids []string, sets ...string) *config.Run {
	t.Helper()
	return grow(t, dir, ranks, "fp32", "mask", grids, append([]string{"train.train_iters=4", "growth.ramp_iters=3"}, sets...)...)
}

// On devices too a run grows from grid to grid, keeps its loss, and goes on bit for bit after a stop behind a growth.
func TestAGrowingRunOnDevices(t *testing.T) {
	needDevice(t)
	want := run(t, growOnDevices(t, t.TempDir(), 1, oneRank))
	straight := run(t, growOnDevices(t, t.TempDir(), 4, deviceGrids, onDevices))
	apart := compare(t, straight, want, bounds{1e-4, 2e-3})
	t.Logf("losses differ by %.1e at most, gradient norms by %.1e", apart.loss, apart.norm)
	for i, g := range straight.Growths {
		if d := relative(g.LossAfter, g.LossBefore); !(d <= 1e-6) {
			t.Errorf("growth %d: loss %.8f before, %.8f after", i, g.LossBefore, g.LossAfter)
		}
		if float64(g.BytesMoved) > 1.1*float64(g.BytesLowerBound) {
			t.Errorf("growth %d moved %d bytes, %d had to", i, g.BytesMoved, g.BytesLowerBound)
		}
	}
	dir := t.TempDir()
	run(t, growOnDevices(t, dir, 4, deviceGrids, onDevices, "exit.exit_interval=6"))
	resumed := run(t, growOnDevices(t, dir, 4, deviceGrids, onDevices))
	compare(t, resumed, straight, bounds{})
	sameGrowths(t, resumed, straight)
}

// Passes that come again are launched as graphs, which changes no bit: with a loss scale that falls and rises, while a mask ramps, and
// after a growth to other grids.
func TestGraphsOnDevicesChangeNoBit(t *testing.T) {
	needDevice(t)
	scale := []string{"train.train_iters=6", "train.global_batch_size=4", "precision.initial_loss_scale=4194304", "precision.loss_scale_window=2", "precision.hysteresis=1", onDevices}
	both := func(name string, cfg func(dir string) *config.Run) {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CAMBIUM_GRAPHS", "off")
			want := run(t, cfg(t.TempDir()))
			t.Setenv("CAMBIUM_GRAPHS", "")
			got := run(t, cfg(t.TempDir()))
			sameGrowths(t, got, want)
			if len(got.Iterations) != len(want.Iterations) {
				t.Fatalf("%d iterations, want %d", len(got.Iterations), len(want.Iterations))
			}
			for i, w := range want.Iterations {
				numbers := func(x *telemetry.Iteration) string { return fmt.Sprint(x.LMLoss, x.GradNorm, x.LossScale, x.Skipped) } // NaN too
				if g := got.Iterations[i]; numbers(g) != numbers(w) {
					t.Errorf("iteration %d: loss, gradient norm, loss scale, skipped %s, want %s", i+1, numbers(g), numbers(w))
				}
			}
		})
	}
	both("a loss scale", func(dir string) *config.Run { return configure(t, dir, "gpt2", "fp16", one, scale...) })
	both("a growth", func(dir string) *config.Run {
		return grow(t, dir, 2, "bf16", "mask", []string{"{}", "{tensor_model_parallel_size: 2}", "{pipeline_model_parallel_size: 2}"},
			"train.train_iters=4", "growth.ramp_iters=3", "train.global_batch_size=4", onDevices)
	})
}
