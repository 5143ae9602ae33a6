package cpu

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"cambium/src/spin"
)

// spinRounds bounds how long a waiter spins before it parks: about 5 microseconds. A parked goroutine takes longer than
// that to wake up; spinning on would take the core from another rank.
const spinRounds = 30

// yieldEvery is the number of rounds after which a spinning waiter lets other goroutines run: with more of them than cores
// the one that it waits for may be queued behind it, most of all one that it has just woken. Without this two workers
// that share a core with other programs spun through every barrier, at three times the processor time.
const yieldEvery = 4

// gate is a counter that only grows and that goroutines wait on. One goroutine at a time advances it.
//
// Who advances writes value and then reads alarm, who parks writes alarm and then reads value, and one of the two must see the
// other. Both writes are swaps: emulated arm64 processors (qemu-aarch64 on x86-64) let a plain atomic store pass a later
// atomic load, and a waiter slept for ever.
type gate struct {
	value atomic.Uint64
	_     [cacheLine - 8]byte // waiters poll value: keep the rest off its line
	alarm atomic.Uint64       // the smallest value that a parked goroutine waits for
	mu    sync.Mutex
	cond  sync.Cond
}

func (g *gate) init() {
	g.cond.L = &g.mu
	g.alarm.Store(math.MaxUint64)
}

// advance sets the counter and wakes whoever waits for no more than v.
func (g *gate) advance(v uint64) {
	g.value.Swap(v)
	if g.alarm.Load() > v {
		return
	}
	g.mu.Lock()
	g.alarm.Store(math.MaxUint64)
	g.cond.Broadcast()
	g.mu.Unlock()
}

// await returns once the counter has reached at: it spins for the given number of rounds and then parks.
func (g *gate) await(at uint64, rounds int) {
	for i := range rounds {
		if g.value.Load() >= at {
			return
		}
		if i%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		} else {
			spin.Pause(4)
		}
	}
	if g.value.Load() >= at {
		return
	}
	g.mu.Lock()
	for {
		g.alarm.Swap(min(g.alarm.Load(), at))
		if g.value.Load() >= at {
			break
		}
		g.cond.Wait()
	}
	g.mu.Unlock()
}
