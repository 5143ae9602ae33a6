//go:build !amd64

package cpu

import "sync/atomic"

// hasLevel tells whether processor and operating system support l.
func hasLevel(l level) bool { return l == portable }

// pause waits for some tens of nanoseconds times n without giving up the processor.
func pause(n uint32) {
	var x atomic.Uint32
	for x.Add(1) < 4*n {
	}
}
