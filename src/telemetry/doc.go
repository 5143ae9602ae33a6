// Package telemetry tells what a run does: in the log (Megatron's lines, or a live bar on a terminal), in metrics.jsonl and
// in TensorBoard event files. The loop writes records; sinks take them, each in its own form. It also reads metrics.jsonl
// back, for reports.
//
// Nothing is held back: a sink has written a record when Write returns, so a crash loses none.
package telemetry
