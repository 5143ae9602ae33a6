//go:build !race && !mpi

package mpi_test

const raceEnabled = false
