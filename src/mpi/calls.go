//go:build mpi

package mpi

// #include "shim.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Any stands for any source or any tag.
const Any = -1

// Status tells what came.
type Status struct {
	Source, Tag int
	Bytes       int // -1 where MPI cannot tell
}

func source(rank int) C.int {
	if rank < 0 {
		return C.cm_any_source()
	}
	return C.int(rank)
}

func anyTag(tag int) C.int {
	if tag < 0 {
		return C.cm_any_tag()
	}
	return C.int(tag)
}

func (s *Status) set(c *C.cm_status) { *s = Status{int(c.source), int(c.tag), int(c.bytes)} }

// Bcast copies root's elements to all.
func Bcast[T Type](c Comm, buf []T, root int) error {
	if err := checkLen("MPI_Bcast", len(buf)); err != nil {
		return err
	}
	return fault(C.cm_bcast(c.h, ptr(buf), C.int(len(buf)), typeOf[T](), C.int(root)), "MPI_Bcast", root)
}

// Send returns when buf may be used again, Recv when it has been filled; a longer message than buf is an error.
func Send[T Type](c Comm, buf []T, to, tag int) error {
	if err := checkLen("MPI_Send", len(buf)); err != nil {
		return err
	}
	return fault(C.cm_send(c.h, ptr(buf), C.int(len(buf)), typeOf[T](), C.int(to), C.int(tag)), "MPI_Send", to)
}

// Recv is the other side of Send; from and tag may be Any.
func Recv[T Type](c Comm, buf []T, from, tag int) (Status, error) {
	var out Status
	if err := checkLen("MPI_Recv", len(buf)); err != nil {
		return out, err
	}
	var s C.cm_status
	err := fault(C.cm_recv(c.h, ptr(buf), C.int(len(buf)), typeOf[T](), source(from), anyTag(tag), &s), "MPI_Recv", from)
	out.set(&s)
	return out, err
}

// Sendrecv sends and receives at once, so that rings do not wait for ever.
func Sendrecv[S, R Type](c Comm, out []S, to, outTag int, in []R, from, inTag int) (Status, error) {
	var got Status
	if err := checkLen("MPI_Sendrecv", max(len(out), len(in))); err != nil {
		return got, err
	}
	var s C.cm_status
	rc := C.cm_sendrecv(c.h, ptr(out), C.int(len(out)), typeOf[S](), C.int(to), C.int(outTag), ptr(in), C.int(len(in)), typeOf[R](), source(from), anyTag(inTag), &s)
	got.set(&s)
	return got, fault(rc, "MPI_Sendrecv", from)
}

// Allreduce combines in place, over all ranks, in whatever order the MPI likes.
func Allreduce[T Type](c Comm, buf []T, op Op) error {
	if err := checkLen("MPI_Allreduce", len(buf)); err != nil {
		return err
	}
	return fault(C.cm_allreduce(c.h, ptr(buf), C.int(len(buf)), typeOf[T](), C.int(op)), "MPI_Allreduce", none)
}

// ReduceScatter combines in over all ranks; rank r gets elements [r len(out), (r+1) len(out)).
func ReduceScatter[T Type](c Comm, in, out []T, op Op) error {
	if err := checkParts("MPI_Reduce_scatter_block", len(out), len(in), c.size); err != nil {
		return err
	}
	return fault(C.cm_reduce_scatter(c.h, ptr(in), ptr(out), C.int(len(out)), typeOf[T](), C.int(op)), "MPI_Reduce_scatter_block", none)
}

// Allgather puts the ranks' in one behind the other into everyone's out.
func Allgather[T Type](c Comm, in, out []T) error {
	if err := checkParts("MPI_Allgather", len(in), len(out), c.size); err != nil {
		return err
	}
	return fault(C.cm_allgather(c.h, ptr(in), ptr(out), C.int(len(in)), typeOf[T]()), "MPI_Allgather", none)
}

// Allgatherv is Allgather of counts[r] elements from rank r.
func Allgatherv[T Type](c Comm, in, out []T, counts []int) error {
	n, at, err := ranges("MPI_Allgatherv", counts, len(out), c.size)
	if err != nil {
		return err
	}
	return fault(C.cm_allgatherv(c.h, ptr(in), C.int(len(in)), ptr(out), &n[0], &at[0], typeOf[T]()), "MPI_Allgatherv", none)
}

