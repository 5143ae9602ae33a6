//go:build mpi

package mpi

import (
	"fmt"

	"cambium/src/mpi"
	"cambium/src/spin"
)

// Quick calls are those whose messages all go through lanes: short ones, among ranks of a node. Such a call writes its messages, looks
// for the others' and adds up what came where it lies; it enters neither C nor MPI and takes no lock of the world's. What has not
// come after a while is waited for as in any other call, in a run.

// label names a message between two ranks: the number of the call or message, the kind of transfer, and a checksum of the call.
type label struct {
	seq, kind int
	mark      uint32
}

// arrival is a short message that the call waits for. It comes through the lane, or by MPI where that had no free slot.
type arrival struct {
	label
	key  uint64
	peer int
	n    int   // bytes
	to   *flat // where it goes, from byte at on; nil: it is read where it lies
	at   int
	come bool
	slot int    // of the lane
	mem  []byte // the message, until the call ends
	road []byte // where MPI writes it
}

// departure is a short message for which the lane had no free slot.
type departure struct {
	label
	peer  int
	f     *flat
	lo, n int
}

func (c *call) label(kind int) label { return label{c.seq, c.kind + kind, c.mark} }

func (w *World) tagOf(l label) int { return w.tag(l.seq, l.kind, l.mark) }

// near tells whether a message of n bytes, to or from peer, which is only copied, goes through a lane.
func (m *member) near(peer, n int) bool { return m.out[peer] != nil && n <= m.w.board.copied() }

// quick tells whether messages of at most n bytes between all ranks of the group go through lanes that are for so long ones.
func (c *call) quick(n, limit int) bool {
	return c.m.allNear && n <= limit && len(c.m.ranks) <= c.m.w.few
}

// say sends n bytes of f through the lane to peer, which is near, or notes that there is no room.
func (c *call) say(peer int, l label, f *flat, lo, n int) {
	if !c.m.out[peer].put(c.m.key(l.seq, l.kind), l.mark, f, lo, n) {
		c.late = append(c.late, departure{l, peer, f, lo, n})
	}
}

// expect waits for n bytes from peer, which is near.
func (c *call) expect(peer int, l label, to *flat, at, n int) {
	c.arrivals = append(c.arrivals, arrival{label: l, key: c.m.key(l.seq, l.kind), peer: peer, n: n, to: to, at: at, slot: -1})
	c.missing++
}

// look sees to messages that have come.
func (c *call) look() error {
	for i := range c.arrivals {
		a := &c.arrivals[i]
		if a.come || a.road != nil {
			continue
		}
		l := c.m.in[a.peer]
		slot := l.find(a.key)
		if slot < 0 {
			continue
		}
		if h := l.heads[slot]; h.mark != a.mark || int(h.n) != a.n {
			return c.mismatch(a.peer)
		}
		a.slot = slot
		c.arrived(a, l.at(slot, a.n))
	}
	return nil
}

// hasCome tells whether there is something to look at.
func (c *call) hasCome() bool {
	for i := range c.arrivals {
		if a := &c.arrivals[i]; !a.come && a.road == nil && c.m.in[a.peer].find(a.key) >= 0 {
			return true
		}
	}
	return false
}

// arrived takes the message of a, which is mem. What is read where it lies keeps its place until the call ends.
func (c *call) arrived(a *arrival, mem []byte) {
	a.come, a.mem = true, mem
	c.missing--
	if a.to == nil {
		return
	}
	a.to.unpack(mem, a.at)
	if a.slot >= 0 {
		c.m.in[a.peer].ack(a.slot, a.key)
		a.slot = -1
	}
}

// mismatch is why a call fails whose counterpart is another one.
func (c *call) mismatch(peer int) error {
	return fmt.Errorf("comm: calls do not match: rank %d makes %s, rank %d makes another call, or one of another size", c.m.rank(), c.title(), c.m.ranks[peer])
}

// settle waits for the call's messages for some microseconds. It returns no run when all have gone and come.
func (c *call) settle() (*run, error) {
	w := c.m.w
	if w.failed.Load() {
		return nil, w.Err()
	}
	for range w.idle.looks {
		if err := c.look(); err != nil {
			return nil, err
		}
		if c.missing == 0 {
			break
		}
		spin.Pause(1)
	}
	if c.missing == 0 && len(c.late) == 0 {
		return nil, nil
	}
	r, err := c.begin(len(c.late) + len(c.arrivals))
	if err != nil {
		return nil, err
	}
	r.left[0] += c.missing
	r.catchUp()
	return r, nil
}

// read gives back what was read where it lay.
func (c *call) read() {
	for i := range c.arrivals {
		if a := &c.arrivals[i]; a.slot >= 0 {
			c.m.in[a.peer].ack(a.slot, a.key)
		}
	}
	clear(c.arrivals)
	c.arrivals = c.arrivals[:0]
}

// byRoad looks for messages that came by MPI since the lane was full, and posts their receives. It needs w.mu.
func (r *run) byRoad() error {
	c := r.call
	if c.missing == 0 {
		return nil
	}
	for i := range c.arrivals {
		a := &c.arrivals[i]
		if a.come || a.road != nil {
			continue
		}
		tag := r.w.tagOf(a.label)
		_, found, err := mpi.Iprobe(r.m.comm, a.peer, tag)
		if err != nil {
			return err
		}
		if found {
			a.road = r.room.take(max(a.n, 1))[:a.n]
			r.roads = append(r.roads, a.road)
			r.postLocked(slot{peer: a.peer, arrival: i + 1}, tag, a.road)
			r.left[0]-- // it counted before
		}
	}
	return nil
}

