package local_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/tensor"
)

// device is a one-worker backend with one stream.
func device(t testing.TB) (*cpu.Backend, backend.Stream) {
	b := cpu.New(cpu.Options{Workers: 1})
	t.Cleanup(func() { _ = b.Close() })
	return b, b.NewStream("test")
}

func vector(t testing.TB, b backend.Backend, n int) tensor.Tensor {
	mem, err := b.Alloc("test", 4*n)
	if err != nil {
		t.Fatal(err)
	}
	return tensor.New(mem, 0, tensor.F32, n)
}

// fails runs n ranks and returns why they failed.
func fails(t *testing.T, n int, f func(c comm.Communicator) error) string {
	t.Helper()
	done := make(chan error, 1)
	w := local.NewWorld(n)
	go func() { done <- w.Run(f) }()
	select {
	case err := <-done:
		if err == nil {
			t.Fatal("no error")
		}
		return err.Error()
	case <-time.After(time.Minute):
		t.Fatalf("the ranks hang: %v", w.Pending())
		return ""
	}
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q does not say %q", text, p)
		}
	}
}

func TestMismatchNamesRanksAndCalls(t *testing.T) {
	t.Run("name", func(t *testing.T) {
		contains(t, fails(t, 3, func(c comm.Communicator) error {
			name := "loss"
			if c.Rank() == 1 {
				name = "grad norm"
			}
			return c.Barrier(name)
		}), `barrier "loss"`, `rank 1 makes barrier "grad norm"`)
	})
	t.Run("kind", func(t *testing.T) {
		contains(t, fails(t, 2, func(c comm.Communicator) error {
			if c.Rank() == 1 {
				return c.Barrier("x")
			}
			return c.Reduce("x", comm.Sum, []float64{1})
		}), `rank 0 makes reduce "x" (sum) of 1 values`, `rank 1 makes barrier "x"`)
	})
	shapes := func(name string, call func(c comm.Communicator, s backend.Stream, short, long tensor.Tensor), want ...string) {
		t.Run(name, func(t *testing.T) {
			contains(t, fails(t, 2, func(c comm.Communicator) error {
				b, s := device(t)
				call(c, s, vector(t, b, 10), vector(t, b, 10+c.Rank()))
				return s.Sync()
			}), want...)
		})
	}
	shapes("size", func(c comm.Communicator, s backend.Stream, _, x tensor.Tensor) {
		c.AllReduce(s, "grads", comm.Sum, x)
	}, "fp32[10]", "fp32[11]")
	shapes("root", func(c comm.Communicator, s backend.Stream, x, _ tensor.Tensor) {
		c.Broadcast(s, "weights", c.Rank(), x)
	}, "from 0", "from 1")
	shapes("op", func(c comm.Communicator, s backend.Stream, x, _ tensor.Tensor) {
		c.AllReduce(s, "grads", comm.Op(c.Rank()), x)
	}, "(sum)", "(max)")
	shapes("parts", func(c comm.Communicator, s backend.Stream, x, _ tensor.Tensor) {
		c.AllReduce(s, "grads", comm.Sum, make([]tensor.Tensor, 0, 2)...)
		c.AllReduce(s, "more", comm.Sum, []tensor.Tensor{x, x}[:1+c.Rank()]...)
	}, "more")
	shapes("message", func(c comm.Communicator, s backend.Stream, _, x tensor.Tensor) {
		if c.Rank() == 0 {
			c.Send(s, "out", 1, x)
		} else {
			c.Recv(s, "in", 0, x)
		}
	}, `send "out" fp32[10]`, `recv "in" fp32[11]`)
	shapes("exchange", func(c comm.Communicator, s backend.Stream, x, y tensor.Tensor) {
		p := 1 - c.Rank()
		c.Exchange(s, "swap", comm.Message{Peer: p, Send: true, Parts: []tensor.Tensor{x}}, comm.Message{Peer: p, Parts: []tensor.Tensor{x}},
			comm.Message{Peer: p, Send: c.Rank() == 0, Parts: []tensor.Tensor{y}})
	}, `send "swap" fp32[10]`, `recv "swap" fp32[11]`)
	shapes("exchange peer", func(c comm.Communicator, s backend.Stream, x, _ tensor.Tensor) {
		c.Exchange(s, "swap", comm.Message{Peer: 1 - c.Rank(), Parts: []tensor.Tensor{x}}, comm.Message{Peer: 2})
	}, `exchange "swap": message 1: peer 2`)
	shapes("own shard", func(c comm.Communicator, s backend.Stream, x, y tensor.Tensor) {
		c.AllGather(s, "weights", []tensor.Tensor{y}, [][]tensor.Tensor{{x}, {x}})
	}, "rank 1", "receives fp32[10], sends fp32[11]")
	shapes("lists", func(c comm.Communicator, s backend.Stream, x, _ tensor.Tensor) {
		c.ReduceScatter(s, "grads", [][]tensor.Tensor{{x}}, []tensor.Tensor{x})
	}, "1 lists to send: want one for each of 2 ranks")
	shapes("pieces", func(c comm.Communicator, s backend.Stream, x, y tensor.Tensor) {
		c.AllToAll(s, "swap", []tensor.Tensor{{}, x}, []tensor.Tensor{{}, y})
	}, "which expects")
	shapes("root range", func(c comm.Communicator, s backend.Stream, x, _ tensor.Tensor) {
		c.Broadcast(s, "weights", 2, x)
	}, "root 2: want a rank below 2")
	shapes("peer", func(c comm.Communicator, s backend.Stream, x, _ tensor.Tensor) {
		c.Send(s, "to me", c.Rank(), x)
	}, "want another rank")
}

