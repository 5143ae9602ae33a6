//go:build !amd64

package spin

import "sync/atomic"

// Pause waits for some tens of nanoseconds times n without giving up the processor.
func Pause(n uint32) {
	var x atomic.Uint32
	for x.Add(1) < 4*n {
	}
}

// Release stores v: whoever loads v atomically sees all that was written before.
func Release(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
