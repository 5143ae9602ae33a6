//go:build mpi

package mpi

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"cambium/src/comm"
	"cambium/src/mpi"
)

// blocks are equally long messages of all ranks, each behind a checksum of the call.
type blocks struct {
	all    []byte
	stride int
	n      int
	front  int    // bytes before a message
	head   int    // of them the checksum: 8 or 0
	sum    uint64 // the checksum of this rank's call
	own    []byte // this rank's message where it is sent from its place
}

// shortBytes is up to which length a message has its checksum with it; the tags of longer ones have it, which would else
// outgrow by 8 bytes what MPIs send at once.
const shortBytes = 1 << 10

// of is rank q's.
func (b *blocks) of(q int) []byte { return b.all[q*b.stride+b.front:][:b.n] }

// span is rank q's with its checksum.
func (b *blocks) span(q int) []byte { return b.all[q*b.stride+b.front-b.head:][:b.head+b.n] }

// spanBytes is how long a block of n bytes is with its checksum.
func spanBytes(n int) int {
	if n <= shortBytes {
		return n + 8
	}
	return n
}

// offer makes room for everyone's n bytes and puts this rank's there, which are f's; with inPlace they may also stay where they
// are, untouched until they have been sent.
func (c *call) offer(r *run, n int, f *flat, inPlace bool) {
	c.sign(n)
	b := &c.blocks
	*b = blocks{n: n, front: align, stride: align + (n+align-1)/align*align, sum: uint64(c.mark)}
	b.all = r.room.take(c.m.Size() * b.stride)
	if inPlace && n > shortBytes { // the tag has the checksum
		if b.own = f.direct(0, n); b.own != nil {
			return
		}
	}
	f.pack(b.of(c.m.index), 0)
	if n <= shortBytes { // the checksum travels in the message, where a mismatch shows at once
		b.head, c.mark = 8, 0
		binary.LittleEndian.PutUint64(b.span(c.m.index), b.sum)
	}
}

// check compares everyone's checksums.
func (c *call) check(r *run) error {
	b := &c.blocks
	for q := range c.m.Size() {
		if b.head > 0 && binary.LittleEndian.Uint64(b.span(q)) != b.sum {
			return fmt.Errorf("comm: calls do not match: rank %d makes %s of %d bytes, rank %d makes another call", c.m.rank(), r.title(), b.n, c.m.ranks[q])
		}
	}
	return nil
}

// direct sends this rank's block to all others. The checksum and the message go together.
func (r *run) direct(c *call) {
	size, me, b := c.m.Size(), c.m.index, &c.blocks
	for d := 1; d < size; d++ {
		from := (me + size - d) % size
		r.cutPost(r.w.cutSums, slot{peer: from}, c.tag(0), b.span(from))
	}
	own := b.own
	if own == nil {
		own = b.span(me)
	}
	for d := 1; d < size; d++ {
		r.cutPost(r.w.cutSums, slot{send: true, peer: (me + d) % size}, c.tag(0), own)
	}
}

// bruck gives every rank all blocks in log2 steps (Bruck's algorithm): in each step the blocks known so far go on, so that
// their number doubles. It works in memory in which this rank's block comes first, and turns it at the end.
func (r *run) bruck(c *call) error {
	size, me, b := c.m.Size(), c.m.index, &c.blocks
	turned := r.room.take(len(b.all))
	defer r.room.give(turned)
	copy(turned[:b.stride], b.all[me*b.stride:])
	for have := 1; have < size; have *= 2 {
		k := min(have, size-have)
		r.post(slot{peer: (me + have) % size}, c.tag(0), turned[have*b.stride:][:k*b.stride])
		r.post(slot{send: true, peer: (me - have + size) % size}, c.tag(0), turned[:k*b.stride])
		if err := r.wait(0); err != nil {
			return err
		}
	}
	for i := range size {
		copy(b.all[(me+i)%size*b.stride:][:b.stride], turned[i*b.stride:])
	}
	return nil
}