func TestFailureOfOneRankReleasesAll(t *testing.T) {
	wait := func(c comm.Communicator) error { return c.Barrier("step") }
	t.Run("error", func(t *testing.T) {
		lost := errors.New("the disk is full")
		w := local.NewWorld(4)
		var seen [4]error
		err := w.Run(func(c comm.Communicator) error {
			if c.Rank() == 2 {
				return lost
			}
			seen[c.Rank()] = wait(c)
			return seen[c.Rank()]
		})
		if !errors.Is(err, lost) || err.Error() != "rank 2: the disk is full" {
			t.Errorf("Run returns %v", err)
		}
		for _, r := range []int{0, 1, 3} {
			if !errors.Is(seen[r], lost) {
				t.Errorf("rank %d got %v", r, seen[r])
			}
		}
	})
	t.Run("panic", func(t *testing.T) {
		contains(t, fails(t, 4, func(c comm.Communicator) error {
			if c.Rank() == 3 {
				panic("out of cheese")
			}
			return wait(c)
		}), "rank 3", "out of cheese", "local_test.go")
	})
	t.Run("early end", func(t *testing.T) {
		contains(t, fails(t, 3, func(c comm.Communicator) error {
			if c.Rank() == 1 {
				return nil
			}
			return wait(c)
		}), "rank 1 ended", `barrier "step"`)
	})
	t.Run("late call", func(t *testing.T) {
		contains(t, fails(t, 2, func(c comm.Communicator) error {
			if c.Rank() == 1 {
				return nil
			}
			time.Sleep(20 * time.Millisecond)
			return wait(c)
		}), "rank 1 ended")
	})
	t.Run("in a group", func(t *testing.T) {
		contains(t, fails(t, 4, func(c comm.Communicator) error {
			g, err := c.Split("pairs", c.Rank()/2, 0)
			if err != nil || c.Rank() == 3 {
				return err
			}
			return g.Barrier("pair")
		}), "rank 3 ended, but rank 2 waits for it")
	})
	t.Run("memory elsewhere", func(t *testing.T) {
		contains(t, fails(t, 2, func(c comm.Communicator) error {
			_, s := device(t)
			c.AllReduce(s, "far", comm.Sum, tensor.New(&tensor.Memory{Device: 1, Bytes: 40}, 0, tensor.F32, 10))
			return s.Sync()
		}), `all-reduce "far": panic`)
	})
}

