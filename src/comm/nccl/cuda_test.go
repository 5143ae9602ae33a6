//go:build cuda

package nccl_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/cuda"
	"cambium/src/comm"
	"cambium/src/comm/conformance"
	"cambium/src/comm/local"
	"cambium/src/comm/nccl"
	"cambium/src/tensor"
)

func need(t *testing.T) (devices int) {
	t.Helper()
	n, err := cuda.Devices()
	if err != nil {
		t.Skipf("no device: %v", err)
	}
	if err := nccl.Find(); err != nil {
		t.Skip(err)
	}
	return n
}

func open(t *testing.T, device int) backend.Backend {
	t.Helper()
	b, err := cuda.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// world makes n ranks of this process on devices of their own, or all on device 0.
func world(t *testing.T, n int, apart bool) ([]conformance.Rank, []error) {
	ranks, errs := make([]conformance.Rank, n), make([]error, n)
	var wg sync.WaitGroup
	for q, c := range local.NewWorld(n).Comms() {
		device := 0
		if apart {
			device = q
		}
		ranks[q].Backend = open(t, device)
		wg.Go(func() { ranks[q].Comm, errs[q] = nccl.New(c, ranks[q].Backend) })
	}
	wg.Wait()
	return ranks, errs
}

func TestConformance(t *testing.T) {
	devices := need(t)
	conformance.Run(t, conformance.Suite{Unordered: true, Open: func(t *testing.T, n int) []conformance.Rank {
		if n > devices {
			return nil
		}
		ranks, errs := world(t, n, true)
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		return ranks
	}})
}

func TestTwoRanksOnOneGPUAreRefusedWithAWayOut(t *testing.T) {
	need(t)
	_, errs := world(t, 2, false)
	for q, err := range errs {
		if err == nil || !strings.Contains(err.Error(), "two ranks have the same GPU") || !strings.Contains(err.Error(), "comm: staged") {
			t.Errorf("rank %d: %v", q, err)
		}
	}
}

func TestAWrongLibraryIsNamed(t *testing.T) {
	need(t)
	for _, c := range []struct{ key, value, want string }{
		{"CAMBIUM_NCCL", "/nowhere/libnccl.so.2", "no NCCL on this machine (/nowhere/libnccl.so.2"},
		{"CAMBIUM_NCCL", "libc.so.6", "libc.so.6 is not NCCL"},
		{"CAMBIUM_EMU_NCCL_VERSION", "21703", "is NCCL 2.17.3, too old: install 2.18 or later"},
		{"CAMBIUM_EMU_NCCL_VERSION", "2708", "is NCCL 2.7.8, too old: install 2.18 or later"},
	} {
		t.Run(fmt.Sprint(c.key, "=", c.value), func(t *testing.T) {
			t.Setenv(c.key, c.value)
			if err := nccl.Find(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "comm: staged") {
				t.Errorf("Find: %v, want %q in it", err, c.want)
			}
			_, errs := world(t, 1, true)
			if errs[0] == nil || !strings.Contains(errs[0].Error(), c.want) {
				t.Errorf("New: %v, want %q in it", errs[0], c.want)
			}
		})
	}
}

// What one rank finds wrong ends the call on all of them; the stand-in compares what the ranks believe the call to be.
func TestCallsThatDifferFailOnAllRanks(t *testing.T) {
	if need(t) < 2 || os.Getenv("CAMBIUM_CUDA_DRIVER") == "" {
		t.Skip("two emulated devices are wanted")
	}
	ranks, errs := world(t, 2, true)
	var wg sync.WaitGroup
	failures := make([]error, 2)
	for q, r := range ranks {
		if errs[q] != nil {
			t.Fatal(errs[q])
		}
		wg.Go(func() {
			s := r.Backend.NewStream("test")
			mem, err := r.Backend.Alloc("test", 1024)
			if err != nil {
				t.Error(err)
				return
			}
			r.Comm.AllReduce(s, "uneven", comm.Sum, tensor.New(mem, 0, tensor.F32, 100+q))
			failures[q] = s.Sync()
		})
	}
	wg.Wait()
	for q, err := range failures {
		if err == nil || !strings.Contains(err.Error(), "mismatched calls") || !strings.Contains(err.Error(), "AllReduce of 101 x float32") {
			t.Errorf("rank %d: %v", q, err)
		}
	}
}
