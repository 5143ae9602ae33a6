// Package staged is the Communicator for devices whose memory other ranks cannot reach: every call goes device -> host -> another
// communicator -> host -> device, in stream order. It serves sites without NCCL, several ranks on one GPU, and tests; whatever the
// communicator underneath promises (sums in rank order, names in reports) holds here too.
//
// Host memory of a call is made at its first use and kept, by stream, name and sizes: a steady step allocates nothing.
package staged
