//go:build !cuda

package layouts

// programTags are what the program for ranks of MPI is built with.
const programTags = "mpi"
