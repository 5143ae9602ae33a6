//go:build mpi

package mpi

// #include "shim.h"
// #include <stdlib.h>
import "C"

import (
	"runtime"
	"unsafe"
)

type pinner = runtime.Pinner

// Batch is a fixed number of slots for sends and receives of bytes, which are posted and tested together: one call into C
// posts any number of transfers, and one tests all of them. It lives in C memory.
type Batch struct {
	c        Comm
	slots    int
	requests unsafe.Pointer
	posted   []C.cm_transfer // not yet handed to MPI
	indices  *C.int
	statuses unsafe.Pointer
	done     []C.cm_done
	result   []Done
	active   int
	pin      pinner
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
	b := &Batch{slots: slots, requests: C.cm_requests(C.int(slots))}
	b.posted = unsafe.Slice((*C.cm_transfer)(C.calloc(C.size_t(slots), C.sizeof_cm_transfer)), slots)[:0]
	b.indices = (*C.int)(C.calloc(C.size_t(slots), C.sizeof_int))
	b.statuses = C.calloc(C.size_t(slots), C.size_t(C.cm_status_size()))
	b.done = unsafe.Slice((*C.cm_done)(C.calloc(C.size_t(slots), C.sizeof_cm_done)), slots)
	b.result = make([]Done, 0, slots)
	return b
}

// Slots is how many transfers fit.
func (b *Batch) Slots() int { return b.slots }

// Free gives the memory back. Nothing is under way.
func (b *Batch) Free() {
	C.cm_requests_free(b.requests)
	C.free(unsafe.Pointer(unsafe.SliceData(b.posted)))
	C.free(unsafe.Pointer(b.indices))
	C.free(b.statuses)
	C.free(unsafe.Pointer(unsafe.SliceData(b.done)))
	*b = Batch{}
}

// Use says in which communicator the transfers to come are.
func (b *Batch) Use(c Comm) { b.c = c }

// Add prepares a transfer in a free slot: the next Poll begins it. The memory stays in place and, but for a receive that has
// ended, untouched.
func (b *Batch) Add(slot int, send bool, buf []byte, peer, tag int) {
	t := C.cm_transfer{bytes: C.int32_t(len(buf)), peer: C.int32_t(source(peer)), tag: C.int32_t(tag), slot: C.int32_t(slot)}
	if send {
		t.send = 1
	}
	if len(buf) > 0 {
		b.pin.Pin(&buf[0])
		t.buf = C.uintptr_t(uintptr(unsafe.Pointer(&buf[0])))
	}
	b.posted = append(b.posted, t)
	b.active++
}

// Active is the number of transfers that have not ended.
func (b *Batch) Active() int { return b.active }

// Poll begins what was added and tests up to tries times until something has ended. The result is valid until the next call.
func (b *Batch) Poll(tries int) ([]Done, error) {
	b.result = b.result[:0]
	if b.active == 0 {
		return nil, nil
	}
	var count, failed C.int
	rc := C.cm_poll(b.c.h, b.requests, C.int(b.slots), unsafe.SliceData(b.posted), C.int(len(b.posted)), C.int(tries), b.indices, b.statuses,
		&b.done[0], &count, &failed)
	if failed >= 0 {
		t := b.posted[failed]
		call := "MPI_Irecv"
		if t.send != 0 {
			call = "MPI_Isend"
		}
		return nil, fault(rc, call, int(t.peer))
	}
	b.posted = b.posted[:0]
	if rc != 0 {
		return nil, fault(rc, "MPI_Testsome", none)
	}
	for _, d := range b.done[:count] {
		b.result = append(b.result, Done{int(d.slot), int(d.bytes), int(d.peer), fault(d.error, "MPI_Testsome", none)})
	}
	if b.active -= int(count); b.active == 0 {
		b.pin.Unpin()
	}
	return b.result, nil
}

// Cancel gives up everything that is under way: receives are cancelled, sends forgotten.
func (b *Batch) Cancel() error {
	b.posted, b.active = b.posted[:0], 0
	err := fault(C.cm_cancel(b.requests, C.int(b.slots)), "MPI_Cancel", none)
	b.pin.Unpin()
	return err
}

// Alloc is memory of C's, from the beginning of a cache line: MPI may have it without more ado. Release gives it back. It is
// nil when there is no more.
func Alloc(n int) []byte {
	p := C.cm_alloc(C.int64_t(n))
	if p == nil {
		return nil
	}
	return unsafe.Slice((*byte)(p), n)
}

// Release gives back what Alloc gave.
func Release(b []byte) { C.cm_release(unsafe.Pointer(unsafe.SliceData(b))) }
