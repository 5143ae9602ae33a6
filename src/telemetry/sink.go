package telemetry

import "errors"

// Sink takes records, in the order in which things happen, from one goroutine.
type Sink interface {
	Write(Record) error
	Close() error
}

// Multi writes to several sinks. A sink that fails keeps no other from its record; all errors are returned together.
type Multi []Sink

// Write gives r to every sink.
func (m Multi) Write(r Record) error {
	var errs []error
	for _, s := range m {
		errs = append(errs, s.Write(r))
	}
	return errors.Join(errs...)
}

// Close closes every sink.
func (m Multi) Close() error {
	var errs []error
	for _, s := range m {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