// exchangeSmall gives every rank everyone's bytes, at once in small groups and in log2 steps in large ones: f sees them in
// the order of ranks.
func (c *call) exchangeSmall(mine []byte, f func(q int, b []byte)) error {
	if c.quick(len(mine), c.m.w.board.limit) {
		return c.tellQuick(mine, f)
	}
	r, err := c.begin(2 * c.m.Size() * c.m.w.cutSums.pieces(spanBytes(len(mine))))
	if err != nil {
		return err
	}
	defer r.end()
	var own flat
	own.setBytes(mine)
	c.offer(r, len(mine), &own, false)
	if c.m.Size() <= c.m.w.few {
		r.direct(c)
		err = r.wait(0)
	} else {
		err = r.bruck(c)
	}
	if err == nil {
		err = c.check(r)
	}
	if err != nil {
		return err
	}
	for q := range c.m.Size() {
		f(q, c.blocks.of(q))
	}
	r.room.give(c.blocks.all)
	return nil
}

// Reduce combines in rank order: every rank adds the same numbers itself.
func (m *member) Reduce(name string, op comm.Op, values []float64) error {
	c := m.call("reduce", name)
	c.op = op
	mine := make([]byte, 0, 8*len(values))
	for _, v := range values {
		mine = binary.LittleEndian.AppendUint64(mine, math.Float64bits(v))
	}
	return c.control(func() error {
		x := make([]float64, len(values))
		return c.exchangeSmall(mine, func(q int, b []byte) {
			for i := range x {
				x[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
			}
			combineHost(op, values, x, q == 0)
		})
	})
}

// Gather tells the sizes first.
func (m *member) Gather(name string, mine []byte) ([][]byte, error) {
	c := m.call("gather", name)
	all := make([][]byte, m.Size())
	err := c.control(func() error {
		err := c.exchangeSmall(binary.LittleEndian.AppendUint64(nil, uint64(len(mine))), func(q int, b []byte) {
			all[q] = make([]byte, binary.LittleEndian.Uint64(b))
		})
		if err != nil {
			return err
		}
		c.in, c.out = sized(c.in, 1), sized(c.out, m.Size())
		c.in[0].setBytes(mine)
		for q := range all {
			c.out[q].setBytes(all[q])
		}
		c.kind, c.work = 1, work{first: (*call).allGather}
		_, err = c.whole()
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Barrier waits for all.
func (m *member) Barrier(name string) error {
	c := m.call("barrier", name)
	return c.control(func() error { return c.exchangeSmall(nil, func(int, []byte) {}) })
}

// Split first learns what all want, without MPI's own collective, so that a rank that comes late holds up nobody's streams;
// then all are there, and MPI makes the communicators at once.
func (m *member) Split(name string, color, key int) (comm.Communicator, error) {
	c := m.call("split", name)
	mine := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(color)), uint64(key))
	mine = binary.LittleEndian.AppendUint64(mine, m.w.nextContext())
	type place struct {
		color, key, index int
		context           uint64 // of a group in which it is the first
	}
	var all []place
	var made comm.Communicator
	err := c.control(func() error {
		err := c.exchangeSmall(mine, func(q int, b []byte) {
			all = append(all, place{int(binary.LittleEndian.Uint64(b)), int(binary.LittleEndian.Uint64(b[8:])), q, binary.LittleEndian.Uint64(b[16:])})
		})
		if err != nil {
			return err
		}
		slices.SortStableFunc(all, func(a, b place) int { return cmp.Or(cmp.Compare(a.color, b.color), cmp.Compare(a.key, b.key)) })
		var ranks []int
		first, at := 0, 0 // of this rank's group; this rank, in all
		for i, p := range all {
			if p.color == color {
				if ranks = append(ranks, m.ranks[p.index]); len(ranks) == 1 {
					first = i
				}
			}
			if p.index == m.index {
				at = i
			}
		}
		m.w.mu.Lock()
		defer m.w.mu.Unlock()
		var sub mpi.Comm
		if sub, err = m.comm.Split(first, at); err != nil {
			return fmt.Errorf("comm: %s: %w", c.title(), err)
		}
		made = newMember(m.w, sub, ranks, all[first].context)
		return nil
	})
	return made, err
}
