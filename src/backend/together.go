package backend

// Batcher is a stream that can hand a run of operations to the device as one.
type Batcher interface {
	// Gather begins a run, HandOver ends it. Results are those of operations one by one.
	Gather()
	HandOver()
}

// Gather has s take what is enqueued until HandOver as one, where it can.
func Gather(s Stream) {
	if b, ok := s.(Batcher); ok {
		b.Gather()
	}
}

// HandOver ends what Gather began.
func HandOver(s Stream) {
	if b, ok := s.(Batcher); ok {
		b.HandOver()
	}
}
