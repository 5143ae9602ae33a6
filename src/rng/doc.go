// Package rng makes random numbers that have no state: a value is a function of a seed, a name and an index.
//
// So an initial weight does not depend on which rank holds it, how the tensor is cut or how many ranks there are, and
// the order of samples does not depend on the grid. The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a keyed bijection of 128-bit counters. All arithmetic is
// written so that no compiler may fuse a multiplication and an addition: values are the same bits on every processor.
//
// The package is pure: it reads no clock and keeps nothing.
package rng
