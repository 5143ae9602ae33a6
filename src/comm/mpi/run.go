//go:build mpi

package mpi

import (
	"fmt"
	"slices"
	"time"

	"cambium/src/mpi"
	"cambium/src/spin"
)

// run is the transfers of one call while it is under way. Transfers belong to generations, which are waited for by number.
type run struct {
	w      *World
	m      *member
	call   *call
	listed bool      // among w.running, once it has waited for a while
	since  time.Time // from then on
	looked time.Time // for messages that do not match
	*desk
	left  [generations]int // transfers under way
	unfed int              // streams with pieces to post
	room  *room
	roads [][]byte // blocks of the room for what comes by MPI instead of by a lane
	pause pause
	polls int
	crowd bool // other calls of this rank were under way at the last poll
}

const generations = 4

// desk is slots for transfers and what MPI needs for them.
type desk struct {
	batch *mpi.Batch
	slots []slot
	free  []int
}

func newDesk(slots int) *desk {
	d := &desk{batch: mpi.NewBatch(slots), slots: make([]slot, slots)}
	for i := slots - 1; i >= 0; i-- {
		d.free = append(d.free, i)
	}
	return d
}

// slot is one transfer under way.
type slot struct {
	busy   bool
	send   bool
	peer   int
	tag    int
	gen    int
	bytes  int
	packed []byte // where the message lies when it is not in a tensor
	to     *flat  // where a packed message that was received goes, from byte at on
	at     int
	of     *stream
	// arrival is the number, from 1 on, of the call's arrival that comes by MPI.
	arrival int
}

func (r *run) title() string { return r.call.title() }

// begin makes a run with so many slots.
func (c *call) begin(slots int) (*run, error) {
	m, w := c.m, c.m.w
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		return nil, w.err
	}
	var rm *room
	if k := len(w.rooms) - 1; k >= 0 {
		rm, w.rooms = w.rooms[k], w.rooms[:k]
	} else {
		rm = newRoom()
	}
	w.runs++
	d := rm.desk(slots)
	d.batch.Use(m.comm)
	w.mu.Unlock()
	r := rm.run
	r.w, r.m, r.call, r.listed, r.desk, r.left, r.unfed, r.room, r.polls, r.roads = w, m, c, false, d, [generations]int{}, 0, rm, 0, r.roads[:0]
	return r, nil
}

// end gives back what the run used. After a failure what is under way is given up, and MPI may still write into the room.
func (r *run) end() {
	w := r.w
	w.mu.Lock()
	w.runs--
	if r.listed {
		i := slices.Index(w.running, r)
		w.running = slices.Delete(w.running, i, i+1)
	}
	if r.batch.Active() > 0 {
		_ = r.batch.Cancel() // the world has ended; there is no more to be said
	} else {
		for _, b := range r.roads {
			r.room.give(b)
		}
		w.rooms = append(w.rooms, r.room)
	}
	w.mu.Unlock()
}

// list shows the run to Pending. It needs w.mu.
func (r *run) list() {
	if !r.listed {
		r.listed, r.since, r.looked = true, time.Now(), time.Time{}
		r.w.running = append(r.w.running, r)
	}
}

// post prepares one transfer of memory that stays in place; to takes a packed message apart when it has come.
func (r *run) post(s slot, tag int, buf []byte) {
	if r.listed {
		r.w.mu.Lock()
		defer r.w.mu.Unlock()
	}
	r.postLocked(s, tag, buf)
}

// postLocked is post for a caller that has w.mu where the run is listed.
func (r *run) postLocked(s slot, tag int, buf []byte) {
	i := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	s.busy, s.bytes, s.tag = true, len(buf), tag
	r.left[s.gen]++
	r.slots[i] = s
	r.batch.Add(i, s.send, buf, s.peer, tag)
}

// move posts bytes [lo, hi) of f, packed where they do not lie in one piece.
func (r *run) move(send bool, gen, peer, tag int, f *flat, lo, hi int, of *stream) {
	s := slot{send: send, peer: peer, gen: gen, of: of}
	buf := f.direct(lo, hi)
	if buf == nil {
		s.packed = r.room.take(hi - lo)
		buf = s.packed
		if send {
			f.pack(buf, lo)
		} else {
			s.to, s.at = f, lo
		}
	}
	r.post(s, tag, buf)
}

// poll lets MPI work for a while and sees to what has ended; with all, everything that is under way is waited for. It reports
// whether anything has ended.
func (r *run) poll(all bool) (bool, error) {
	w, missing := r.w, r.call.missing
	r.peek()
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return false, w.err
	}
	r.crowd = w.runs > 1
	if err := r.look(); err != nil {
		w.mu.Unlock()
		return false, err
	}
	done, err := r.batch.Poll(w.idle.tests(r.pause.polls, w.runs), all)
	for _, d := range done {
		r.slots[d.Slot].busy = false
	}
	progress := len(done) > 0 || r.call.missing < missing
	if !progress && err == nil {
		r.list()
		if r.polls++; r.polls%64 == 0 {
			err = r.news()
		}
		if err == nil {
			err = r.byRoad()
		}
	}
	for _, d := range done {
		if i := r.slots[d.Slot].arrival; i > 0 && d.Err == nil {
			r.call.arrived(&r.call.arrivals[i-1], r.call.arrivals[i-1].road)
		}
	}
	w.mu.Unlock()
	for _, d := range done {
		s := &r.slots[d.Slot]
		if e := s.check(d); e != nil {
			return true, fmt.Errorf("comm: %s: rank %d: %w", r.title(), r.m.ranks[s.peer], e)
		}
		if s.to != nil {
			s.to.unpack(s.packed, s.at)
		}
		if s.packed != nil {
			r.room.give(s.packed)
		}
		r.left[s.gen]--
		r.free = append(r.free, d.Slot)
		if of := s.of; of != nil {
			of.flying--
			r.feed(of)
		}
	}
	return progress, err
}