// Alltoallv sends inCounts[r] elements to rank r and gets outCounts[r] from it; pieces lie one behind the other.
func Alltoallv[T Type](c Comm, in []T, inCounts []int, out []T, outCounts []int) error {
	nin, atin, err := ranges("MPI_Alltoallv", inCounts, len(in), c.size)
	if err != nil {
		return err
	}
	nout, atout, err := ranges("MPI_Alltoallv", outCounts, len(out), c.size)
	if err != nil {
		return err
	}
	return fault(C.cm_alltoallv(c.h, ptr(in), &nin[0], &atin[0], ptr(out), &nout[0], &atout[0], typeOf[T]()), "MPI_Alltoallv", none)
}

// Gather puts the ranks' in one behind the other into root's out.
func Gather[T Type](c Comm, in, out []T, root int) error {
	if c.rank == root {
		if err := checkParts("MPI_Gather", len(in), len(out), c.size); err != nil {
			return err
		}
	}
	return fault(C.cm_gather(c.h, ptr(in), ptr(out), C.int(len(in)), typeOf[T](), C.int(root)), "MPI_Gather", root)
}

// Iprobe tells whether a message waits that a Recv would get now.
func Iprobe(c Comm, from, tag int) (Status, bool, error) {
	var out Status
	var s C.cm_status
	var found C.int
	if err := fault(C.cm_iprobe(c.h, source(from), anyTag(tag), &found, &s), "MPI_Iprobe", from); err != nil || found == 0 {
		return out, false, err
	}
	out.set(&s)
	return out, true, nil
}

func checkParts(call string, part, whole, ranks int) error {
	if err := checkLen(call, whole); err != nil {
		return err
	}
	if whole != part*ranks {
		return fmt.Errorf("mpi: %s: %d elements for %d ranks with %d each", call, whole, ranks, part)
	}
	return nil
}

// ranges are counts and where each piece begins.
func ranges(call string, counts []int, whole, ranks int) (n, at []C.int, err error) {
	if len(counts) != ranks {
		return nil, nil, fmt.Errorf("mpi: %s: %d counts for %d ranks", call, len(counts), ranks)
	}
	n, at = make([]C.int, ranks), make([]C.int, ranks)
	total := 0
	for r, k := range counts {
		n[r], at[r] = C.int(k), C.int(total)
		total += k
	}
	if total != whole || total > most {
		return nil, nil, fmt.Errorf("mpi: %s: counts of %d in all for %d elements", call, total, whole)
	}
	return n, at, nil
}

// Request is one Isend or Irecv under way. The slice stays in place and untouched until Wait or Test say that it is done.
type Request struct {
	reqs unsafe.Pointer
	call string
	peer int
	pin  pinner
}

// Isend begins to send.
func Isend[T Type](c Comm, buf []T, to, tag int) (*Request, error) {
	return start("MPI_Isend", buf, to, func(req unsafe.Pointer) C.int {
		return C.cm_isend(c.h, ptr(buf), C.int(len(buf)), typeOf[T](), C.int(to), C.int(tag), req)
	})
}

// Irecv begins to receive; from and tag may be Any.
func Irecv[T Type](c Comm, buf []T, from, tag int) (*Request, error) {
	return start("MPI_Irecv", buf, from, func(req unsafe.Pointer) C.int {
		return C.cm_irecv(c.h, ptr(buf), C.int(len(buf)), typeOf[T](), source(from), anyTag(tag), req)
	})
}

func start[T Type](call string, buf []T, peer int, post func(unsafe.Pointer) C.int) (*Request, error) {
	if err := checkLen(call, len(buf)); err != nil {
		return nil, err
	}
	r := &Request{reqs: C.cm_requests(1), call: call, peer: peer}
	if len(buf) > 0 {
		r.pin.Pin(&buf[0])
	}
	if err := fault(post(r.reqs), call, peer); err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

func (r *Request) end() {
	C.cm_requests_free(r.reqs)
	r.reqs = nil
	r.pin.Unpin()
}

// Wait waits for the end.
func (r *Request) Wait() (Status, error) {
	var out Status
	var s C.cm_status
	err := fault(C.cm_wait(r.reqs, &s), r.call, r.peer)
	out.set(&s)
	r.end()
	return out, err
}

// Test tells whether it has ended; after that the Request is used up.
func (r *Request) Test() (Status, bool, error) {
	var out Status
	var s C.cm_status
	var done C.int
	err := fault(C.cm_test(r.reqs, &done, &s), r.call, r.peer)
	if done != 0 || err != nil {
		out.set(&s)
		r.end()
	}
	return out, done != 0, err
}

// Cancel gives a receive up that nothing matches.
func (r *Request) Cancel() error {
	err := fault(C.cm_cancel(r.reqs, 1), "MPI_Cancel", r.peer)
	r.end()
	return err
}