// A world may be aborted while some ranks have left a call and others have not: records that are free again are nobody's.
// The race detector would see it.
func TestAnAbortAmidTrafficTouchesNoRecordThatIsFree(t *testing.T) {
	lost := errors.New("lost")
	for round := range 40 {
		err := local.NewWorld(4).Run(func(c comm.Communicator) error {
			b, s := device(t)
			x := vector(t, b, 64)
			next, before := (c.Rank()+1)%4, (c.Rank()+3)%4
			for k := range 20 {
				if c.Rank() == 0 && k == round%20 {
					return lost // while its stream is still at work
				}
				c.AllReduce(s, "sum", comm.Sum, x)
				c.Exchange(s, "ring", comm.Message{Peer: next, Send: true, Parts: []tensor.Tensor{x.Slice(0, 32)}},
					comm.Message{Peer: before, Parts: []tensor.Tensor{x.Slice(32, 64)}})
			}
			return s.Sync()
		})
		if !errors.Is(err, lost) {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// A stream may still hold calls of a rank whose function has returned: that is no early end.
func TestEnqueuedCallsCountAsMade(t *testing.T) {
	w := local.NewWorld(2)
	err := w.Run(func(c comm.Communicator) error {
		b, s := device(t)
		x := vector(t, b, 10)
		if c.Rank() == 1 {
			s.Do("slow", func() error { time.Sleep(20 * time.Millisecond); return nil })
			c.AllReduce(s, "late", comm.Sum, x)
			return nil
		}
		c.AllReduce(s, "late", comm.Sum, x)
		return s.Sync()
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPendingTellsWhoWaitsForWhom(t *testing.T) {
	w := local.NewWorld(3)
	if p := w.Pending(); len(p) != 0 {
		t.Fatalf("before any call: %v", p)
	}
	seen := make(chan string)
	err := w.Run(func(c comm.Communicator) error {
		if c.Rank() != 1 {
			return c.Barrier("checkpoint")
		}
		for {
			if p := w.Pending(); len(p) == 1 && len(p[0].Waiting) == 2 {
				go func() { seen <- p[0].String() }()
				break
			}
			runtime.Gosched()
		}
		return c.Barrier("checkpoint")
	})
	if err != nil {
		t.Fatal(err)
	}
	if text := <-seen; !strings.HasPrefix(text, `ranks 0 2 wait for rank 1 in barrier "checkpoint" since `) {
		t.Error(text)
	}
	if p := w.Pending(); len(p) != 0 {
		t.Errorf("after all calls: %v", p)
	}
}

// TestAnySizesAndRanksSumLikeOneLoop draws parts, row distances and numbers of ranks.
func TestAnySizesAndRanksSumLikeOneLoop(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(rt, "ranks")
		rows := rapid.SliceOfN(rapid.IntRange(0, 40), 1, 4).Draw(rt, "rows")
		cols := rapid.SliceOfN(rapid.IntRange(1, 90), len(rows), len(rows)).Draw(rt, "cols")
		gaps := rapid.SliceOfN(rapid.IntRange(0, 3), n, n).Draw(rt, "gaps")
		at := func(q, part, i int) float32 { return float32(q+1) / float32(3*part+i+1) }
		err := local.NewWorld(n).Run(func(c comm.Communicator) error {
			b := cpu.New(cpu.Options{Workers: 1})
			defer func() { _ = b.Close() }()
			s := b.NewStream("test")
			var parts []tensor.Tensor
			for p := range rows {
				ld := cols[p] + gaps[c.Rank()]
				x := vector(t, b, rows[p]*ld).Reshape(rows[p], ld)
				for i := range x.Len() {
					x.F32()[i] = at(c.Rank(), p, i/ld*cols[p]+i%ld)
				}
				parts = append(parts, x.Columns(0, cols[p]))
			}
			c.AllReduce(s, "sum", comm.Sum, parts...)
			if err := s.Sync(); err != nil {
				return err
			}
			for p, x := range parts {
				for i := range x.Len() {
					want := at(0, p, i)
					for q := 1; q < n; q++ {
						want += at(q, p, i)
					}
					if got := x.F32()[i/cols[p]*x.LD()+i%cols[p]]; got != want {
						return fmt.Errorf("part %d element %d is %v, want %v", p, i, got, want)
					}
				}
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// TestSteadyCallsAllocateNothing counts over all ranks together, and takes the best of some windows: a call that allocates does
// so in each, while the runtime's own objects, for goroutines that wait, come and go with the load of the machine.
func TestSteadyCallsAllocateNothing(t *testing.T) {
	const warm, calls, windows = 20, 100, 5
	err := local.NewWorld(2).Run(func(c comm.Communicator) error {
		b, s := device(t)
		x := vector(t, b, 4096)
		parts := []tensor.Tensor{x}
		lists := [][]tensor.Tensor{{x.Slice(0, 2048)}, {x.Slice(2048, 4096)}}
		half := lists[c.Rank()]
		swap := []comm.Message{{Peer: 1 - c.Rank(), Send: true, Parts: half}, {Peer: 1 - c.Rank(), Parts: lists[1-c.Rank()]}}
		round := func(k int) error {
			for range k {
				c.AllReduce(s, "sum", comm.Sum, parts...)
				c.ReduceScatter(s, "scatter", lists, lists[c.Rank()])
				c.AllGather(s, "gather", lists[c.Rank()], lists)
				c.Broadcast(s, "spread", 0, parts...)
				c.Exchange(s, "swap", swap...)
				if err := s.Sync(); err != nil {
					return err
				}
			}
			return c.Barrier("round")
		}
		if err := round(warm); err != nil {
			return err
		}
		fewest := uint64(math.MaxUint64)
		for range windows {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := round(calls); err != nil {
				return err
			}
			runtime.ReadMemStats(&after)
			fewest = min(fewest, after.Mallocs-before.Mallocs)
		}
		if fewest > calls/2 && !raceEnabled {
			return fmt.Errorf("at least %d allocations in %d rounds of 5 calls on 2 ranks", fewest, calls)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func BenchmarkAllReduce(b *testing.B) {
	for _, n := range []int{1 << 10, 1 << 20, 1 << 24} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(4 * n))
			err := local.NewWorld(2).Run(func(c comm.Communicator) error {
				d, s := device(b)
				x := vector(b, d, n)
				for range b.N {
					c.AllReduce(s, "sum", comm.Sum, x)
				}
				return s.Sync()
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
