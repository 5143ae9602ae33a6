// Package mpi is the Communicator over MPI: one rank a process, host tensors, built with the tag mpi.
//
// Everything is made of non-blocking sends and receives, so that several streams of a rank communicate at once and none
// holds up another: the thread of a stream posts what its call needs and polls until all has come, under one lock for the
// process (MPI_THREAD_SERIALIZED). It polls in earnest at first, then yields the processor, then sleeps in short naps, so
// that ranks which share cores do not take them from each other. Calls are numbered when they are enqueued, and the number
// is in the tag: calls meet whatever the order in which streams come to them.
//
// A short call in one round, on a stream that has nothing else to do, begins on the goroutine that makes it: post, test and
// done is then one lock and one way into C, where a worker would first have to wake up. What has not ended after about
// 100 microseconds goes on in the stream.
//
// Ranks of one node have lanes to each other in memory that they share: a short message is written into a slot, found by its key, and
// read or added up where it lies, and neither rank enters C. What finds no free slot goes by MPI, and so does everything where
// ranks can share no memory (no room in /dev/shm).
//
// A sum over n ranks is a reduce-scatter (each rank gets everyone's values for its share and adds them in rank order) and,
// for an all-reduce, an all-gather of the shares; large shares go in pieces, so that adding overlaps with the wire. Short
// vectors go from everyone to everyone at once, with a checksum of the call, which finds ranks that make different calls.
// So the result depends neither on timing nor on the MPI, and 16-bit types are summed in fp32.
//
// Abort tells all other ranks by messages of their own; every rank looks for them in its calls and ten times a second.
package mpi
