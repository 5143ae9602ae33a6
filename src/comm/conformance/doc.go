// Package conformance is one test suite for every comm.Communicator: what it asks is what comm.Communicator promises.
//
// Each test computes what a rank must see from ranks alone, so that the suite also runs where a process holds only
// some of the ranks, as under mpirun.
package conformance
