package tokenizer

import (
	"math"
	"math/bits"
)

// noRank marks a pair that is not merged.
const noRank = math.MaxInt32

// pairTable maps a pair of ids to the rank of its merge and the id it becomes: open addressing with linear probing over a
// power of two of slots, at most half full.
type pairTable struct {
	slots []pairSlot
	shift uint
	n     int
}

type pairSlot struct {
	left, right int32 // left is -1 in an empty slot
	rank, id    int32
}

func newPairTable(n int) *pairTable {
	size := bits.Len(uint(max(2*n, 16) - 1))
	t := &pairTable{slots: make([]pairSlot, 1<<size), shift: uint(64 - size)}
	for i := range t.slots {
		t.slots[i].left = -1
	}
	return t
}

func (t *pairTable) slot(left, right int32) *pairSlot {
	// Fibonacci hashing: the golden ratio's bits spread neighbouring ids.
	i := (uint64(uint32(left))<<32 | uint64(uint32(right))) * 0x9E3779B97F4A7C15 >> t.shift
	for {
		s := &t.slots[i]
		if s.left == left && s.right == right || s.left < 0 {
			return s
		}
		i = (i + 1) & uint64(len(t.slots)-1)
	}
}

// add enters a merge; a pair that is there already keeps its lower rank.
func (t *pairTable) add(left, right, rank, id int32) {
	s := t.slot(left, right)
	if s.left >= 0 {
		return
	}
	*s = pairSlot{left, right, rank, id}
	t.n++
}

func (t *pairTable) find(left, right int32) (rank, id int32) {
	if s := t.slot(left, right); s.left >= 0 {
		return s.rank, s.id
	}
	return noRank, 0
}

// shortPiece is the longest piece merged by looking through all its pairs each time: quadratic, but quickest while
// everything lies in two cache lines.
const shortPiece = 48

// merger is the working memory of merging one piece; a goroutine has its own.
type merger struct {
	ranks []int32 // of the pair (i, i+1)
	into  []int32 // the id that pair becomes
	prev  []int32 // neighbours in a long piece
	next  []int32
	heap  []heapPair
}

// merge joins ids in place, lowest rank first, leftmost first among equals, and returns what is left of them.
func (m *merger) merge(ids []int32, pairs *pairTable) []int32 {
	if len(ids) > shortPiece {
		return m.mergeLong(ids, pairs)
	}
	m.ranks, m.into = m.ranks[:0], m.into[:0]
	for i := 0; i+1 < len(ids); i++ {
		rank, id := pairs.find(ids[i], ids[i+1])
		m.ranks, m.into = append(m.ranks, rank), append(m.into, id)
	}
	ranks, into := m.ranks, m.into
	for len(ranks) > 0 {
		best, at := int32(noRank), 0
		for i, r := range ranks {
			if r < best {
				best, at = r, i
			}
		}
		if best == noRank {
			break
		}
		ids[at] = into[at]
		ids = append(ids[:at+1], ids[at+2:]...)
		ranks = append(ranks[:at], ranks[at+1:]...)
		into = append(into[:at], into[at+1:]...)
		if at < len(ranks) {
			ranks[at], into[at] = pairs.find(ids[at], ids[at+1])
		}
		if at > 0 {
			ranks[at-1], into[at-1] = pairs.find(ids[at-1], ids[at])
		}
	}
	return ids
}

// heapPair is a pair that could be merged: its rank, its left place, and its ids, by which a stale entry is known.
type heapPair struct {
	rank, at    int32
	left, right int32
	id          int32
}

func (p heapPair) before(q heapPair) bool { return p.rank < q.rank || p.rank == q.rank && p.at < q.at }

// mergeLong is merge with a heap of pairs over a linked list: n log n for a piece of n bytes.
func (m *merger) mergeLong(ids []int32, pairs *pairTable) []int32 {
	n := int32(len(ids))
	m.prev, m.next, m.heap = m.prev[:0], m.next[:0], m.heap[:0]
	for i := range n {
		m.prev, m.next = append(m.prev, i-1), append(m.next, i+1)
	}
	push := func(at int32) {
		right := m.next[at]
		if right >= n {
			return
		}
		if rank, id := pairs.find(ids[at], ids[right]); rank != noRank {
			m.push(heapPair{rank, at, ids[at], ids[right], id})
		}
	}
	for i := range n {
		push(i)
	}
	for len(m.heap) > 0 {
		p := m.pop()
		right := m.next[p.at]
		if ids[p.at] != p.left || right >= n || ids[right] != p.right {
			continue // one of the two was merged meanwhile
		}
		ids[p.at], ids[right] = p.id, -1
		m.next[p.at] = m.next[right]
		if m.next[p.at] < n {
			m.prev[m.next[p.at]] = p.at
		}
		push(p.at)
		if before := m.prev[p.at]; before >= 0 {
			push(before)
		}
	}
	kept := ids[:0]
	for i := int32(0); i < n; i = m.next[i] {
		kept = append(kept, ids[i])
	}
	return kept
}

func (m *merger) push(p heapPair) {
	h := append(m.heap, p)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !p.before(h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = p
	m.heap = h
}

func (m *merger) pop() heapPair {
	h := m.heap
	top, p := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	i := 0
	for {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1].before(h[down]) {
			down++
		}
		if !h[down].before(p) {
			break
		}
		h[i] = h[down]
		i = down
	}
	if len(h) > 0 {
		h[i] = p
	}
	m.heap = h
	return top
}
