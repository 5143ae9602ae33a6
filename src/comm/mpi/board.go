//go:build mpi

package mpi

import (
	"cambium/src/mpi"
)

// board is memory that the ranks of a node share, with a lane from each of them to each other.
type board struct {
	memory  []byte
	limit   int     // bytes of the longest message that is added up where it lies
	out, in []*lane // by rank of the world: to it and from it; nil where it is elsewhere, or this one
}

const (
	longestLane  = 16 << 10 // a slot
	shortestLane = 512
	boardBytes   = 32 << 20 // a node's board: with many ranks messages are shorter
)

// laneLimit is how long messages between n ranks may be, 0 where so many ranks can have no lanes.
func laneLimit(n int) int {
	limit := longestLane
	for limit >= shortestLane && n*n*laneBytes(limit) > boardBytes {
		limit /= 2
	}
	if limit < shortestLane {
		return 0
	}
	return limit
}

// newBoard makes the board of the ranks of node, all of which call it; ranks are their numbers in the world, of so many ranks.
// Where they cannot share memory nobody has lanes.
func newBoard(node mpi.Comm, ranks []int32, world int) (*board, error) {
	n, me := node.Size(), node.Rank()
	b := &board{out: make([]*lane, world), in: make([]*lane, world)}
	limit := laneLimit(n)
	if n == 1 || limit == 0 || world > mostRanks {
		return b, nil
	}
	each := laneBytes(limit)
	var err error
	if b.memory, err = sharedMemory(node, n*n*each); err != nil || b.memory == nil {
		return b, err
	}
	b.limit = limit
	of := func(from, to int) *lane { return newLane(b.memory[(from*n+to)*each:][:each], limit) }
	for q, rank := range ranks {
		if q != me {
			b.out[rank], b.in[rank] = of(me, q), of(q, me)
		}
	}
	return b, nil
}

// copied is the longest message that is only copied. It is shorter, as a lane copies twice: MPIs ask the kernel to copy what is
// long once, which on two cores that share no cache pays from some 8 KiB on.
func (b *board) copied() int { return b.limit / 2 }

// close gives the memory back. Nobody of this process uses it any more.
func (b *board) close() {
	if b.memory != nil {
		unmap(b.memory)
	}
	*b = board{}
}
