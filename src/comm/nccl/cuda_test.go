//go:build cuda

package nccl_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

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

// pair makes two ranks, a stream and a vector each.
func pair(t *testing.T) (ranks []conformance.Rank, streams []backend.Stream, x []tensor.Tensor) {
	t.Helper()
	if need(t) < 2 || os.Getenv("CAMBIUM_CUDA_DRIVER") == "" {
		t.Skip("two emulated devices are wanted")
	}
	ranks, errs := world(t, 2, true)
	for q, r := range ranks {
		if errs[q] != nil {
			t.Fatal(errs[q])
		}
		mem, err := r.Backend.Alloc("test", 1024)
		if err != nil {
			t.Fatal(err)
		}
		streams, x = append(streams, r.Backend.NewStream("test")), append(x, tensor.New(mem, 0, tensor.F32, 256))
	}
	t.Cleanup(func() { ranks[0].Comm.Abort(errors.New("the test has ended")) }) // before the devices are closed, which wait
	return ranks, streams, x
}

// both runs f for both ranks at once.
func both(ranks []conformance.Rank, f func(q int, c comm.Communicator)) {
	var wg sync.WaitGroup
	for q, r := range ranks {
		wg.Go(func() { f(q, r.Comm) })
	}
	wg.Wait()
}

// pending waits for n calls of a rank that are under way.
func pending(t *testing.T, c comm.Communicator, n int) []comm.Wait {
	t.Helper()
	for range 2000 {
		if list := c.(comm.Watched).Pending(); len(list) == n {
			return list
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%v: want %d calls", c.(comm.Watched).Pending(), n)
	return nil
}

// A rank knows what it waits in: of a communicator the first call that has not ended, of all that were split off too. That is so as
// well after everything was broken off.
func TestCallsUnderWayAreKnown(t *testing.T) {
	ranks, streams, x := pair(t)
	groups := make([]comm.Communicator, 2)
	both(ranks, func(q int, c comm.Communicator) {
		var err error
		if groups[q], err = c.Split("pairs", 0, 1-q); err != nil { // the other way round
			t.Error(err)
			return
		}
		c.AllReduce(streams[q], "together", comm.Sum, x[q])
		if err := streams[q].Sync(); err != nil {
			t.Error(err)
		}
	})
	for q, r := range ranks {
		if list := r.Comm.(comm.Watched).Pending(); len(list) > 0 {
			t.Errorf("rank %d: %v", q, list)
		}
	}
	second := ranks[0].Backend.NewStream("second")
	ranks[0].Comm.AllReduce(streams[0], "lonely", comm.Sum, x[0])
	ranks[0].Comm.AllReduce(streams[0], "behind", comm.Sum, x[0])
	groups[0].Recv(second, "from nobody", 0, x[0])
	check := func(list []comm.Wait) {
		t.Helper()
		for i, want := range []string{`rank 0 waits in all-reduce "lonely" (by NCCL, call 2 of its group) since `, `rank 0 waits in exchange "from nobody" (by NCCL) since `} {
			if got := list[i].String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, " (rank 1 is in other processes)") {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
	check(pending(t, ranks[0].Comm, 2))
	lost := errors.New("lost")
	ranks[1].Comm.Abort(lost)
	for _, s := range []backend.Stream{streams[0], second, streams[1]} {
		_ = s.Sync() // what breaks off first has the error, the other finds its work gone
	}
	check(pending(t, ranks[0].Comm, 2))
	if list := ranks[1].Comm.(comm.Watched).Pending(); len(list) > 0 {
		t.Errorf("rank 1: %v", list)
	}
}

// What went wrong in a group's last call is not forgotten with the group.
func TestFreeTellsOfCallsThatDiffer(t *testing.T) {
	ranks, streams, x := pair(t)
	both(ranks, func(q int, c comm.Communicator) {
		group, err := c.Split("pairs", 0, q)
		if err != nil {
			t.Error(err)
			return
		}
		group.AllReduce(streams[q], "uneven", comm.Sum, x[q].Slice(0, 100+q))
		if err := comm.Free(group); err == nil || !strings.Contains(err.Error(), "mismatched calls") {
			t.Errorf("rank %d: Free: %v", q, err)
		}
	})
}

// TestFreeGivesTheCommunicatorBack counts the stand-in's pieces of shared memory, one a communicator and rank.
func TestFreeGivesTheCommunicatorBack(t *testing.T) {
	ranks, streams, x := pair(t)
	mapped := func() int {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(maps), "cambium-nccl")
	}
	before := mapped()
	for round := range 3 {
		groups := make([]comm.Communicator, 2)
		both(ranks, func(q int, c comm.Communicator) {
			var err error
			if groups[q], err = c.Split(fmt.Sprint("round ", round), 0, q); err != nil {
				t.Error(err)
				return
			}
			groups[q].AllReduce(streams[q], "sum", comm.Sum, x[q]) // it may be under way when Free is called
		})
		if got := mapped(); got != before+2 {
			t.Errorf("round %d: %d pieces mapped with a group, %d without", round, got, before)
		}
		both(ranks, func(q int, c comm.Communicator) {
			if err := comm.Free(groups[q]); err != nil {
				t.Error(err)
			}
			c.AllReduce(streams[q], "after", comm.Sum, x[q])
			if err := streams[q].Sync(); err != nil {
				t.Error(err)
			}
		})
		if got := mapped(); got != before {
			t.Errorf("round %d: %d pieces mapped after Free, %d before the group", round, got, before)
		}
	}
}
