// Package comm is how ranks exchange tensors: the Communicator and what its implementations share. comm/local has ranks
// as goroutines of one process; comm/mpi and comm/nccl follow the same suite, comm/conformance.
package comm
