//go:build cuda

package nccl

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"cambium/src/backend"
	"cambium/src/backend/cuda"
	"cambium/src/comm"
	"cambium/src/comm/staged"
	"cambium/src/tensor"
)

// Find tells whether this process can load an NCCL that is new enough, and if not, why.
func Find() error {
	lib, err := open()
	if err == nil {
		lib.close()
	}
	return err
}

// New makes NCCL's communicator of host's ranks, all of which call it, each with a GPU of its own as b. It fails on all of them or on
// none.
func New(host comm.Communicator, b backend.Backend) (comm.Communicator, error) {
	lib, err := open()
	if err := agree(host, "NCCL's library", err); err != nil {
		return nil, err
	}
	id, err := shareID(host, lib)
	if err != nil {
		return nil, err
	}
	w := &world{lib: lib, b: b, host: host, rooms: map[roomKey]*tensor.Memory{}}
	var raw handle
	err = cuda.OnDevice(b, func() (err error) {
		raw, err = lib.init(host.Size(), host.Rank(), id)
		return err
	})
	if e := (*result)(nil); errors.As(err, &e) && e.code == invalidUsage {
		err = fmt.Errorf("nccl: two ranks have the same GPU, which NCCL refuses (%w): start one rank a GPU, or set comm: staged", err)
	}
	if err := agree(host, "NCCL's start", err); err != nil {
		return nil, err
	}
	cuda.Watch(b, w.watch)
	ranks := make([]int, host.Size())
	for q := range ranks {
		ranks[q] = q
	}
	return w.member(host, raw, ranks), nil
}

// agree gathers whether all ranks succeeded. A rank that failed returns its own error, the others that of the first one.
func agree(host comm.Communicator, what string, mine error) error {
	text := ""
	if mine != nil {
		text = mine.Error()
	}
	all, err := host.Gather(what, []byte(text))
	switch {
	case mine != nil:
		return mine
	case err != nil:
		return err
	}
	for q, text := range all {
		if len(text) > 0 {
			return fmt.Errorf("rank %d: %s", q, text)
		}
	}
	return nil
}

// shareID has rank 0 make the id by which NCCL's ranks find each other.
func shareID(host comm.Communicator, lib *library) (id uniqueID, err error) {
	var mine []byte
	if host.Rank() == 0 {
		if id, err = lib.id(); err == nil {
			mine = id[:]
		}
	}
	all, gatherErr := host.Gather("NCCL's id", mine)
	if err == nil {
		err = gatherErr
	}
	if err != nil {
		return id, err
	}
	if copy(id[:], all[0]) != len(id) {
		return id, errors.New("nccl: rank 0 could not make NCCL's id")
	}
	return id, nil
}

// world is what the communicators of a rank share.
type world struct {
	lib  *library
	b    backend.Backend
	host comm.Communicator

	mu    sync.Mutex
	err   error       // why it was aborted
	stuck []comm.Wait // what was under way then
	comms []*member
	rooms map[roomKey]*tensor.Memory
}

func (w *world) member(host comm.Communicator, raw handle, ranks []int) *member {
	m := &member{w: w, host: host, raw: raw, ranks: ranks, staged: staged.New(host)}
	m.turn.come = sync.NewCond(&m.turn.mu)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.comms = append(w.comms, m)
	return m
}

// forget leaves out a member that is free.
func (w *world) forget(m *member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.comms = slices.DeleteFunc(slices.Clone(w.comms), func(x *member) bool { return x == m })
}

func (w *world) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// watched is why this rank or another one has given up.
func (w *world) watched() error {
	if err := w.failure(); err != nil {
		return err
	}
	if m, ok := w.host.(comm.Mortal); ok {
		return m.Err()
	}
	return nil
}

// watch looks whether other ranks have given up or NCCL has, and breaks everything off then.
func (w *world) watch() error {
	if err := w.watched(); err != nil {
		return w.breakOff(err)
	}
	w.mu.Lock()
	comms := w.comms
	w.mu.Unlock()
	for _, m := range comms {
		if err := m.asyncError(); err != nil {
			w.host.Abort(err)
			return w.breakOff(err)
		}
	}
	return nil
}

// breakOff ends NCCL's kernels on this rank's device. The first error stays and is returned.
func (w *world) breakOff(err error) error {
	w.mu.Lock()
	first, comms := w.err == nil, w.comms
	w.mu.Unlock()
	if !first {
		return w.failure()
	}
	stuck := w.pending(comms)
	w.mu.Lock()
	if first = w.err == nil; first {
		w.err, w.stuck = err, stuck
	}
	err = w.err
	w.mu.Unlock()
	if first {
		for _, m := range comms {
			m.breakOff()
		}
	}
	return err
}

// patience is how long an abort waits for a call into NCCL to end: one that waits for another rank may never do so.
const patience = time.Second

// lockWithin is mu.Lock that gives up.
func lockWithin(mu *sync.Mutex, limit time.Duration) bool {
	for until := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		if mu.TryLock() {
			return true
		}
		if time.Now().After(until) {
			return false
		}
	}
}

// turn lets the groups of a communicator into NCCL in the order in which they were enqueued, whatever streams they are in: all ranks
// have the same order.
type turn struct {
	order sync.Mutex // held while a group is enqueued: places rise in every stream
	next  uint64

	mu   sync.Mutex
	come *sync.Cond
	now  uint64
}

// take is the next place; it needs order.
func (t *turn) take() uint64 {
	t.next++
	return t.next - 1
}

func (t *turn) wait(n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.now != n {
		t.come.Wait()
	}
}

func (t *turn) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now++
	t.come.Broadcast()
}

// inTurn runs f at place n with NCCL's communicator, unless the world has been aborted.
func (m *member) inTurn(n uint64, f func(raw handle) error) error {
	m.turn.wait(n)
	defer m.turn.done()
	m.inside.Lock()
	defer m.inside.Unlock()
	if err := m.w.failure(); err != nil {
		return err
	}
	return f(m.raw)
}

// issue enqueues a group of calls.
func (m *member) issue(d *desk) {
	if len(d.calls) == 0 {
		return
	}
	m.turn.order.Lock()
	defer m.turn.order.Unlock()
	n := m.turn.take()
	cuda.OnStream(d.s, d.name, func(stream unsafe.Pointer) error {
		return m.inTurn(n, func(raw handle) error {
			if stream == nil {
				return nil
			}
			if err := m.w.lib.together(d.calls, raw, stream); err != nil {
				return err
			}
			return m.flights.add(flight{what: d.what, name: d.name, number: n, peers: d.peers, since: time.Now()}, stream)
		})
	})
}

func (m *member) asyncError() error {
	if !m.inside.TryLock() {
		return nil // a call is under way: it will tell itself
	}
	defer m.inside.Unlock()
	if m.raw == nil {
		return nil
	}
	return m.w.lib.asyncError(m.raw)
}

func (m *member) breakOff() {
	if lockWithin(&m.inside, patience) {
		defer m.inside.Unlock()
	}
	if m.raw != nil {
		m.w.lib.abort(m.raw)
		m.raw = nil
	}
}
