//go:build mpi

package mpi

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"cambium/src/spin"
)

// lane is how short messages go from one rank to another of its node: slots in memory that both see. The writer fills a free
// slot and then stores the message's key in the slot's head, the reader looks through the heads for the key that it waits for,
// and stores the key among the acks when it has read the message. Slots are free in any order, so that a message which nobody
// wants yet holds up no other; where none is, the message goes by MPI, and the reader looks there too.
//
// In memory: a line of acks, which the reader writes; then slots, each a head of one line, which holds messages of at most
// smallest bytes too, and the bytes of a longer one.
type lane struct {
	acks  *[laneSlots]uint64
	heads [laneSlots]*head
	bytes [laneSlots][]byte

	mu   sync.Mutex // of the writer: several of its streams may have something to say
	free uint32     // slots known to be free, a bit each; acks are read only when there are none
	last [laneSlots]uint64
}

const (
	laneSlots = 8
	headBytes = 64
	ackBytes  = 128 // a line, and the one that processors fetch with it
	smallest  = headBytes - 16
)

// head is the first line of a slot.
type head struct {
	key   uint64 // stored last
	mark  uint32 // checksum of the call
	n     uint32 // bytes
	small [smallest]byte
}

// laneBytes is the memory of a lane for messages of at most limit bytes, a multiple of a line.
func laneBytes(limit int) int { return ackBytes + laneSlots*(headBytes+limit) }

// newLane is a lane in memory that was zero when the node's ranks got it.
func newLane(mem []byte, limit int) *lane {
	l := &lane{acks: (*[laneSlots]uint64)(unsafe.Pointer(&mem[0])), free: 1<<laneSlots - 1}
	for i := range laneSlots {
		slot := mem[ackBytes+i*(headBytes+limit):][:headBytes+limit]
		l.heads[i], l.bytes[i] = (*head)(unsafe.Pointer(&slot[0])), slot[headBytes:]
	}
	return l
}

// put writes bytes [lo, lo+n) of f as one message. It reports whether there was a free slot.
func (l *lane) put(key uint64, mark uint32, f *flat, lo, n int) bool {
	l.mu.Lock()
	if l.free == 0 && !l.freed() {
		l.mu.Unlock()
		return false
	}
	i := bits.TrailingZeros32(l.free)
	l.free &^= 1 << i
	l.last[i] = key
	h := l.heads[i]
	h.mark, h.n = mark, uint32(n)
	if n > 0 {
		f.pack(l.at(i, n), lo)
	}
	spin.Release(&h.key, key)
	l.mu.Unlock()
	return true
}

// freed reads which slots have been read. It needs l.mu.
func (l *lane) freed() bool {
	for i := range l.acks {
		if atomic.LoadUint64(&l.acks[i]) == l.last[i] {
			l.free |= 1 << i
		}
	}
	return l.free != 0
}

// at is where the n bytes of the message in slot i lie.
func (l *lane) at(i, n int) []byte {
	if n <= smallest {
		return l.heads[i].small[:n:n]
	}
	return l.bytes[i][:n:n]
}

// find is the slot with the message of that key, or -1.
func (l *lane) find(key uint64) int {
	for i, h := range l.heads {
		if atomic.LoadUint64(&h.key) == key {
			return i
		}
	}
	return -1
}

// ack gives slot i back, whose message had that key.
func (l *lane) ack(i int, key uint64) { spin.Release(&l.acks[i], key) }

// unread calls f with the keys of messages that nobody has read.
func (l *lane) unread(f func(key uint64)) {
	for i, h := range l.heads {
		if key := atomic.LoadUint64(&h.key); key != atomic.LoadUint64(&l.acks[i]) {
			f(key)
		}
	}
}

// A key names one message among all that are under way between two ranks: a bit that is always set, the message's kind, the
// group, and the number of the call or message.
const (
	kindShift    = 1
	contextShift = kindShift + 2
	numberShift  = contextShift + contextBits
)

// A group's context names it among all groups that exist at a time: its first rank, and that rank's own number for it.
const (
	contextBits  = 28
	contextsEach = 1 << 12        // groups with one first rank
	mostRanks    = 1 << (28 - 12) // in a world that has lanes
)

func (m *member) key(seq, kind int) uint64 {
	return 1 | uint64(kind)<<kindShift | m.context<<contextShift | uint64(seq)<<numberShift
}

// sameCall tells whether the message with that key belongs to the call or message that a tag of MPI's belongs to.
func (m *member) sameCall(key uint64, tag int) bool {
	const number = 1<<(64-numberShift) - 1
	seq, kind := key>>numberShift&number, key>>kindShift&(tagKinds-1)
	return key>>contextShift&(1<<contextBits-1) == m.context && int(seq%tagNumbers)*tagKinds+int(kind) == tag%tagMarks
}
