//go:build cuda

package train

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"cambium/src/backend/cuda"
	"cambium/src/comm"
	"cambium/src/comm/nccl"
)

// TestCallsOverNCCLThatHangAreReported has rank 1 hang before its step, so that rank 0 waits for it in a sum on its device.
func TestCallsOverNCCLThatHangAreReported(t *testing.T) {
	if n, err := cuda.Devices(); err != nil || n < 2 || nccl.Find() != nil || os.Getenv("CAMBIUM_CUDA_DRIVER") == "" {
		t.Skipf("two emulated devices are wanted: %d (%v), NCCL: %v", n, err, nccl.Find())
	}
	j := preparedOn(t, 2*time.Second, 2, "backend=cuda", "comm=nccl")
	block := make(chan struct{})
	t.Cleanup(func() { close(block) })
	j.corpus.training[0] = trapped{j.corpus.training[0], ofRankOne, func() error { <-block; return errors.New("too late") }}
	err := j.runRanks()
	if err == nil {
		t.Fatal("the run ended well")
	}
	for _, want := range []string{hangs + "2s; ", "rank 0 waits for rank 1 in ", "(by NCCL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

// TestTheSteadyStepOnGPUsAllocatesNothingThere trains over NCCL where there is one, else through host memory.
func TestTheSteadyStepOnGPUsAllocatesNothingThere(t *testing.T) {
	if _, err := cuda.Devices(); err != nil {
		t.Skipf("no device: %v", err)
	}
	steadyRun(t, 2, 3, 0, "backend=cuda")
}

// After a few steps that are alike nothing is captured any more, and every pass is a launch of a graph.
func TestTheSteadyStepOnGPUsIsLaunchedAsGraphs(t *testing.T) {
	if _, err := cuda.Devices(); err != nil {
		t.Skipf("no device: %v", err)
	}
	t.Setenv("CAMBIUM_GRAPHS", "")
	j := &job{cfg: smallRun(t, t.TempDir(), 1, "mask", "backend=cuda"), ctx: t.Context()}
	if err := j.findWorld(); err != nil {
		t.Fatal(err)
	}
	if err := j.prepare(); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	steps := func(r *rank, n int) error {
		for range n {
			if _, err := r.step(); err != nil {
				return err
			}
		}
		return nil
	}
	err := j.world.Run(func(world comm.Communicator) error {
		return j.withRank(world, func(r *rank) error {
			if err := steps(r, 4); err != nil {
				return err
			}
			captured, launched := cuda.Graphs(r.backend)
			if err := steps(r, 3); err != nil {
				return err
			}
			more, again := cuda.Graphs(r.backend)
			if passes := int64(3 * 4 * 2); more != captured || again-launched < passes { // steps, micro-batches, forward and backward
				t.Errorf("in 3 steps %d graphs were captured and %d launched: want 0, and at least %d", more-captured, again-launched, passes)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}
