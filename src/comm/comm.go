package comm

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Op is how AllReduce and ReduceScatter combine.
type Op uint8

// Sum adds in rank order, so that results do not depend on timing. Max keeps a NaN.
const (
	Sum Op = iota
	Max
)

// Message is one transfer of an Exchange.
type Message struct {
	Peer  int  // the other rank
	Send  bool // to Peer; else from it
	Parts []tensor.Tensor
}

// Communicator is a group of ranks that take part in every call together, in the same order. Device calls run in stream
// order; sums of 16-bit types are made in fp32. Every call has a name ("dp grads block 3"), which errors and
// the hang report give together with the ranks that are missing. A failure surfaces at Stream.Sync.
//
// Lists of tensors are parts of one message: a call with many parts costs one rendezvous. Rank r's part i and its
// counterpart on every other rank have the same shape; parts may have gaps between rows. A call has read its lists when it
// returns: the caller may fill them again for the next one.
type Communicator interface {
	Rank() int
	Size() int

	// AllReduce replaces every part by the combination over all ranks.
	AllReduce(s backend.Stream, name string, op Op, parts ...tensor.Tensor)
	// ReduceScatter: recv[i] = sum over ranks q of q's send[me][i]. send[r] is what rank r will own; recv may alias
	// send[me].
	ReduceScatter(s backend.Stream, name string, send [][]tensor.Tensor, recv []tensor.Tensor)
	// AllGather: recv[q][i] = q's send[i]. recv[me] may alias send.
	AllGather(s backend.Stream, name string, send []tensor.Tensor, recv [][]tensor.Tensor)
	// AllToAll: recv[q] = q's send[me], a flat piece of memory each, of any sizes (zero Tensors where nothing goes).
	AllToAll(s backend.Stream, name string, send, recv []tensor.Tensor)
	// Broadcast copies root's parts to all.
	Broadcast(s backend.Stream, name string, root int, parts ...tensor.Tensor)
	// Send and Recv match in order, by pair of ranks.
	Send(s backend.Stream, name string, to int, parts ...tensor.Tensor)
	Recv(s backend.Stream, name string, from int, parts ...tensor.Tensor)

	// Exchange posts all messages together and ends when all are done, in whatever order they come: neighbours that send to
	// each other at the same time do not wait for ever. Messages match by pair of ranks in order, those of one Exchange
	// in the order of the list, together with Send and Recv. No part that is received overlaps another part.
	Exchange(s backend.Stream, name string, messages ...Message)

	// The control plane: small host values, at once. Reduce works in place, in rank order. Gather returns everyone's
	// bytes on every rank. Barrier waits for all.
	Reduce(name string, op Op, values []float64) error
	Gather(name string, mine []byte) ([][]byte, error)
	Barrier(name string) error

	// Split makes groups of the ranks that give the same color, ordered by key, then by rank.
	Split(name string, color, key int) (Communicator, error)
	// Abort makes every pending and later call of the whole world fail with err, on every rank.
	Abort(err error)
}
