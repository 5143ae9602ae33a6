//go:build cuda

package nccl

import (
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"cambium/src/backend/cuda"
	"cambium/src/comm"
)

// flight is a group of calls that NCCL was given and the device has not passed, as far as it was asked. Those of a communicator
// run one after another.
type flight struct {
	what, name string
	number     uint64 // of a collective, in its communicator: the same on all ranks
	peers      []int  // of messages; nil: all of the group
	since      time.Time
	mark       *cuda.Mark
}

// title is what the flight is called in reports: `all-reduce "dp grads" (by NCCL, call 7 of its group)`.
func (f *flight) title() string {
	if f.peers != nil {
		return fmt.Sprintf("%s %q (by NCCL)", f.what, f.name)
	}
	return fmt.Sprintf("%s %q (by NCCL, call %d of its group)", f.what, f.name, f.number)
}

// flights are those of a communicator, in order, and marks for the next ones.
type flights struct {
	mu    sync.Mutex
	list  []flight
	marks []*cuda.Mark
}

// add marks the end of what NCCL has just given the stream. The device's context is current.
func (l *flights) add(f flight, stream unsafe.Pointer) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.land()
	if n := len(l.marks); n > 0 {
		f.mark, l.marks = l.marks[n-1], l.marks[:n-1]
	} else if f.mark, err = cuda.NewMark(); err != nil {
		return err
	}
	l.list = append(l.list, f)
	return f.mark.Set(stream)
}

// land forgets flights that the device has passed. It needs mu, and the device's context.
func (l *flights) land() {
	n := 0
	for n < len(l.list) && l.list[n].mark.Passed() {
		l.marks = append(l.marks, l.list[n].mark)
		n++
	}
	l.list = slices.Delete(l.list, 0, n)
}

// first is the flight that the device is in or has before it; nil without one. The device's context is current.
func (l *flights) first() *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.land()
	if len(l.list) == 0 {
		return nil
	}
	f := l.list[0]
	return &f
}

// free gives all marks back, when nothing is under way.
func (l *flights) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.marks {
		m.Free()
	}
	l.marks = nil
}

// Pending are the calls of this rank's communicators that NCCL has not ended, or had not when it was broken off.
func (m *member) Pending() []comm.Wait {
	w := m.w
	w.mu.Lock()
	stuck, broken, comms := w.stuck, w.err != nil, w.comms
	w.mu.Unlock()
	if broken {
		return stuck
	}
	return w.pending(comms)
}

func (w *world) pending(comms []*member) (all []comm.Wait) {
	_ = cuda.OnDevice(w.b, func() error {
		for _, m := range comms {
			if f := m.flights.first(); f != nil {
				all = append(all, m.wait(f))
			}
		}
		return nil
	})
	return all
}

// wait says who takes part in a flight.
func (m *member) wait(f *flight) comm.Wait {
	p := comm.Wait{Call: f.title(), Waiting: []int{m.ranks[m.Rank()]}, Since: f.since}
	for q, rank := range m.ranks {
		if q != m.Rank() && (f.peers == nil || slices.Contains(f.peers, q)) {
			p.Unseen = append(p.Unseen, rank)
		}
	}
	slices.Sort(p.Unseen)
	return p
}
