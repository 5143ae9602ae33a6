// Package faults treats the cambium command as the world does: it is killed at any moment, told to stop, started twice in one
// folder, given damaged checkpoints, full disks and data that is not what it says. What it promises then is tested on the
// real program, built once: nothing half-written is ever taken for whole, the same command goes on bit for bit, and every
// failure is one sentence.
package faults
