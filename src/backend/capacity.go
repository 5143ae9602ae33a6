package backend

// Capacity is what a backend has whose device tells of its memory.
type Capacity interface {
	// Capacity is the device's memory in bytes, and what no program has of it now.
	Capacity() (free, total int)
}
