package spin

// Pause waits for about n x 40 ns without giving up the processor, and gently for a hyper-thread beside.
//
//go:noescape
func Pause(n uint32)

// Release stores v: whoever loads v atomically sees all that was written before. Unlike an atomic store it does not wait for
// the lines of memory that were written; a later load may pass it.
//
//go:noescape
func Release(p *uint64, v uint64)
