// Package nccl is the Communicator over NVIDIA's NCCL, whose library is found when the program runs: libnccl.so.2, or what CAMBIUM_NCCL
// names. The control plane goes through another communicator of the same ranks, which also carries NCCL's unique id and an Abort.
//
// NCCL's promises are weaker than those of our own communicators in two ways: sums are not in rank order, and 16-bit types are rounded
// where NCCL rounds them. The same grid and library give the same bits again.
//
// A rank whose device waits in NCCL looks for an Abort elsewhere and for NCCL's own errors, and then breaks all of its NCCL communicators
// off. An event behind every group of calls lets the report of a run that stands still say in which call each device is. Free gives a
// group's communicator back; the first one lives until the process ends. A rank that NCCL's start fails on alone leaves the others waiting
// in theirs.
package nccl
