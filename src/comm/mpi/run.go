//go:build mpi

package mpi

import (
	"fmt"
	"math/bits"
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
	since  time.Time
	looked time.Time // for messages that do not match
	batch  *mpi.Batch
	slots  []slot
	free   []int
	left   [generations]int // transfers under way
	room   *room
	pause  pause
	polls  int
}

const generations = 4

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
	size := 1 << bits.Len(uint(max(slots, 4)-1))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	var rm *room
	if k := len(w.rooms) - 1; k >= 0 {
		rm, w.rooms = w.rooms[k], w.rooms[:k]
	} else {
		rm = newRoom()
	}
	r := rm.run
	*r = run{w: w, m: m, what: what, name: name, since: time.Now(), room: rm, slots: r.slots[:0], free: r.free[:0]}
	if list := w.batches[size]; len(list) > 0 {
		r.batch, w.batches[size] = list[len(list)-1], list[:len(list)-1]
	} else {
		r.batch = mpi.NewBatch(size)
	}
	r.batch.Use(m.comm)
	for i := size - 1; i >= 0; i-- {
		r.free = append(r.free, i)
	}
	r.slots = append(r.slots, make([]slot, size)...)
	w.running = append(w.running, r)
	return r, nil
}

// end gives back what the run used. After a failure what is under way is given up.
func (r *run) end() {
	w := r.w
	w.mu.Lock()
	if r.batch.Active() > 0 {
		_ = r.batch.Cancel() // the world has ended; there is no more to be said
	}
	w.batches[r.batch.Slots()] = append(w.batches[r.batch.Slots()], r.batch)
	for i, x := range w.running {
		if x == r {
			last := len(w.running) - 1
			w.running[i], w.running[last] = w.running[last], nil
			w.running = w.running[:last]
			break
		}
	}
	r.batch = nil
	clear(r.slots)
	if w.err == nil { // else MPI may still write into it
		w.rooms = append(w.rooms, r.room)
	}
	w.mu.Unlock()
}

// post prepares one transfer of memory that stays in place; to takes a packed message apart when it has come.
func (r *run) post(s slot, tag int, buf []byte) {
	i := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	s.busy, s.bytes, s.tag = true, len(buf), tag
	r.left[s.gen]++
	r.w.mu.Lock()
	r.slots[i] = s
	r.batch.Add(i, s.send, buf, s.peer, tag)
	r.w.mu.Unlock()
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

// poll lets MPI work once and sees to what has ended. It reports whether anything has.
func (r *run) poll() (bool, error) {
	w := r.w
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return false, w.err
	}
	done, err := r.batch.Poll(w.idle.tests)
	for _, d := range done {
		r.slots[d.Slot].busy = false
	}
	if r.polls++; len(done) == 0 && r.polls%64 == 0 {
		if w.hear(); w.err != nil {
			err = w.err
		} else if e := w.checkEnded(r); e != nil {
			err = e
		} else if e := w.unmatched(r); e != nil {
			err = e
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
		progress, err := r.poll()
		if err != nil {
			return err
		}
		if progress {
			r.pause = pause{}
			continue
		}
		r.w.idle.wait(&r.pause)
	}
}

// stream is one message of any length between two ranks, in pieces.
type stream struct {
	send      bool
	peer, tag int
	data      *flat
	lo, hi    int // what is left to post
	flying    int // pieces
}

const (
	messageBytes = 1 << 20 // a piece of a long message
	window       = 4       // pieces of one message under way
)

// feed posts pieces until the window is full.
func (r *run) feed(s *stream) {
	for s.lo < s.hi && s.flying < window {
		hi := min(s.lo+messageBytes, s.hi)
		s.flying++
		r.move(s.send, 0, s.peer, s.tag, s.data, s.lo, hi, s)
		s.lo = hi
	}
}

// flow posts all messages together and waits for them. There are window slots for each. Receives are posted first, so that
// MPI need not store what comes.
func (r *run) flow(list []stream) error {
	for _, send := range []bool{false, true} {
		for i := range list {
			if list[i].send == send {
				r.feed(&list[i])
			}
		}
	}
	return r.wait(0)
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
