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
	head   int // bytes of checksum before a message: 8 or 0
}

// shortBytes is up to which length a message has its checksum with it; the tags of longer ones have it, which would else
// outgrow by 8 bytes what MPIs send at once.
const shortBytes = 1 << 10

// of is rank q's.
func (b *blocks) of(q int) []byte { return b.all[q*b.stride+align:][:b.n] }

// everyone gives every rank everyone's n bytes, at once in small groups, in log2 steps in large ones (Bruck's algorithm:
// in each step the blocks known so far go on, so that their number doubles). fill writes this rank's.
func (r *run) everyone(c *call, n int, fill func(b []byte)) (blocks, error) {
	size, me := c.m.Size(), c.m.index
	b := blocks{stride: align + (n+align-1)/align*align, n: n}
	b.all = r.room.take(size * b.stride)
	own := b.all[me*b.stride:][:b.stride]
	fill(own[align:][:n])
	c.sign(n)
	sum, err := uint64(c.mark), error(nil)
	if n <= shortBytes { // the checksum travels in the message, where a mismatch shows at once
		b.head, c.mark = 8, 0
		binary.LittleEndian.PutUint64(own[align-8:], sum)
	}
	if size <= r.w.few {
		err = r.direct(c, &b)
	} else {
		err = r.bruck(c, &b)
	}
	if err != nil {
		return b, err
	}
	for q := range size {
		if b.head > 0 && binary.LittleEndian.Uint64(b.all[q*b.stride+align-8:]) != sum {
			return b, c.m.fail(fmt.Errorf("comm: calls do not match: rank %d makes %s of %d bytes, rank %d makes another call", c.m.rank(), r.title(), n, c.m.ranks[q]))
		}
	}
	return b, nil
}

// direct sends this rank's block to all others. The checksum and the message go together.
func (r *run) direct(c *call, b *blocks) error {
	size, me := c.m.Size(), c.m.index
	span := func(q int) []byte { return b.all[q*b.stride+align-b.head:][:b.head+b.n] }
	for d := 1; d < size; d++ {
		from := (me + size - d) % size
		r.post(slot{peer: from}, c.tag(0), span(from))
	}
	for d := 1; d < size; d++ {
		r.post(slot{send: true, peer: (me + d) % size}, c.tag(0), span(me))
	}
	return r.wait(0)
}

// bruck works in memory in which this rank's block comes first, and turns it at the end.
func (r *run) bruck(c *call, b *blocks) error {
	size, me := c.m.Size(), c.m.index
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

// exchangeSmall is everyone for the control plane: f sees everyone's bytes, in the order of ranks.
func (c *call) exchangeSmall(mine []byte, f func(q int, b []byte)) error {
	r, err := c.begin(2 * c.m.Size())
	if err != nil {
		return err
	}
	defer r.end()
	b, err := r.everyone(c, len(mine), func(own []byte) { copy(own, mine) })
	if err != nil {
		return err
	}
	for q := range c.m.Size() {
		f(q, b.of(q))
	}
	r.room.give(b.all)
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
	return c.run(func() error {
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
	err := c.run(func() error {
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
		return c.allGather()
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Barrier waits for all.
func (m *member) Barrier(name string) error {
	c := m.call("barrier", name)
	return c.run(func() error { return c.exchangeSmall(nil, func(int, []byte) {}) })
}

// Split first learns what all want, without MPI's own collective, so that a rank that comes late holds up nobody's streams;
// then all are there, and MPI makes the communicators at once.
func (m *member) Split(name string, color, key int) (comm.Communicator, error) {
	c := m.call("split", name)
	mine := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(color)), uint64(key))
	type place struct{ color, key, index int }
	var all []place
	var made comm.Communicator
	err := c.run(func() error {
		err := c.exchangeSmall(mine, func(q int, b []byte) {
			all = append(all, place{int(binary.LittleEndian.Uint64(b)), int(binary.LittleEndian.Uint64(b[8:])), q})
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
		made = newMember(m.w, sub, ranks)
		return nil
	})
	return made, err
}
