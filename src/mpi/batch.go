//go:build mpi

package mpi

// #include "shim.h"
// #cgo nocallback cm_poll
import "C"

import (
	"runtime"
	"unsafe"
)

type pinner = runtime.Pinner

// Batch is a fixed number of slots for sends and receives of bytes, which are posted and tested together: one call into C
// posts any number of transfers, and tests all of them. It lives in C memory.
type Batch struct {
	b      *C.cm_batch
	posted []C.cm_transfer // all slots; the first b.posts are not yet handed to MPI
	done   []C.cm_done
	result []Done
	active int
	pin    pinner
}

// Done is one transfer that has ended.
type Done struct {
	Slot  int
	Bytes int // that came
	Peer  int // from whom it came
	Err   error
}

// NewBatch makes a batch of slots. Free it.
func NewBatch(slots int) *Batch {
	c := C.cm_batch_new(C.int(slots))
	if c == nil {
		panic("mpi: no memory for requests")
	}
	return &Batch{b: c, posted: unsafe.Slice(c.transfers, slots), done: unsafe.Slice(c.done, slots), result: make([]Done, 0, slots)}
}

// Slots is how many transfers fit.
func (b *Batch) Slots() int { return len(b.posted) }

// Free gives the memory back. Nothing is under way.
func (b *Batch) Free() {
	C.cm_batch_free(b.b)
	*b = Batch{}
}

// Use says in which communicator the transfers to come are.
func (b *Batch) Use(c Comm) { b.b.comm = c.h }

// Add prepares a transfer in a free slot: the next Poll begins it. The memory stays in place and, but for a receive that has
// ended, untouched.
func (b *Batch) Add(slot int, send bool, buf []byte, peer, tag int) {
	t := &b.posted[b.b.posts]
	*t = C.cm_transfer{bytes: C.int32_t(len(buf)), peer: C.int32_t(peer), tag: C.int32_t(tag), slot: C.int32_t(slot)}
	if peer < 0 {
		t.peer = C.int32_t(source(peer))
	}
	if send {
		t.send = 1
	}
	if len(buf) > 0 {
		b.pin.Pin(&buf[0])
		t.buf = C.uintptr_t(uintptr(unsafe.Pointer(&buf[0])))
	}
	b.b.posts++
	b.active++
}

// Active is the number of transfers that have not ended.
func (b *Batch) Active() int { return b.active }

// Poll begins what was added and tests up to tries times until something has ended or, with all, until everything has, which
// costs MPI less. The result is valid until the next call.
func (b *Batch) Poll(tries int, all bool) ([]Done, error) {
	b.result = b.result[:0]
	if b.active == 0 {
		return nil, nil
	}
	whole := C.int(0)
	if all {
		whole = 1
	}
	rc := C.cm_poll(C.uintptr_t(uintptr(unsafe.Pointer(b.b))), C.int(tries), whole)
	if k := b.b.failed; k >= 0 {
		t := b.posted[k]
		call := "MPI_Irecv"
		if t.send != 0 {
			call = "MPI_Isend"
		}
		return nil, fault(rc, call, int(t.peer))
	}
	if rc != 0 {
		return nil, fault(rc, "MPI_Testsome", none)
	}
	for i := range b.done[:b.b.count] {
		d := &b.done[i]
		x := Done{Slot: int(d.slot), Bytes: int(d.bytes), Peer: int(d.peer)}
		if d.error != 0 {
			x.Err = fault(d.error, "MPI_Testsome", none)
		}
		b.result = append(b.result, x)
	}
	if b.active -= len(b.result); b.active == 0 {
		b.pin.Unpin()
	}
	return b.result, nil
}

// Cancel gives up everything that is under way: receives are cancelled, sends forgotten.
func (b *Batch) Cancel() error {
	b.b.posts, b.active = 0, 0
	err := fault(C.cm_cancel(b.b.requests, C.int(len(b.posted))), "MPI_Cancel", none)
	b.pin.Unpin()
	return err
}

// Alloc is memory of C's, from the beginning of a cache line: MPI may have it without more ado. It stays with the process, and is nil when
// there is no more.
func Alloc(n int) []byte {
	p := C.cm_alloc(C.int64_t(n))
	if p == nil {
		return nil
	}
	return unsafe.Slice((*byte)(p), n)
}
