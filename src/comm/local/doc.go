// Package local is the Communicator for ranks that are goroutines of one process: no wire, no copies into messages, every
// rank reads the others' memory directly. It works on host tensors and needs nothing of a backend but Stream.Do.
//
// A call is a rendezvous: each rank posts its tensors and waits for the others, all work on their own share at once,
// and nobody leaves before everybody is done. Ranks number their calls when they enqueue them, so that calls meet by
// number, whatever streams they are in. Sums are made in rank order: results do not depend on timing.
//
// A call that does not match its counterparts, a rank that fails, panics or ends too early, and Abort release all
// ranks with one error. World.Pending tells who waits for whom, since when.
package local
