// Package train is the loop: growth stages, steps, validation, growth at stage boundaries, checkpoints, signals, and the
// watchdog. It is the only package that knows all others.
//
// Run prepares what all ranks of a process share (job), starts them, and each goes through the stages on its own, meeting
// the others in collectives only. What a rank does next follows from its place in the timeline alone, so a run that is
// resumed goes on exactly as it would have gone. The ranks are goroutines of one process, or processes under MPI: then the one
// with rank 0 leads, decides what to resume from, and is the only one that writes into the run's folder, besides everyone's
// own shards of checkpoints.
//
// A stage lays the ranks out on a grid (groups), which says what each holds of weights and optimizer state; package execute
// runs its part of the pipeline's schedule. Losses are known on the last pipeline stage, and told to all. A growth moves the
// state from the grid of one stage to that of the next, between two steps. A checkpoint holds the boxes of the optimizer's
// state, each once; weights are made from the masters among them, so it loads on any grid.
//
// What goes wrong ends the run with one sentence, on all ranks: an error or a panic of one rank, a disk that is full, a rank
// that hangs (the watchdog says who waits for whom). The newest checkpoint stays as it was. On resuming, a checkpoint that
// cannot be opened (a folder half copied, a manifest with a wrong checksum, a file of a wrong size) is passed over with a
// warning for the one before it. A checkpoint that opens but holds a wrong byte is an error that names file and tensor, because
// by then nobody knows what else the disk got wrong: the user decides. When there are checkpoints but none opens, the run
// does not begin anew. Nothing in the folder changes before all ranks have loaded.
package train
