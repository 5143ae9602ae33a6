//go:build mpi

package mpi

import (
	"math/bits"
	"time"

	"cambium/src/mpi"
)

// Tags: the kind of transfer in the lowest bits, the number of the call or message above, and above these, as far as the MPI's
// tags reach beyond the 15 bits of the standard, a checksum of the call: calls that do not match never meet, and unmatched
// finds them. Far fewer calls of a group are under way at once than there are numbers, and between two ranks messages with
// one tag keep their order.
const (
	tagKinds   = 4
	messageTag = 2
	tagNumbers = 1 << 13
	tagMarks   = tagKinds * tagNumbers
)

func (w *World) tag(seq, kind int, mark uint32) int {
	return seq%tagNumbers*tagKinds + kind + int(mark)%w.marks*tagMarks
}

// sign sets the mark from what the ranks of a call must have in common: it, and a number.
func (c *call) sign(number int) {
	h := hashText(hashText(uint64(c.op)<<16|uint64(c.dtype)<<8|uint64(c.root)<<32, c.what), c.name)
	h = hashInt(h, number)
	c.mark = uint32(h ^ h>>32)
}

// signLists is sign of the sizes of lists.
func (c *call) signLists(lists []flat) {
	h := uint64(0)
	for i := range lists {
		h = hashInt(h, lists[i].n)
	}
	c.sign(int(h))
}

// hashText mixes a text into h, eight bytes at a time, hashInt a number: the two halves of a long product, as in wyhash.
func hashText(h uint64, text string) uint64 {
	h = hashInt(h, len(text))
	for len(text) >= 8 {
		h = hashInt(h, int(word(text[:8])))
		text = text[8:]
	}
	return hashInt(h, int(word(text)))
}

// word is at most eight bytes as a number.
func word(text string) (w uint64) {
	for i := range len(text) {
		w |= uint64(text[i]) << (8 * i)
	}
	return w
}

func hashInt(h uint64, n int) uint64 {
	const odd, other = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	hi, lo := bits.Mul64(h^odd, uint64(n)^other)
	return hi ^ lo
}

// mismatchAfter is how long a call waits before it looks for messages that it does not understand.
const mismatchAfter = time.Second

// unmatched looks, in a call that has waited for long, for a message of the same number and kind from a rank that it waits
// for, but with another mark: that rank makes another call. It needs w.mu.
func (w *World) unmatched(r *run) error {
	if w.marks == 1 || time.Since(r.since) < mismatchAfter || time.Since(r.looked) < mismatchAfter {
		return nil
	}
	r.looked = time.Now()
	for _, s := range r.slots {
		if s.busy && !s.send && (w.onRoad(r.m, s.peer, s.tag) || r.m.inLane(s.peer, s.tag)) {
			return r.call.mismatch(s.peer)
		}
	}
	for i := range r.call.arrivals {
		if a := &r.call.arrivals[i]; !a.come && a.road == nil && w.onRoad(r.m, a.peer, w.tagOf(a.label)) {
			return r.call.mismatch(a.peer)
		}
	}
	return nil
}

// onRoad tells whether a message of peer's waits at MPI that has the number and the kind of tag, but another mark.
func (w *World) onRoad(m *member, peer, tag int) bool {
	found, any, err := mpi.Iprobe(m.comm, peer, mpi.Any)
	return err == nil && any && found.Tag != tag && found.Tag%tagMarks == tag%tagMarks
}

// inLane tells whether a message of peer's with the number and the kind of tag has come through the lane, which is for shorter ones.
func (m *member) inLane(peer, tag int) (found bool) {
	if l := m.in[peer]; l != nil {
		l.unread(func(key uint64) { found = found || m.sameCall(key, tag) })
	}
	return found
}
