//go:build mpi

package mpi

import (
	"fmt"
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

// sign sets the mark from what the ranks of a call must have in common.
func (c *call) sign(sizes ...int) {
	h := hashText(hashText(2166136261, c.what), c.name)
	h = hashInt(hashInt(hashInt(h, int(c.op)), int(c.dtype)), c.root)
	for _, n := range sizes {
		h = hashInt(h, n)
	}
	c.mark = h ^ h>>16
}

// signLists is sign of the sizes of lists.
func (c *call) signLists(lists []flat) {
	h := uint32(0)
	for i := range lists {
		h = hashInt(h, lists[i].n)
	}
	c.sign(int(h))
}

// The FNV-1a hash (Fowler, Noll, Vo), of a text and of numbers.
func hashText(h uint32, text string) uint32 {
	for i := range len(text) {
		h = (h ^ uint32(text[i])) * 16777619
	}
	return h
}

func hashInt(h uint32, n int) uint32 {
	for range 4 {
		h = (h ^ uint32(n&0xff)) * 16777619
		n >>= 8
	}
	return h
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
		if !s.busy || s.send {
			continue
		}
		found, any, err := mpi.Iprobe(r.m.comm, s.peer, mpi.Any)
		if err == nil && any && found.Tag != s.tag && found.Tag%tagMarks == s.tag%tagMarks {
			return fmt.Errorf("comm: calls do not match: rank %d makes %s, rank %d makes another call, or one of another size",
				w.base.Rank(), r.title(), r.m.ranks[s.peer])
		}
	}
	return nil
}
