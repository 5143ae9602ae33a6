package backend

// Batcher is a stream that can hand a run of operations to the device as one.
type Batcher interface {
	// Together calls f, which enqueues operations in this stream. Results are those of f alone; nothing else may be enqueued meanwhile.
	Together(f func())
}

// Together has s take what f enqueues as one, where it can.
func Together(s Stream, f func()) {
	if b, ok := s.(Batcher); ok {
		b.Together(f)
		return
	}
	f()
}
