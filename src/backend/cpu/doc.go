// Package cpu is the backend for processors: streams that a fixed set of workers runs through together, planned memory,
// a GEMM in Go assembler (AVX-512, AVX2 with FMA, portable Go) and fused vector loops for everything else.
//
// # How a stream works
//
// A Stream is a bounded ring of tasks, which are values: enqueueing allocates nothing. Every worker of the stream runs
// every task, each on its own part of the rows, and all meet at a barrier before the next one; a barrier spins for some
// microseconds and then parks. So no goroutine is woken per operation, rows stay in the cache of the worker that wrote
// them, and a stream without work costs nothing. With one worker there are no barriers.
//
// # How to add an operation
//
// Give task a field with the operation's argument struct, then write
//
//	func (s *stream) Scale(x tensor.Tensor, a float32) {
//		mustBeStored("scale", x)               // a wrong argument panics here, in the caller
//		t := s.begin("scale", runScale)        // takes the next slot of the ring; blocks while it is full
//		t.vec = vecArgs{x: x, a: a}            // every field that runScale reads: slots are reused
//		s.commit()                             // hands it to the workers
//	}
//
//	func runScale(w *worker, t *task) {        // called by every worker; a panic fails the stream
//		l := w.lanes(t.vec.x)                  // scratch memory for rows in 16 bits
//		x := l.matrix(t.vec.x)
//		lo, hi := w.part(t.vec.x.Rows(), 1)    // my rows
//		for i := lo; i < hi; i++ {
//			k.scale(x.row(i), t.vec.a)     // in place, or a widened copy
//			x.keep(i)                      // which is rounded back
//		}
//	}
//
// An operation with several phases calls w.barrier() between them, the same number of times in every worker. Scratch
// memory is w.scratch(n) for the worker alone and w.shared(n) for all workers of the operation (once an operation, with
// the same n everywhere). Parts of uneven cost are taken one by one with w.claim(n). A sum over rows must have an order that
// does not depend on the number of workers: make partial sums over chunks of a fixed number of rows in w.shared memory,
// then a barrier, then add the chunks in their order.
package cpu
