// Package train is the loop: growth stages, steps, validation, growth at stage boundaries, checkpoints, signals, and the
// watchdog. It is the only package that knows all others.
//
// Run prepares what all ranks share (Job), starts the ranks, and each of them goes through the stages on its own, meeting
// the others in collectives only. What a rank does next follows from its place in the timeline alone, so a run that is
// resumed goes on exactly as it would have gone.
package train
