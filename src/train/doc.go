// Package train is the loop: growth stages, steps, validation, growth at stage boundaries, checkpoints, signals, and the
// watchdog. It is the only package that knows all others.
//
// Run prepares what all ranks share (Job), starts the ranks, and each of them goes through the stages on its own, meeting
// the others in collectives only. What a rank does next follows from its place in the timeline alone, so a run that is
// resumed goes on exactly as it would have gone.
//
// What goes wrong ends the run with one sentence, on all ranks: an error or a panic of one rank, a disk that is full, a rank
// that hangs (the watchdog says who waits for whom). The newest checkpoint stays as it was. On resuming, a checkpoint that
// cannot be opened (a folder half copied, a manifest with a wrong checksum, a file of a wrong size) is passed over with a
// warning for the one before it. A checkpoint that opens but holds a wrong byte is an error that names file and tensor, because
// by then nobody knows what else the disk got wrong: the user decides. When there are checkpoints but none opens, the run
// does not begin anew. Nothing in the folder changes before all ranks have loaded.
package train
