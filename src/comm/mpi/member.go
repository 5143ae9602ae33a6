//go:build mpi

package mpi

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/comm/parts"
	"cambium/src/mpi"
	"cambium/src/tensor"
)

// member is this process's rank in a group: the Communicator.
type member struct {
	w     *World
	comm  mpi.Comm // its zero value once it has been freed
	index int
	ranks []int // member -> rank in the world

	context uint64  // names the group in the keys of messages
	out, in []*lane // to and from each member; nil where it has no memory with this rank
	allNear bool    // each of them has

	mu          sync.Mutex
	collectives int   // calls enqueued so far
	sent, recvd []int // messages enqueued so far, by peer
	made        int   // records of calls; all are free when no calls are under way
	free        []*call
}

var _ comm.Communicator = (*member)(nil)

// newMember makes the group. The world needs w.mu once it is in use.
func newMember(w *World, c mpi.Comm, ranks []int, context uint64) *member {
	n := len(ranks)
	m := &member{w: w, comm: c, index: c.Rank(), ranks: ranks, context: context, sent: make([]int, n), recvd: make([]int, n), allNear: true}
	for q, rank := range ranks {
		m.out, m.in = append(m.out, w.board.out[rank]), append(m.in, w.board.in[rank])
		m.allNear = m.allNear && (q == m.index || m.out[q] != nil)
	}
	w.members = append(w.members, m)
	return m
}

// idle tells whether no call is under way.
func (m *member) idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.free) == m.made
}

// Free waits for the group's calls, in all ranks, and gives its communicator back. The world's stays until Close.
func (m *member) Free() error {
	if m == m.w.root || m.comm == (mpi.Comm{}) {
		return nil
	}
	for !m.idle() {
		if err := m.Err(); err != nil {
			return err
		}
		time.Sleep(m.w.idle.shortest)
	}
	if err := m.Barrier("free"); err != nil {
		return err
	}
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	i := slices.Index(m.w.members, m)
	m.w.members = slices.Delete(m.w.members, i, i+1)
	err := m.comm.Free()
	m.comm = mpi.Comm{}
	return err
}

func (m *member) Rank() int { return m.index }
func (m *member) Size() int { return len(m.ranks) }

// rank is this rank's number in the world.
func (m *member) rank() int { return m.ranks[m.index] }

// fail ends the world, unless it has ended, and returns why it did.
func (m *member) fail(err error) error {
	m.w.Abort(err)
	return m.w.Err()
}

func (m *member) AllReduce(s backend.Stream, name string, op comm.Op, list ...tensor.Tensor) {
	for len(list) > 0 {
		k := 1
		for k < len(list) && list[k].DType() == list[0].DType() {
			k++
		}
		c := m.call("all-reduce", name)
		c.op, c.dtype = op, list[0].DType()
		c.in = sized(c.in, 1)
		c.set(&c.in[0], list[:k]...)
		c.work = c.allReduceWork()
		c.start(s)
		list = list[k:]
	}
}

func (m *member) ReduceScatter(s backend.Stream, name string, in [][]tensor.Tensor, out []tensor.Tensor) {
	var bad error
	if len(in) != m.Size() {
		bad = fmt.Errorf("%d lists to send: want one for each of %d ranks", len(in), m.Size())
	} else {
		bad = parts.Same(out, in[m.index])
	}
	if bad != nil {
		m.refuse(s, "reduce-scatter", name, bad)
		return
	}
	sameRuns(in, m.index, func(run [][]tensor.Tensor, d tensor.DType) {
		c := m.call("reduce-scatter", name)
		c.dtype = d
		c.in, c.out = sized(c.in, len(run)), sized(c.out, 1)
		for q := range run {
			c.set(&c.in[q], run[q]...)
		}
		mine := len(run[m.index])
		c.set(&c.out[0], out[:mine]...)
		out = out[mine:]
		c.work = c.reduceScatterWork()
		c.start(s)
	})
}

// refuse fails in stream order.
func (m *member) refuse(s backend.Stream, what, name string, bad error) {
	c := m.call(what, name)
	c.bad = bad
	c.start(s)
}

