package backend

import "cambium/src/tensor"

// Backend is one device as one rank sees it.
type Backend interface {
	// Name says what computes, for logs: "cpu avx512, 2 workers".
	Name() string
	// Workers is the number of processor threads that compute together (1 for a GPU).
	Workers() int
	// Alloc returns zeroed memory, or an error when the device has no more. Label groups it in memory tables.
	Alloc(label string, bytes int) (*tensor.Memory, error)
	// Free gives memory back. No operation in flight may use it: Sync first.
	Free(*tensor.Memory)
	// Usage is what is allocated now and was at most, in bytes.
	Usage() Usage
	// ResetPeak begins anew with what is allocated now: a later Usage tells the peak since then.
	ResetPeak()
	// NewStream makes a queue of operations. Streams run independently; events order them.
	NewStream(name string) Stream
	// NewEvent makes a marker that one stream records and others wait for.
	NewEvent() Event
	// Close waits for all streams and frees everything.
	Close() error
}

// Usage counts allocated bytes, exactly as Alloc was asked for them. Peaks are since the last ResetPeak, or the start; those
// of labels may have been at different times. Labels without memory now or at their peak are left out.
type Usage struct {
	Current, Peak        int
	ByLabel, PeakByLabel map[string]int
	// Scratch is what streams keep for the inner use of operations, beside Current: it grows to what the largest
	// operation needs and stays.
	Scratch int
}

// Event is a point in a stream: see Stream.Record. Only the backend that made it can use it.
type Event interface{ backendEvent() }

// EventBase is embedded by the events of implementations.
type EventBase struct{}

func (EventBase) backendEvent() {}

// Stream is a queue of operations that run in order.
type Stream interface {
	Operations

	// Record marks the work enqueued so far; Wait makes later work of this stream wait for a recorded event.
	Record(Event)
	Wait(Event)
	// Do runs f on the host in stream order: later operations start after it returned. An error ends the stream:
	// everything after it is skipped, and Sync returns it.
	Do(name string, f func() error)
	// Sync waits until everything enqueued is done and returns the first error since the last Sync, if any.
	Sync() error
	// Upload copies host memory to the device in stream order, Download the other way; dst or src must stay untouched
	// until the stream has passed them. Elements are the tensor's own type, raw; on the host rows lie without gaps,
	// whatever the tensor's row distance.
	Upload(dst tensor.Tensor, src []byte)
	Download(dst []byte, src tensor.Tensor)
}

// Immediate is a Stream whose host functions need not wait for a worker when there is nothing to wait for.
type Immediate interface {
	Stream
	// Now is Do of a function in two parts, for short work that has a good chance of being done at once. Where everything
	// enqueued is done, first runs before Now returns, on the caller; rest follows as Do would run it, unless first says
	// that it has done all. Where something is still to be done Now does nothing and returns false.
	Now(name string, first func() (done bool, err error), rest func() error) bool
}
