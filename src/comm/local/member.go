package local

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/comm/parts"
	"cambium/src/tensor"
)

// member is one rank of a group: the Communicator.
type member struct {
	g     *group
	index int // in the group
	rank  int // in the world

	mu          sync.Mutex
	collectives int   // collective calls enqueued so far
	sent, recvd []int // messages enqueued so far, by peer
	free        []*call
	exchanges   []*exchange // free
}

var _ comm.Communicator = (*member)(nil)

func newMember(g *group, index int) *member {
	n := len(g.ranks)
	return &member{g: g, index: index, rank: g.ranks[index], sent: make([]int, n), recvd: make([]int, n)}
}

func (m *member) Rank() int { return m.index }
func (m *member) Size() int { return len(m.g.ranks) }

// call takes a record and numbers it.
func (m *member) call(k kind, name string, peer int) *call {
	m.mu.Lock()
	defer m.mu.Unlock()
	var c *call
	if n := len(m.free); n > 0 {
		c, m.free = m.free[n-1], m.free[:n-1]
	} else {
		c = &call{m: m}
		c.run = func() error {
			err := c.meet()
			if err == nil {
				c.release()
			}
			return err
		}
	}
	c.kind, c.name, c.op, c.root, c.bad = k, name, comm.Sum, 0, nil
	switch k {
	case send:
		c.key = key{m.index, peer, m.sent[peer]}
		m.sent[peer]++
	case recv:
		c.key = key{peer, m.index, m.recvd[peer]}
		m.recvd[peer]++
	default:
		c.key = key{-1, -1, m.collectives}
		m.collectives++
	}
	return c
}

// release gives the record back; it must not hold on to what it pointed at.
func (c *call) release() {
	c.in.setOne(nil)
	c.out.setOne(nil)
	c.values, c.bytes, c.gathered, c.made, c.exchange = nil, nil, nil, nil, nil
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.m.free = append(c.m.free, c)
}

// issued tells whether the rank has enqueued its call for k.
func (m *member) issued(k key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.index {
	case k.from:
		return m.sent[k.to] > k.seq
	case k.to:
		return m.recvd[k.from] > k.seq
	}
	return m.collectives > k.seq
}

func (m *member) AllReduce(s backend.Stream, name string, op comm.Op, list ...tensor.Tensor) {
	c := m.call(allReduce, name, -1)
	c.op = op
	c.in.setOne(list)
	s.Do(name, c.run)
}

func (m *member) ReduceScatter(s backend.Stream, name string, in [][]tensor.Tensor, out []tensor.Tensor) {
	c := m.call(reduceScatter, name, -1)
	c.in.set(in)
	c.out.setOne(out)
	if len(in) != m.Size() {
		c.bad = fmt.Errorf("%d lists to send: want one for each of %d ranks", len(in), m.Size())
	} else if err := parts.Same(out, in[m.index]); err != nil {
		c.bad = err
	}
	s.Do(name, c.run)
}

func (m *member) AllGather(s backend.Stream, name string, in []tensor.Tensor, out [][]tensor.Tensor) {
	c := m.call(allGather, name, -1)
	c.in.setOne(in)
	c.out.set(out)
	if len(out) != m.Size() {
		c.bad = fmt.Errorf("%d lists to receive: want one for each of %d ranks", len(out), m.Size())
	} else if err := parts.Same(out[m.index], in); err != nil {
		c.bad = err
	}
	s.Do(name, c.run)
}

func (m *member) AllToAll(s backend.Stream, name string, in, out []tensor.Tensor) {
	c := m.call(allToAll, name, -1)
	c.in.setOne(in)
	c.out.setOne(out)
	if len(in) != m.Size() || len(out) != m.Size() {
		c.bad = fmt.Errorf("%d pieces to send, %d to receive: want one for each of %d ranks", len(in), len(out), m.Size())
	}
	s.Do(name, c.run)
}

func (m *member) Broadcast(s backend.Stream, name string, root int, list ...tensor.Tensor) {
	c := m.call(broadcast, name, -1)
	c.root = root
	c.in.setOne(list)
	if root < 0 || root >= m.Size() {
		c.bad = fmt.Errorf("root %d: want a rank below %d", root, m.Size())
	}
	s.Do(name, c.run)
}

func (m *member) Send(s backend.Stream, name string, to int, list ...tensor.Tensor) {
	if err := m.checkPeer(to); err != nil {
		s.Do(name, func() error { return m.fail(fmt.Errorf("comm: rank %d: send %q: %w", m.rank, name, err)) })
		return
	}
	c := m.call(send, name, to)
	c.in.setOne(list)
	s.Do(name, c.run)
}

func (m *member) Recv(s backend.Stream, name string, from int, list ...tensor.Tensor) {
	if err := m.checkPeer(from); err != nil {
		s.Do(name, func() error { return m.fail(fmt.Errorf("comm: rank %d: recv %q: %w", m.rank, name, err)) })
		return
	}
	c := m.call(recv, name, from)
	c.out.setOne(list)
	s.Do(name, c.run)
}

func (m *member) checkPeer(peer int) error {
	if peer < 0 || peer >= m.Size() || peer == m.index {
		return fmt.Errorf("peer %d: want another rank below %d", peer, m.Size())
	}
	return nil
}

// fail aborts the world and returns why it ended.
func (m *member) fail(err error) error {
	m.g.w.Abort(err)
	return m.g.w.Err()
}

func (m *member) Reduce(name string, op comm.Op, values []float64) error {
	c := m.call(reduce, name, -1)
	c.op, c.values = op, values
	return c.run()
}

func (m *member) Gather(name string, mine []byte) ([][]byte, error) {
	c := m.call(gather, name, -1)
	c.bytes = mine
	if err := c.meet(); err != nil {
		return nil, err
	}
	all := c.gathered
	c.release()
	return all, nil
}

func (m *member) Barrier(name string) error { return m.call(barrier, name, -1).run() }

func (m *member) Split(name string, color, order int) (comm.Communicator, error) {
	c := m.call(split, name, -1)
	c.color, c.order = color, order
	if err := c.meet(); err != nil {
		return nil, err
	}
	made := c.made
	c.release()
	return made, nil
}

// split makes the groups; it returns the new member of each rank of g.
func (g *group) split(calls []*call) []*member {
	by := make([]*call, len(calls))
	copy(by, calls)
	slices.SortStableFunc(by, func(a, b *call) int {
		return cmp.Or(cmp.Compare(a.color, b.color), cmp.Compare(a.order, b.order))
	})
	made := make([]*member, len(calls))
	for lo := 0; lo < len(by); {
		hi := lo
		var ranks []int
		for hi < len(by) && by[hi].color == by[lo].color {
			ranks = append(ranks, by[hi].m.rank)
			hi++
		}
		sub := g.w.newGroup(ranks)
		for i, c := range by[lo:hi] {
			made[c.m.index] = sub.members[i]
		}
		lo = hi
	}
	return made
}

func (m *member) Abort(err error) {
	if err == nil {
		err = errors.New("aborted")
	}
	// An error that came from the world already names who began.
	if e := m.g.w.Err(); e != nil && errors.Is(err, e) {
		return
	}
	m.g.w.Abort(fmt.Errorf("rank %d: %w", m.rank, err))
}

// Err is why the world was aborted, nil while it lives.
func (m *member) Err() error { return m.g.w.Err() }