func (m *member) AllGather(s backend.Stream, name string, in []tensor.Tensor, out [][]tensor.Tensor) {
	c := m.call("all-gather", name)
	c.in, c.out = sized(c.in, 1), sized(c.out, len(out))
	c.set(&c.in[0], in...)
	for q := range out {
		c.set(&c.out[q], out[q]...)
	}
	if len(out) != m.Size() {
		c.bad = fmt.Errorf("%d lists to receive: want one for each of %d ranks", len(out), m.Size())
	} else if err := parts.Same(out[m.index], in); err != nil {
		c.bad = err
	}
	c.work = work{first: (*call).allGather, brief: true}
	if c.quick(mostBytes(c.out), m.w.board.copied()) {
		c.work.first = (*call).allGatherQuick
	}
	c.start(s)
}

func (m *member) AllToAll(s backend.Stream, name string, in, out []tensor.Tensor) {
	c := m.call("all-to-all", name)
	c.in, c.out = sized(c.in, len(in)), sized(c.out, len(out))
	for q := range in {
		c.set(&c.in[q], in[q])
	}
	for q := range out {
		c.set(&c.out[q], out[q])
	}
	switch {
	case len(in) != m.Size() || len(out) != m.Size():
		c.bad = fmt.Errorf("%d pieces to send, %d to receive: want one for each of %d ranks", len(in), len(out), m.Size())
	case c.in[m.index].n != c.out[m.index].n:
		c.bad = fmt.Errorf("rank %d sends itself %v, but expects %v", m.index, in[m.index], out[m.index])
	}
	c.work = work{first: (*call).allToAll, brief: true}
	if c.quick(mostBytes(c.in, c.out), m.w.board.copied()) {
		c.work.first = (*call).allToAllQuick
	}
	c.start(s)
}

func (m *member) Broadcast(s backend.Stream, name string, root int, list ...tensor.Tensor) {
	c := m.call("broadcast", name)
	c.work, c.root = work{first: (*call).broadcast}, root
	c.in = sized(c.in, 1)
	c.set(&c.in[0], list...)
	if root < 0 || root >= m.Size() {
		c.bad = fmt.Errorf("root %d: want a rank below %d", root, m.Size())
	}
	c.start(s)
}

func (m *member) Send(s backend.Stream, name string, to int, list ...tensor.Tensor) {
	m.post(s, "send", name, comm.Message{Peer: to, Send: true, Parts: list})
}

func (m *member) Recv(s backend.Stream, name string, from int, list ...tensor.Tensor) {
	m.post(s, "recv", name, comm.Message{Peer: from, Parts: list})
}

func (m *member) Exchange(s backend.Stream, name string, messages ...comm.Message) {
	m.post(s, "exchange", name, messages...)
}

// post enqueues messages that are under way together, and numbers them by peer and direction.
func (m *member) post(s backend.Stream, what, name string, messages ...comm.Message) {
	m.mu.Lock()
	c := m.take(what, name)
	c.work = work{first: (*call).exchange, brief: true}
	c.in = sized(c.in, len(messages))
	for i, x := range messages {
		if x.Peer < 0 || x.Peer >= m.Size() || x.Peer == m.index {
			c.bad = fmt.Errorf("message %d: peer %d: want another rank below %d", i, x.Peer, m.Size())
			break
		}
		numbers := m.recvd
		if x.Send {
			numbers = m.sent
		}
		c.messages = append(c.messages, message{x.Send, x.Peer, numbers[x.Peer]})
		numbers[x.Peer]++
		c.set(&c.in[i], x.Parts...)
	}
	m.mu.Unlock()
	if c.bad == nil && c.allQuick() {
		c.work.first = (*call).exchangeQuick
	}
	c.start(s)
}

func (m *member) Abort(err error) {
	if err == nil {
		err = errors.New("aborted")
	}
	if m.w.abortedBy(err) {
		return // it names who began
	}
	m.w.Abort(fmt.Errorf("rank %d: %w", m.rank(), err))
}

// Err is why the world was aborted, nil while it lives.
func (m *member) Err() error { return m.w.Err() }
