package cpu

import (
	"sync"
	"sync/atomic"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// task is one enqueued operation: the function that every worker calls, and its arguments by value. A task uses the one
// field that its run function reads; the others hold leftovers.
type task struct {
	name string
	run  func(w *worker, t *task)

	vec       vecArgs
	normal    backend.Normal
	gemm      backend.Gemm
	embedding backend.Embedding
	norm      backend.Norm
	normGrad  backend.NormGrad
	rotary    backend.Rotary
	attention backend.AttentionGrad // the forward uses the embedded Attention
	swiglu    backend.SwiGLU
	entropy   backend.CrossEntropy
	stats     backend.CrossEntropyStats
	finish    backend.CrossEntropyFinish
	adamw     backend.AdamW
	host      func() error
	bytes     []byte
	source    *stream
	position  uint64
}

// vecArgs are the arguments of the simple vector operations.
type vecArgs struct {
	x, y       tensor.Tensor
	a          float32
	accumulate bool
}

// worker is one of the goroutines that run a stream's tasks together, as run functions see it.
type worker struct {
	index, count int // this worker's number, and how many there are
	level        level
	stream       *stream
	mine         []float32
	claimed      bool
	product      product          // the GEMM at work
	edge         [maxTile]float32 // a whole tile, where C has only a part of it
}

// part is the range of n things that this worker does, in whole multiples of align: contiguous, in worker order, together
// everything. The same n and align give the same rows in every operation, so that they stay in this worker's cache.
func (w *worker) part(n, align int) (lo, hi int) { return part(n, w.index, w.count, align) }

func part(n, index, count, align int) (lo, hi int) {
	blocks := (n + align - 1) / align
	lo = min(blocks*index/count*align, n)
	hi = min(blocks*(index+1)/count*align, n)
	return lo, hi
}

// claim gives each of the numbers 0 to n-1 to exactly one worker of the present phase: first those of the worker's own
// part, then what slower workers have left. It returns false when nothing is left. Who does what must not change any
// result.
func (w *worker) claim(n int) (int, bool) {
	w.claimed = true
	for k := range w.count {
		v := w.index + k
		if v >= w.count {
			v -= w.count
		}
		lo, hi := part(n, v, w.count, 1)
		c := &w.stream.cursor[v].n
		if lo+int(c.Load()) >= hi {
			continue
		}
		if i := lo + int(c.Add(1)) - 1; i < hi {
			return i, true
		}
	}
	return 0, false
}

// cursor counts what of one worker's part was claimed.
type cursor struct {
	n atomic.Int64
	_ [cacheLine - 8]byte
}

// scratch is n floats that only this worker uses, until its next call of scratch. They begin at a cache line and hold
// leftovers. It allocates only when n is larger than ever before.
func (w *worker) scratch(n int) []float32 {
	if cap(w.mine) < n {
		w.stream.scratch.Add(int64(4 * (n - cap(w.mine))))
		w.mine = alignedFloats(n)
	}
	return w.mine[:n]
}

// shared is n floats that all workers of the running operation see, with leftovers in them. An operation calls it
// once, in every worker, with the same n.
func (w *worker) shared(n int) []float32 {
	p := &w.stream.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if cap(p.mem) < n {
		w.stream.scratch.Add(int64(4 * (n - cap(p.mem))))
		p.mem = alignedFloats(n)
	}
	return p.mem[:n]
}

type pool struct {
	mu  sync.Mutex
	mem []float32
}

// barrier waits until every worker has called it: what they wrote before can be read after it. Claims begin anew.
func (w *worker) barrier() {
	if w.count == 1 {
		w.resetClaims()
		return
	}
	w.stream.phase.wait(w)
}

func (w *worker) resetClaims() {
	if w.claimed {
		w.claimed = false
		w.stream.cursor[0].n.Store(0)
	}
}
