package backend

import "time"

// Profiler is a backend that can tell where the time of a step goes, kernel by kernel.
type Profiler interface {
	// StartProfile has the device time every kernel from now on. It costs time itself, of the host too: what it tells is the
	// share of each, not the length of a step.
	StartProfile()
	// StopProfile ends it, and returns what ran since, the longest total first. Every stream must have been waited for.
	StopProfile() ([]KernelTime, error)
}

// KernelTime is what the launches of one kernel with one grid took in one stream.
type KernelTime struct {
	Stream    string
	Operation string // of Operations, or what else the stream did
	Kernel    string // "" for what is none: copies, collectives, libraries
	Grid      [3]uint32
	Count     int
	Total     time.Duration // from the end of what ran before in the stream, or the launch, to its own end
}
