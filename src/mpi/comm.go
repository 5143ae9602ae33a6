//go:build mpi

package mpi

// #include "shim.h"
import "C"

// Comm is a communicator. The zero Comm is none.
type Comm struct {
	h          C.cm_comm
	rank, size int
}

// World is MPI_COMM_WORLD.
func World() (Comm, error) { return newComm(C.cm_world()) }

func newComm(h C.cm_comm) (Comm, error) {
	if h == 0 {
		return Comm{}, nil
	}
	var rank, size C.int
	if err := fault(C.cm_rank(h, &rank), "MPI_Comm_rank", none); err != nil {
		return Comm{}, err
	}
	err := fault(C.cm_size(h, &size), "MPI_Comm_size", none)
	return Comm{h, int(rank), int(size)}, err
}

// Rank is this process's number in c, Size how many there are.
func (c Comm) Rank() int { return c.rank }

// Size is the number of ranks.
func (c Comm) Size() int { return c.size }

// TagLimit is the largest tag.
func TagLimit() int { return int(C.cm_tag_limit()) }

// Split makes communicators of the ranks with the same color, ordered by key, then by rank. A negative color takes part and
// gets none. All ranks of c call it.
func (c Comm) Split(color, key int) (Comm, error) {
	if color < 0 {
		color = int(C.cm_undefined())
	}
	var made C.cm_comm
	if err := fault(C.cm_split(c.h, C.int(color), C.int(key), &made), "MPI_Comm_split", none); err != nil {
		return Comm{}, err
	}
	return newComm(made)
}

// SplitNode makes communicators of the ranks that share memory.
func (c Comm) SplitNode() (Comm, error) {
	var made C.cm_comm
	if err := fault(C.cm_split_node(c.h, &made), "MPI_Comm_split_type", none); err != nil {
		return Comm{}, err
	}
	return newComm(made)
}

// Free gives a communicator back. All its ranks call it.
func (c Comm) Free() error { return fault(C.cm_free(&c.h), "MPI_Comm_free", none) }

// Abort ends the processes of c, in practice the whole job, with an exit code.
func (c Comm) Abort(code int) { C.cm_abort(c.h, C.int(code)) }

// Barrier waits for all ranks.
func (c Comm) Barrier() error { return fault(C.cm_barrier(c.h), "MPI_Barrier", none) }
