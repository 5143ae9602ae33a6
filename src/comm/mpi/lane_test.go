//go:build mpi

package mpi

import "testing"

func bytesOf(b []byte) *flat {
	f := &flat{}
	f.setBytes(b)
	return f
}

// TestALaneKeepsMessagesApart fills a lane, reads in another order than was written, and goes round many times.
func TestALaneKeepsMessagesApart(t *testing.T) {
	const limit = 256
	mem := make([]byte, laneBytes(limit))
	w, r := newLane(mem, limit), newLane(mem, limit)
	key := func(i int) uint64 { return 1 | uint64(i)<<1 }
	long := func(i int) []byte { // some in the head, some behind
		b := make([]byte, []int{0, 1, smallest, smallest + 1, limit}[i%5])
		for k := range b {
			b[k] = byte(i + k)
		}
		return b
	}
	put := func(i int) bool { b := long(i); return w.put(key(i), uint32(i), bytesOf(b), 0, len(b)) }
	next := 0
	for ; next < laneSlots; next++ {
		if !put(next) {
			t.Fatalf("no slot for message %d", next)
		}
	}
	waiting := []int{}
	for i := range next {
		waiting = append(waiting, i)
	}
	for round := range 1000 {
		if put(next) {
			t.Fatal("a slot for one message more than there are slots")
		}
		if r.find(key(next)) >= 0 {
			t.Fatal("a message was found that nobody has sent")
		}
		pick := round * 5 % len(waiting)
		i := waiting[pick]
		slot := r.find(key(i))
		if slot < 0 || r.heads[slot].mark != uint32(i) || string(r.at(slot, int(r.heads[slot].n))) != string(long(i)) {
			t.Fatalf("message %d is in slot %d, as others have it", i, slot)
		}
		r.ack(slot, key(i))
		unread := 0
		r.unread(func(uint64) { unread++ })
		if unread != laneSlots-1 {
			t.Fatalf("%d messages unread, want %d", unread, laneSlots-1)
		}
		if !put(next) {
			t.Fatalf("no slot for message %d after one was read", next)
		}
		waiting[pick] = next
		next++
	}
}

// TestKeysTellMessagesApart: number, kind and group are all in them.
func TestKeysTellMessagesApart(t *testing.T) {
	w := &World{marks: 1000}
	seen := map[uint64]bool{}
	for _, context := range []uint64{0, 1, contextsEach, 1<<contextBits - 1} {
		m := &member{w: w, context: context}
		for _, seq := range []int{0, 1, tagNumbers, 1 << 30} {
			for kind := range tagKinds {
				key := m.key(seq, kind)
				if seen[key] || key == 0 {
					t.Fatalf("key %x twice", key)
				}
				seen[key] = true
				if !m.sameCall(key, w.tag(seq, kind, 77)) || m.sameCall(key, w.tag(seq+1, kind, 77)) || m.sameCall(key, w.tag(seq, (kind+1)%tagKinds, 77)) {
					t.Errorf("key %x is taken for another message", key)
				}
				if other := (&member{w: w, context: context ^ 1}); other.sameCall(key, w.tag(seq, kind, 77)) {
					t.Errorf("key %x is taken for another group's", key)
				}
			}
		}
	}
}

// TestBoardsStaySmall: with more ranks slots are shorter, and there is an end.
func TestBoardsStaySmall(t *testing.T) {
	last := longestLane
	for n := 2; n < 1000; n++ {
		limit := laneLimit(n)
		if limit > last || n*n*laneBytes(limit) > boardBytes && limit > 0 {
			t.Fatalf("%d ranks: slots of %d bytes, with %d in all", n, limit, n*n*laneBytes(limit))
		}
		last = limit
	}
	if laneLimit(8) != longestLane || last != 0 {
		t.Errorf("8 ranks have slots of %d bytes, 999 ranks of %d", laneLimit(8), last)
	}
}