// from is what rank q of the group has sent to a call that waits for all others in the order of neighbours.
func (c *call) from(q int) []byte {
	n := c.m.Size()
	return c.arrivals[(c.m.index+n-q)%n-1].mem
}

// all has f's bytes [0, n) go to everyone, and everyone's come here.
func (c *call) all(f *flat) {
	me, n := c.m.index, c.m.Size()
	for d := 1; d < n; d++ {
		c.say((me+d)%n, c.label(0), f, 0, f.n)
	}
	for d := 1; d < n; d++ {
		c.expect((me+n-d)%n, c.label(0), nil, 0, f.n)
	}
}

// allReduceQuick has everyone add everyone's numbers.
func (c *call) allReduceQuick() (*run, error) {
	c.sign(c.in[0].n)
	c.all(&c.in[0])
	r, err := c.settle()
	if r != nil || err != nil {
		return r, err
	}
	return nil, c.addQuick(nil)
}

func (c *call) addQuick(*run) error {
	f := &c.in[0]
	c.views.sum(c, f, 0, f, 0, f.n, c.from)
	return nil
}

// reduceScatterQuick has everyone add what came for it.
func (c *call) reduceScatterQuick() (*run, error) {
	me, n := c.m.index, c.m.Size()
	c.signLists(c.in)
	for d := 1; d < n; d++ {
		if f := &c.in[(me+d)%n]; f.n > 0 {
			c.say((me+d)%n, c.label(0), f, 0, f.n)
		}
	}
	for d := 1; d < n && c.out[0].n > 0; d++ {
		c.expect((me+n-d)%n, c.label(0), nil, 0, c.out[0].n)
	}
	r, err := c.settle()
	if r != nil || err != nil {
		return r, err
	}
	return nil, c.addMineQuick(nil)
}

func (c *call) addMineQuick(*run) error {
	if n := c.out[0].n; n > 0 {
		c.views.sum(c, &c.in[c.m.index], 0, &c.out[0], 0, n, c.from)
	}
	return nil
}

// allGatherQuick is allGather through lanes.
func (c *call) allGatherQuick() (*run, error) {
	me, n := c.m.index, c.m.Size()
	c.signLists(c.out)
	for d := 1; d < n; d++ {
		if c.in[0].n > 0 {
			c.say((me+d)%n, c.label(0), &c.in[0], 0, c.in[0].n)
		}
		if from := (me + n - d) % n; c.out[from].n > 0 {
			c.expect(from, c.label(0), &c.out[from], 0, c.out[from].n)
		}
	}
	c.out[me].copyFrom(&c.in[0])
	return c.settle()
}

// allToAllQuick is allToAll through lanes.
func (c *call) allToAllQuick() (*run, error) {
	me, n := c.m.index, c.m.Size()
	for d := 1; d < n; d++ {
		from, to := (me+n-d)%n, (me+d)%n
		if f := &c.in[to]; f.n > 0 {
			c.sign(f.n)
			c.say(to, c.label(0), f, 0, f.n)
		}
		if f := &c.out[from]; f.n > 0 {
			c.sign(f.n)
			c.expect(from, c.label(0), f, 0, f.n)
		}
	}
	c.out[me].copyFrom(&c.in[me])
	return c.settle()
}

// exchangeQuick is exchange through lanes.
func (c *call) exchangeQuick() (*run, error) {
	for i, x := range c.messages {
		f, l := &c.in[i], x.label(c.in[i].n)
		switch {
		case f.n == 0:
		case x.send:
			c.say(x.peer, l, f, 0, f.n)
		default:
			c.expect(x.peer, l, f, 0, f.n)
		}
	}
	return c.settle()
}

// label names a message of an Exchange.
func (x message) label(bytes int) label { return label{x.seq, messageTag, uint32(hashInt(0, bytes))} }

// allQuick tells whether all messages of an Exchange go through lanes.
func (c *call) allQuick() bool {
	for i, x := range c.messages {
		if !c.m.near(x.peer, c.in[i].n) {
			return false
		}
	}
	return true
}

// mostBytes is the length of the longest list.
func mostBytes(lists ...[]flat) (most int) {
	for _, list := range lists {
		for i := range list {
			most = max(most, list[i].n)
		}
	}
	return most
}

// tellQuick gives every rank everyone's bytes, in rank order.
func (c *call) tellQuick(mine []byte, f func(q int, b []byte)) error {
	c.in = sized(c.in, 1)
	c.in[0].setBytes(mine)
	c.sign(len(mine))
	c.all(&c.in[0])
	r, err := c.settle()
	if r != nil {
		err = r.wait(0)
		defer func() {
			r.end()
			c.read()
		}()
	}
	if err != nil {
		return err
	}
	for q := range c.m.Size() {
		if q == c.m.index {
			f(q, mine)
		} else {
			f(q, c.from(q))
		}
	}
	if r == nil {
		c.read()
	}
	return nil
}
