//go:build mpi

package mpi

import (
	"fmt"
	"slices"
	"time"

	"cambium/src/mpi"
	"cambium/src/tensor"
)

// run is the transfers of one call while it is under way. Transfers belong to generations, which are waited for by number.
type run struct {
	w      *World
	m      *member
	what   string // "all-reduce"
	name   string
	listed bool      // among w.running, once it has waited for a while
	since  time.Time // from then on
	looked time.Time // for messages that do not match
	*desk
	left  [generations]int // transfers under way
	unfed int              // streams with pieces to post
	room  *room
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
}

func (r *run) title() string { return fmt.Sprintf("%s %q", r.what, r.name) }

// begin makes a run with so many slots.
func (m *member) begin(what, name string, slots int) (*run, error) {
	w := m.w
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
	r.w, r.m, r.what, r.name, r.listed, r.desk, r.left, r.unfed, r.room, r.polls = w, m, what, name, false, d, [generations]int{}, 0, rm, 0
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
	w := r.w
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return false, w.err
	}
	r.crowd = w.runs > 1
	done, err := r.batch.Poll(w.idle.tests(r.pause.polls, w.runs), all)
	for _, d := range done {
		r.slots[d.Slot].busy = false
	}
	if len(done) == 0 && err == nil {
		r.list()
		if r.polls++; r.polls%64 == 0 {
			err = r.news()
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
	return len(done) > 0, err
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
		if r.batch.Active() == 0 {
			return true, nil
		}
		if progress, err := r.poll(true); err != nil || progress {
			return progress, err
		}
		r.w.idle.wait(&r.pause, r.crowd)
	}
	return false, nil
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
	r.unfed = len(list)
	for _, send := range [2]bool{false, true} {
		for i := range list {
			if list[i].send == send {
				r.feed(&list[i])
			}
		}
	}
}

// view is b as a vector of numbers, in the i-th of the room's headers.
func (r *run) view(i int, b []byte, d tensor.DType) tensor.Tensor {
	for len(r.room.memories) <= i {
		r.room.memories = append(r.room.memories, &tensor.Memory{})
	}
	m := r.room.memories[i]
	*m = tensor.Memory{Host: b, Bytes: len(b)}
	return tensor.New(m, 0, d, len(b)/d.Size())
}
