// Package mpi is a thin binding of MPI, in the manner of go-mpi: about thirty functions, typed by slice, built with the tag
// mpi against whatever MPI the C compiler finds (CC=mpicc.openmpi, CC=mpicc.mpich, or the tags ompi and mpich for
// pkg-config). Without the tag the package is empty.
//
// What differs between MPIs stays in shim.c: handles are integers here (MPICH has ints, Open MPI pointers), and sentinel
// pointers (MPI_IN_PLACE, MPI_STATUS_IGNORE) never reach Go, whose stacks may not hold them.
//
// Errors are returned (MPI_ERRORS_RETURN is set on every communicator) and name the call and the peer.
//
// Threads: Init runs on an OS thread of its own, which Finalize uses again, as MPI wants. With Serialized, the level that
// Cambium asks for, any goroutine may call, one at a time: the caller has the lock.
package mpi
