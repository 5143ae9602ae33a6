//go:build cuda

package train

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"cambium/src/backend/cuda"
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