// peek waits for a moment for what comes through lanes, where MPI has nothing to do meanwhile.
func (r *run) peek() {
	for i := 0; r.call.missing > 0 && !r.call.hasCome() && r.batch.Active() == 0 && i < r.w.idle.looks/4; i++ {
		spin.Pause(1)
	}
}

// look sees to what has come through lanes. It needs w.mu.
func (r *run) look() error {
	missing := r.call.missing
	if missing == 0 {
		return nil
	}
	err := r.call.look()
	r.left[0] -= missing - r.call.missing
	return err
}

// news looks for reasons why what r waits for may never come. It needs w.mu.
func (r *run) news() error {
	w := r.w
	if w.hear(); w.err != nil {
		return w.err
	}
	if err := w.checkEnded(r); err != nil {
		return err
	}
	return w.unmatched(r)
}

// check finds messages that are not what was agreed.
func (s *slot) check(d mpi.Done) error {
	if d.Err != nil {
		return d.Err
	}
	if !s.send && d.Bytes != s.bytes {
		return fmt.Errorf("sent %d bytes where %d were expected: the ranks' calls do not match", d.Bytes, s.bytes)
	}
	return nil
}

// wait polls until nothing of the generations is under way.
func (r *run) wait(gens ...int) error {
	r.pause = pause{}
	for {
		open := 0
		for _, g := range gens {
			open += r.left[g]
		}
		if open == 0 {
			return nil
		}
		// For a call that hangs, Pending must know who has answered.
		all := open == r.batch.Active() && r.unfed == 0 && r.pause.polls < brieflyPolls
		progress, err := r.poll(all)
		if err != nil {
			return err
		}
		if progress {
			r.pause = pause{}
			continue
		}
		r.w.idle.wait(&r.pause, r.crowd)
	}
}

// brieflyPolls bounds how long a call waits on the caller: about 100 microseconds, less than it takes to wake up a worker and
// then whoever waits for it.
const brieflyPolls = 60

// waitBriefly is wait for everything that gives up soon. It reports whether everything has ended.
func (r *run) waitBriefly() (bool, error) {
	r.pause = pause{}
	for range min(brieflyPolls, r.w.idle.spins+r.w.idle.yields) { // without naps
		if r.left[0] == 0 {
			return true, nil
		}
		progress, err := r.poll(r.call.missing == 0)
		if err != nil {
			return true, err
		}
		if !progress {
			r.w.idle.wait(&r.pause, r.crowd)
		}
	}
	return r.left[0] == 0, nil
}

// stream is one message of any length between two ranks, in pieces.
type stream struct {
	send      bool
	peer, tag int
	data      *flat
	lo, hi    int // what is left to post
	flying    int // pieces
	piece     int // bytes
	window    int // pieces under way
}

const (
	messageBytes = 4 << 20 // a piece of a long message
	window       = 2       // pieces of one message under way
)

// sizes says how messages are cut: of those of at most short bytes that are longer than MPI sends at once, all pieces are
// under way together.
type sizes struct{ piece, short int }

// pieces is in how many pieces a message of n bytes goes, at most, at one time.
func (z sizes) pieces(n int) int {
	if n <= z.short {
		return max((n+z.piece-1)/z.piece, 1)
	}
	return window
}

// of is how long they are.
func (z sizes) of(n int) int {
	if n <= z.short {
		return z.piece
	}
	return messageBytes
}

// catchUp sends by MPI what found no free slot in a lane.
func (r *run) catchUp() {
	c := r.call
	for _, d := range c.late {
		r.move(true, 0, d.peer, r.w.tagOf(d.label), d.f, d.lo, d.lo+d.n, nil)
	}
	clear(c.late)
	c.late = c.late[:0]
}

// cutPost posts a message of at most messageBytes, or its receive.
func (r *run) cutPost(z sizes, s slot, tag int, buf []byte) {
	step := z.of(len(buf))
	for ; len(buf) > step; buf = buf[step:] {
		r.post(s, tag, buf[:step])
	}
	r.post(s, tag, buf)
}

// feed posts pieces until the window is full.
func (r *run) feed(s *stream) {
	for s.lo < s.hi && s.flying < s.window {
		hi := min(s.lo+s.piece, s.hi)
		s.flying++
		r.move(s.send, 0, s.peer, s.tag, s.data, s.lo, hi, s)
		if s.lo = hi; s.lo == s.hi {
			r.unfed--
		}
	}
}

// flow posts all messages together, in generation 0. There are window slots for each. Receives are posted first, so that MPI
// need not store what comes.
func (r *run) flow(list []stream) {
	r.catchUp()
	r.unfed = len(list)
	for _, send := range [2]bool{false, true} {
		for i := range list {
			if list[i].send == send {
				r.feed(&list[i])
			}
		}
	}
}
