package local

import (
	"fmt"
	"sync"
	"time"
)

// key tells which calls meet: the seq-th collective of a group, or the seq-th message from one rank to another.
type key struct {
	from, to int // -1, -1 for collectives
	seq      int
}

// group is a set of ranks that make collective calls together.
type group struct {
	w       *World
	ranks   []int // member -> rank in the world
	members []*member
	open    map[key]*slot
	free    []*slot
}

// slot is where the calls of one key meet. Its life: ranks arrive and wait until need have; then all work, and wait
// until all have finished; the last one to leave puts the slot back.
type slot struct {
	g        *group
	key      key
	cond     *sync.Cond
	need     int // ranks that take part
	calls    []*call
	arrived  int
	finished int
	left     int
	since    time.Time
	result   result // of the control plane, made by the last one to arrive
}

type result struct {
	values []float64
	bytes  [][]byte
	groups []*member // Split: the new member for each rank of this group
}

// newGroup needs w.mu, or a world that nobody uses yet.
func (w *World) newGroup(ranks []int) *group {
	g := &group{w: w, ranks: ranks, open: map[key]*slot{}}
	for i := range ranks {
		g.members = append(g.members, newMember(g, i))
	}
	w.groups = append(w.groups, g)
	return g
}

func (g *group) slot(k key) *slot {
	s := g.open[k]
	if s != nil {
		return s
	}
	if n := len(g.free); n > 0 {
		s, g.free = g.free[n-1], g.free[:n-1]
		clear(s.calls)
		*s = slot{g: g, cond: s.cond, calls: s.calls}
	} else {
		s = &slot{g: g, cond: sync.NewCond(&g.w.mu), calls: make([]*call, len(g.ranks))}
	}
	s.key, s.need = k, len(g.ranks)
	if k.from >= 0 {
		s.need = 2
	}
	g.open[k] = s
	return s
}

func (s *slot) needs(member int) bool {
	return s.key.from < 0 || member == s.key.from || member == s.key.to
}

// first is the call of the lowest rank that is here.
func (s *slot) first() *call {
	for _, c := range s.calls {
		if c != nil {
			return c
		}
	}
	return nil
}

// wake tells everybody who waits for this slot, and the Exchanges that have a call in it.
func (s *slot) wake() {
	s.cond.Broadcast()
	for _, c := range s.calls {
		if c != nil && c.exchange != nil {
			c.exchange.cond.Broadcast()
		}
	}
}

// meet carries a call through its slot: wait for all, work, wait for all. It returns why the world ended, if it did.
func (c *call) meet() error {
	w := c.m.g.w
	w.mu.Lock()
	defer w.mu.Unlock()
	s, err := c.arrive()
	if err != nil {
		return err
	}
	for s.arrived < s.need {
		if w.err != nil {
			return w.err // the slot stays open: nobody can use this world any more
		}
		s.cond.Wait()
	}
	c.serve(s)
	for s.finished < s.need {
		s.cond.Wait()
	}
	c.leave(s)
	return w.err
}

// arrive takes the call's place in its slot. It needs w.mu, as serve and leave do.
func (c *call) arrive() (*slot, error) {
	w, g := c.m.g.w, c.m.g
	if w.err != nil {
		return nil, w.err
	}
	s := g.slot(c.key)
	if s.arrived == 0 {
		s.since = time.Now()
	} else if err := mismatch(s.first(), c); err != nil {
		w.abort(err)
		return nil, w.err
	}
	s.calls[c.m.index] = c
	if s.arrived++; s.arrived == s.need {
		s.conclude()
		s.wake()
	} else if err := g.checkEnded(s); err != nil {
		w.abort(err)
	}
	return s, nil
}

// serve does the call's share of the work when all are here. All finish, aborted or not: no one may leave, and free its
// memory, while another reads it.
func (c *call) serve(s *slot) {
	w := c.m.g.w
	if w.err == nil && c.kind.moves() {
		w.mu.Unlock()
		err := c.work(s)
		w.mu.Lock()
		if err != nil {
			w.abort(err)
		}
	}
	if s.finished++; s.finished == s.need {
		s.wake()
	}
}

// leave takes what the slot has for the call, whose record may now be used again; the last one gives the slot back.
func (c *call) leave(s *slot) {
	c.collect(s)
	s.calls[c.m.index] = nil
	if s.left++; s.left == s.need {
		delete(s.g.open, s.key)
		s.g.free = append(s.g.free, s)
	}
}

// checkEnded finds a rank that ended, has enqueued no call for this slot, and so never will.
func (g *group) checkEnded(s *slot) error {
	if s.arrived == 0 || s.arrived == s.need {
		return nil
	}
	for i, m := range g.members {
		if s.calls[i] == nil && s.needs(i) && g.w.ended[m.rank] && !m.issued(s.key) {
			return fmt.Errorf("comm: rank %d ended, but rank %d waits for it in %v", m.rank, s.first().m.rank, s.first().title())
		}
	}
	return nil
}
