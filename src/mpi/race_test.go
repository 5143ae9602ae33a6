//go:build race && !mpi

package mpi

const raceEnabled = true
