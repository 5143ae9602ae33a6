//go:build mpi

package mpi

import (
	"errors"
	"fmt"
	"runtime/debug"

	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/tensor"
)

// call is one call of this rank. Records are reused.
type call struct {
	m        *member
	what     string
	name     string
	seq      int
	op       comm.Op
	dtype    tensor.DType
	root     int
	mark     uint32 // checksum of what must be the same on all ranks
	bad      error  // what is wrong with the arguments
	in, out  []flat
	messages []message
	blocks   blocks
	kind     int // of the call's first transfers: 0, or 1 where it has made some before
	arrivals []arrival
	missing  int // arrivals that have not come
	late     []departure
	views    views
	work     work
	under    *run // the transfers of a call that has begun and waits
	// What the stream runs, with failures seen to: the call, and its beginning alone. Both are made once.
	do    func() error
	begun func() (bool, error)
}

// work is how a call is done: first posts all transfers, last finishes when they have ended. Work of several rounds is all
// in first, which waits itself and returns no run.
type work struct {
	first func(c *call) (*run, error)
	last  func(c *call, r *run) error // nil: there is nothing to finish
	brief bool                        // in one round, where the call is short
}

// message is one transfer of an Exchange; its memory is in[i].
type message struct {
	send      bool
	peer, seq int
}

func (c *call) tag(kind int) int { return c.m.w.tagOf(c.label(kind)) }

func (c *call) title() string { return fmt.Sprintf("%s %q", c.what, c.name) }

// call takes a record and numbers it.
func (m *member) call(what, name string) *call {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.take(what, name)
	c.seq = m.collectives
	m.collectives++
	return c
}

// take needs m.mu.
func (m *member) take(what, name string) *call {
	var c *call
	if n := len(m.free); n > 0 {
		c, m.free = m.free[n-1], m.free[:n-1]
	} else {
		c = &call{m: m}
		m.made++
		c.do = func() error {
			_, err := c.guard((*call).whole)
			return err
		}
		c.begun = func() (bool, error) { return c.guard((*call).briefly) }
	}
	c.what, c.name, c.op, c.dtype, c.root, c.mark, c.kind, c.bad = what, name, comm.Sum, tensor.F32, 0, 0, 0, nil
	return c
}

// guard does work on the call, which tells whether the call has ended. A failure, also a panic, ends the world.
func (c *call) guard(work func(*call) (bool, error)) (done bool, err error) {
	if c.bad != nil {
		return true, c.m.fail(fmt.Errorf("comm: rank %d: %s: %w", c.m.rank(), c.title(), c.bad))
	}
	if err := c.m.Err(); err != nil {
		return true, err // before anything has been said that others might take for another call
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("comm: rank %d: %s: panic: %v\n%s", c.m.rank(), c.title(), p, debug.Stack())
		}
		switch {
		case err != nil:
			done, err = true, c.m.fail(err)
		case done:
			c.release()
		}
	}()
	return work(c)
}

// whole does the call, or the rest of one that has begun.
func (c *call) whole() (bool, error) {
	r := c.under
	if r == nil {
		var err error
		if r, err = c.work.first(c); r == nil || err != nil {
			return true, err
		}
	}
	c.under = nil
	defer r.end()
	if err := r.wait(0); err != nil {
		return true, err
	}
	return true, c.finish(r)
}

// briefly begins the call and waits for a moment.
func (c *call) briefly() (bool, error) {
	r, err := c.work.first(c)
	if r == nil || err != nil {
		return true, err
	}
	ended, err := r.waitBriefly()
	if !ended && err == nil {
		c.under = r
		return false, nil
	}
	defer r.end()
	if err != nil {
		return true, err
	}
	return true, c.finish(r)
}

func (c *call) finish(r *run) error {
	if c.work.last == nil {
		return nil
	}
	return c.work.last(c, r)
}

// control does a call of the control plane, on the caller.
func (c *call) control(work func() error) error {
	_, err := c.guard(func(*call) (bool, error) { return true, work() })
	return err
}

// briefBytes is up to which length a call in one round is tried on the caller where the stream is idle: a worker would take
// longer to wake up than such a call takes.
const briefBytes = 1 << 20

// start hands the call to its stream.
func (c *call) start(s backend.Stream) {
	if c.brief() {
		if now, ok := s.(backend.Immediate); ok && now.Now(c.name, c.begun, c.do) {
			return
		}
	}
	s.Do(c.name, c.do)
}

// brief tells whether the call is short and takes one round.
func (c *call) brief() bool {
	if !c.work.brief || c.bad != nil {
		return false
	}
	bytes := 0
	for i := range c.in {
		bytes += c.in[i].n
	}
	for i := range c.out {
		bytes += c.out[i].n
	}
	return bytes <= briefBytes
}

// release gives the record back; it must not hold on to what it pointed at.
func (c *call) release() {
	c.read()
	for _, list := range [][]flat{c.in, c.out} {
		for i := range list {
			clear(list[i].segs)
			list[i].segs, list[i].n = list[i].segs[:0], 0
		}
	}
	c.in, c.out, c.messages, c.work, c.blocks = c.in[:0], c.out[:0], c.messages[:0], work{}, blocks{}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.m.free = append(c.m.free, c)
}

// sized makes room for n lists.
func sized(list []flat, n int) []flat {
	for cap(list) < n {
		list = append(list[:cap(list)], flat{})
	}
	return list[:n]
}

func (f *flat) setBytes(b []byte) {
	f.segs, f.n = f.segs[:0], len(b)
	if len(b) > 0 {
		f.segs = append(f.segs, segment{mem: b, row: len(b), ld: len(b), end: len(b)})
	}
}

// take sets one list of the call.
func (c *call) set(f *flat, list ...tensor.Tensor) {
	if !f.set(list) && c.bad == nil {
		c.bad = errors.New("memory is not on the host: want a CPU backend")
	}
}
