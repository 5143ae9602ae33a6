package cpu

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cambium/src/backend"
	"cambium/src/tensor"
)

func open(t testing.TB, workers int) (*Backend, *stream) {
	b := New(Options{Workers: workers})
	t.Cleanup(func() { _ = b.Close() })
	return b, b.NewStream("test").(*stream)
}

// enqueue runs f in every worker, in stream order.
func enqueue(s *stream, name string, f func(w *worker, t *task)) {
	s.begin(name, f)
	s.commit()
}

func TestEveryWorkerFinishesATaskBeforeTheNextBegins(t *testing.T) {
	for workers := 1; workers <= 5; workers++ {
		_, s := open(t, workers)
		var inside, ran atomic.Int64
		for i := range 2000 {
			enqueue(s, "count", func(w *worker, _ *task) {
				inside.Add(1)
				if got := ran.Add(1); got <= int64(i*workers) || got > int64((i+1)*workers) {
					t.Errorf("%d workers, task %d: run %d is out of order", workers, i, got)
				}
				inside.Add(-1)
			})
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if ran.Load() != int64(2000*workers) || inside.Load() != 0 {
			t.Errorf("%d workers: %d runs, want %d", workers, ran.Load(), 2000*workers)
		}
	}
}

func TestPhaseBarrierSeparatesPhases(t *testing.T) {
	for workers := 1; workers <= 4; workers++ {
		_, s := open(t, workers)
		for range 200 {
			enqueue(s, "phases", func(w *worker, _ *task) {
				mem := w.shared(workers)
				for phase := range 5 {
					mem[w.index] = float32(phase)
					w.barrier()
					for i, v := range mem {
						if v != float32(phase) {
							t.Errorf("%d workers: phase %d sees %v from worker %d", workers, phase, v, i)
						}
					}
					w.barrier()
				}
			})
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClaimGivesEveryNumberOnceInEveryPhase(t *testing.T) {
	for workers := 1; workers <= 4; workers++ {
		_, s := open(t, workers)
		for n := range 40 {
			var taken [40]atomic.Int32
			enqueue(s, "claim", func(w *worker, _ *task) {
				for phase := range 3 {
					for i, ok := w.claim(n); ok; i, ok = w.claim(n) {
						taken[i].Add(1)
					}
					w.barrier()
					for i := range n {
						if got := taken[i].Load(); got != int32(phase+1) {
							t.Errorf("%d workers, n %d, phase %d: %d taken %d times", workers, n, phase, i, got)
						}
					}
					w.barrier()
				}
			})
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestPartsCoverEverythingOnceInOrder(t *testing.T) {
	for n := range 70 {
		for _, align := range []int{1, 4, 16} {
			for count := 1; count < 9; count++ {
				at := 0
				for i := range count {
					lo, hi := part(n, i, count, align)
					if lo != at || hi < lo || (hi != n && hi%align != 0) {
						t.Fatalf("part(%d, %d, %d, %d) = [%d, %d), want to begin at %d", n, i, count, align, lo, hi, at)
					}
					at = hi
				}
				if at != n {
					t.Fatalf("parts of %d end at %d", n, at)
				}
			}
		}
	}
}

func TestEventsOrderStreams(t *testing.T) {
	for workers := 1; workers <= 3; workers++ {
		b, first := open(t, workers)
		second := b.NewStream("second")
		for range 50 {
			value := 0 // the race detector sees a missing order
			there, back := b.NewEvent(), b.NewEvent()
			first.Do("one", func() error { time.Sleep(20 * time.Microsecond); value = 1; return nil })
			first.Record(there)
			first.Do("later", func() error { return nil })
			second.Wait(there)
			second.Do("two", func() error { value = 10*value + 2; return nil })
			second.Record(back)
			first.Wait(back)
			first.Do("three", func() error { value = 10*value + 3; return nil })
			if err := first.Sync(); err != nil {
				t.Fatal(err)
			}
			if value != 123 {
				t.Fatalf("%d workers: order %d, want 123", workers, value)
			}
		}
		second.Wait(b.NewEvent()) // never recorded: nothing to wait for
		if err := second.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWaitMeansTheRecordBeforeIt(t *testing.T) {
	b, first := open(t, 1)
	second := b.NewStream("second")
	e := b.NewEvent()
	gate := make(chan struct{})
	first.Record(e)
	second.Wait(e) // of what was recorded so far: nothing
	first.Do("block", func() error { <-gate; return nil })
	first.Record(e)
	if err := second.Sync(); err != nil {
		t.Fatal(err)
	}
	close(gate)
}

func TestErrorSkipsTheRestUntilSync(t *testing.T) {
	broken := errors.New("the wire is cut")
	for workers := 1; workers <= 3; workers++ {
		_, s := open(t, workers)
		ran := false
		s.Do("fails", func() error { return broken })
		s.Do("after", func() error { ran = true; return errors.New("second") })
		if err := s.Sync(); !errors.Is(err, broken) || ran {
			t.Errorf("%d workers: Sync = %v, later work ran: %v", workers, err, ran)
		}
		s.Do("again", func() error { ran = true; return nil })
		if err := s.Sync(); err != nil || !ran {
			t.Errorf("%d workers: after the error Sync = %v, ran %v", workers, err, ran)
		}
	}
}

func TestPanicBecomesAnErrorThatNamesTheOperation(t *testing.T) {
	for workers := 1; workers <= 4; workers++ {
		for culprit := range workers {
			_, s := open(t, workers)
			for round := range 50 {
				enqueue(s, "weigh", func(w *worker, _ *task) {
					w.barrier()
					if w.index == culprit {
						panic(fmt.Sprintf("lead at %d", round))
					}
					w.barrier()
					w.barrier()
				})
				enqueue(s, "skipped", func(*worker, *task) { t.Error("ran after a panic") })
				err := s.Sync()
				if err == nil || !strings.Contains(err.Error(), "weigh") || !strings.Contains(err.Error(), fmt.Sprintf("lead at %d", round)) {
					t.Fatalf("%d workers: Sync = %v", workers, err)
				}
				var sum atomic.Int64
				enqueue(s, "fine", func(w *worker, _ *task) { w.barrier(); sum.Add(1); w.barrier() })
				if err := s.Sync(); err != nil || sum.Load() != int64(workers) {
					t.Fatalf("%d workers: after the panic: %v, %d ran", workers, err, sum.Load())
				}
			}
		}
	}
}

func TestQueueIsBounded(t *testing.T) {
	_, s := open(t, 2)
	release := make(chan struct{})
	s.Do("block", func() error { <-release; return nil })
	var enqueued atomic.Int64
	finished := make(chan struct{})
	go func() {
		for range 3 * ringSize {
			s.Do("more", func() error { return nil })
			enqueued.Add(1)
		}
		close(finished)
	}()
	time.Sleep(30 * time.Millisecond)
	if n := enqueued.Load(); n >= ringSize {
		t.Errorf("%d tasks enqueued behind a blocked one, want fewer than %d", n, ringSize)
	}
	close(release)
	<-finished
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
}

func TestEnqueueingAllocatesNothing(t *testing.T) {
	b, s := open(t, 2)
	second := b.NewStream("second")
	mem, err := b.Alloc("test", 3*64*64*4)
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.New(mem, 0, tensor.F32, 64, 64)
	y := tensor.New(mem, 64*64*4, tensor.F32, 64, 64)
	z := tensor.New(mem, 2*64*64*4, tensor.F32, 64, 64)
	host, f, e := make([]byte, x.Bytes()), func() error { return nil }, b.NewEvent()
	round := func() {
		for range 40 {
			s.Upload(x, host)
			s.Gemm(backend.Gemm{C: z, A: x, B: y, TransB: true})
			s.Do("nothing", f)
			s.Record(e)
			second.Wait(e)
			s.Download(host, z)
		}
		if err := errors.Join(s.Sync(), second.Sync()); err != nil {
			t.Fatal(err)
		}
	}
	round()
	if n := testing.AllocsPerRun(20, round); n > 2 {
		t.Errorf("%v allocations in 200 operations, want none", n)
	}
}

func TestCloseWaitsAndReturnsTheError(t *testing.T) {
	b := New(Options{Workers: 2})
	s := b.NewStream("test")
	done := false
	s.Do("slow", func() error { time.Sleep(10 * time.Millisecond); done = true; return errors.New("late") })
	if err := b.Close(); err == nil || !done {
		t.Errorf("Close = %v, work done: %v", err, done)
	}
	if err := b.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("an operation after Close was accepted")
		}
	}()
	s.Do("late", func() error { return nil })
}

func TestUploadAndDownloadKeepGapsBetweenRows(t *testing.T) {
	for workers := 1; workers <= 3; workers++ {
		b, s := open(t, workers)
		mem, err := b.Alloc("test", 10*8*4)
		if err != nil {
			t.Fatal(err)
		}
		all := tensor.New(mem, 0, tensor.F32, 10, 8)
		s.Upload(all, filled(10*8*4, 7))
		src := make([]byte, 10*3*4)
		for i := range src {
			src[i] = byte(i)
		}
		s.Upload(all.Columns(2, 5), src)
		back, whole := make([]byte, len(src)), make([]byte, all.Bytes())
		s.Download(back, all.Columns(2, 5))
		s.Download(whole, all)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if string(back) != string(src) {
			t.Errorf("%d workers: downloaded %v", workers, back)
		}
		for i, v := range whole {
			if col := i / 4 % 8; (col < 2 || col >= 5) && v != 7 {
				t.Errorf("%d workers: byte %d outside the view became %d", workers, i, v)
			}
		}
	}
}

func filled(n int, v byte) []byte {
	s := make([]byte, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// TestNowRunsAtOnceOnlyWhereNothingWaits: first on the caller in an idle stream, not at all in a busy one; rest in stream order,
// before what is enqueued later; errors at Sync, and nothing runs after them.
func TestNowRunsAtOnceOnlyWhereNothingWaits(t *testing.T) {
	for _, workers := range []int{1, 3} {
		_, s := open(t, workers)
		var order []string
		did := func(what string, done bool, err error) func() (bool, error) {
			return func() (bool, error) {
				order = append(order, what)
				return done, err
			}
		}
		note := func(what string) func() error {
			return func() error {
				order = append(order, what)
				return nil
			}
		}
		if !s.Now("whole", did("whole", true, nil), note("no rest")) || len(order) != 1 {
			t.Fatalf("%d workers: after Now in an idle stream: %v", workers, order)
		}
		hold := make(chan struct{})
		if !s.Now("half", did("half", false, nil), func() error { <-hold; order = append(order, "rest"); return nil }) {
			t.Fatalf("%d workers: Now refused in an idle stream", workers)
		}
		if s.Now("busy", did("busy", true, nil), note("busy rest")) {
			t.Fatalf("%d workers: Now ran in a busy stream", workers)
		}
		s.Do("behind", note("behind"))
		close(hold)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken on purpose")
		if !s.Now("broken", did("broken", false, broken), note("broken rest")) || !s.Now("skipped", did("skipped", true, nil), nil) {
			t.Fatalf("%d workers: Now refused in an idle stream that has failed", workers)
		}
		if err := s.Sync(); !errors.Is(err, broken) {
			t.Errorf("%d workers: Sync after a failed Now: %v", workers, err)
		}
		if got, want := strings.Join(order, ", "), "whole, half, rest, behind, broken"; got != want {
			t.Errorf("%d workers: ran %q, want %q", workers, got, want)
		}
	}
}
