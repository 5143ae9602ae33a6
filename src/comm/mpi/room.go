//go:build mpi

package mpi

import (
	"fmt"
	"math/bits"

	"cambium/src/mpi"
)

// room is the memory that a run needs beside the tensors; its blocks are C's. One run uses it at a time; rooms live as long
// as the world, and with it the process.
type room struct {
	run     *run
	desks   [32]*desk    // by the logarithm of their slots
	blocks  [64][][]byte // free ones by the logarithm of their size
	shares  []share
	streams []stream
	views
}

func newRoom() *room { return &room{run: &run{}} }

// desk has room for at least so many transfers.
func (m *room) desk(slots int) *desk {
	class := bits.Len(uint(max(slots, 4) - 1))
	if m.desks[class] == nil {
		m.desks[class] = newDesk(1 << class)
	}
	return m.desks[class]
}

// align is a cache line: neighbours in a block do not share one.
const align = 64

// take is a block of n bytes, with any content, that begins at a cache line.
func (m *room) take(n int) []byte {
	class := bits.Len(uint(max(n, 1) - 1))
	if list := m.blocks[class]; len(list) > 0 {
		b := list[len(list)-1]
		m.blocks[class] = list[:len(list)-1]
		return b[:n]
	}
	b := mpi.Alloc(1 << class)
	if b == nil {
		panic(fmt.Sprintf("no memory for %d bytes beside the tensors", n))
	}
	return b[:n]
}

func (m *room) give(b []byte) {
	class := bits.Len(uint(cap(b) - 1))
	m.blocks[class] = append(m.blocks[class], b)
}
