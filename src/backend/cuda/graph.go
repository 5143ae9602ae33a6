//go:build cuda

package cuda

// #include <cuda.h>
//
// // Nothing that the stream's thread does while it captures is unsafe: what needs memory or a module was done when the run went by uncaptured.
// static CUresult beginCapture(void *s) { return cuStreamBeginCapture((CUstream)s, CU_STREAM_CAPTURE_MODE_RELAXED); }
//
// static CUresult endCapture(void *s, void **exec) {
//     CUgraph graph = NULL;
//     CUresult r = cuStreamEndCapture((CUstream)s, &graph);
//     if (r == CUDA_SUCCESS && exec) r = cuGraphInstantiateWithFlags((CUgraphExec *)exec, graph, 0);
//     if (graph) cuGraphDestroy(graph);
//     return r;
// }
// static CUresult launchGraph(void *exec, void *s) { return cuGraphLaunch((CUgraphExec)exec, (CUstream)s); }
// static CUresult destroyGraph(void *exec) { return cuGraphExecDestroy((CUgraphExec)exec); }
import "C"

import (
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"sync/atomic"
	"unsafe"

	"cambium/src/backend"
)

// A run of operations that comes again, with the same kernels, grids and parameters, is captured into a CUDA graph the second time and launched
// as one from then on. Runs are told apart by what is in them, so nobody has to say that something changed: a loss scale, a mask, a
// grown model, the first micro-batch, whose gradients overwrite, are other runs. Operations that are more than launches (copies from and
// to the host, events, libraries, host functions) part runs.

const (
	minGraph  = 4   // operations that are worth a graph
	maxGraphs = 256 // runs that a stream remembers
)

// graphsVariable, when it is off, has every operation launched by itself.
const graphsVariable = "CAMBIUM_GRAPHS"

func graphsWanted() bool { return os.Getenv(graphsVariable) != "off" }

// graphCounts are for tests.
type graphCounts struct{ captured, replayed, refused atomic.Int64 }

// Graphs is how many graphs of b were captured so far, and how many launched.
func Graphs(b backend.Backend) (captured, launched int64) {
	c := &b.(*gpu).counts
	return c.captured.Load(), c.replayed.Load()
}

// run is one that has been seen.
type run struct {
	ops    []op           // what it was captured from
	exec   unsafe.Pointer // CUgraphExec; nil: not captured yet
	refuse bool           // capturing it failed
	used   uint64         // when
}

// runs are those of a stream, by a hash of what is in them. They belong to the stream's goroutine.
type runs struct {
	seed  maphash.Seed
	known map[uint64]*run
	clock uint64
}

// Gather begins a run.
func (s *stream) Gather() { s.gathering = s.b.graphs }

// HandOver ends it.
func (s *stream) HandOver() {
	s.gathering = false
	s.handOver()
}

// enqueue hands an operation over, or gathers it. After Close it is a mistake of the program.
func (s *stream) enqueue(o op) {
	if s.gathering && o.run == nil {
		s.gathered = append(s.gathered, o)
		return
	}
	s.handOver()
	s.queue <- o
}

// handOver enqueues what has been gathered so far.
func (s *stream) handOver() {
	ops := s.gathered
	if len(ops) == 0 {
		return
	}
	s.gathered = nil
	select {
	case used := <-s.spare:
		s.gathered = used[:0]
	default:
	}
	s.queue <- op{name: "a run of operations", run: func(s *stream) error { return s.together(ops) }}
}

// giveBack keeps the memory of a run for another one.
func (s *stream) giveBack(ops []op) {
	select {
	case s.spare <- ops:
	default:
	}
}

// together does a run, which is handed over with its memory.
func (s *stream) together(ops []op) error {
	if len(ops) < minGraph || s.b.profile.Load() != nil {
		defer s.giveBack(ops)
		return s.each(ops)
	}
	defer s.giveBack(ops)
	r, again := s.runs.find(ops)
	switch {
	case r.exec != nil && same(r.ops, ops):
	case r.exec == nil && again && !r.refuse:
		r.ops = slices.Clone(ops) // before they are changed
		if err := s.capture(r, ops); err != nil {
			r.refuse, r.ops = true, nil
			s.b.counts.refused.Add(1)
			return s.each(ops)
		}
	default:
		return s.each(ops)
	}
	s.b.counts.replayed.Add(1)
	s.last = fmt.Sprintf("%s (one of %d operations in a graph)", ops[len(ops)-1].name, len(ops))
	return result(C.launchGraph(r.exec, rawStream(s.cu)))
}

// each does operations one by one, until one fails.
func (s *stream) each(ops []op) error {
	for i := range ops {
		if err := s.execute(&ops[i]); err != nil {
			return fmt.Errorf("%s: %w", ops[i].name, err)
		}
	}
	return nil
}

// capture makes the graph of a run.
func (s *stream) capture(r *run, ops []op) error {
	if err := result(C.beginCapture(rawStream(s.cu))); err != nil {
		return err
	}
	s.capturing = true
	err := s.each(ops)
	s.capturing = false
	if err != nil {
		C.endCapture(rawStream(s.cu), nil)
		return err
	}
	if err = result(C.endCapture(rawStream(s.cu), &r.exec)); err == nil {
		s.b.counts.captured.Add(1)
	}
	return err
}

var errCapturing = errors.New("who does this GEMM is not known yet")

// find looks for a run, and tells whether it was there. It makes room for a new one.
func (m *runs) find(ops []op) (r *run, again bool) {
	key := m.hash(ops)
	m.clock++
	if r, again = m.known[key]; !again {
		if len(m.known) >= maxGraphs {
			m.forgetOldest()
		}
		r = &run{}
		m.known[key] = r
	}
	r.used = m.clock
	return r, again
}

func (m *runs) forgetOldest() {
	var oldest uint64
	for key, r := range m.known {
		if o := m.known[oldest]; o == nil || r.used < o.used {
			oldest = key
		}
	}
	m.known[oldest].free()
	delete(m.known, oldest)
}

func (r *run) free() {
	if r.exec != nil {
		C.destroyGraph(r.exec)
	}
}

func (m *runs) free() {
	for _, r := range m.known {
		r.free()
	}
	m.known = nil
}

func (m *runs) hash(ops []op) uint64 {
	var h maphash.Hash
	h.SetSeed(m.seed)
	for i := range ops {
		o := &ops[i]
		shape := [...]uint32{o.grid[0], o.grid[1], o.grid[2], o.block[0], uint32(o.size)}
		h.Write(unsafe.Slice((*byte)(unsafe.Pointer(&shape)), unsafe.Sizeof(shape)))
		h.WriteString(o.name)
		h.Write(o.args[:o.size])
	}
	return h.Sum64()
}

// same tells whether two runs launch the same.
func same(a, b []op) bool {
	return slices.EqualFunc(a, b, func(x, y op) bool { return x.like(&y) })
}

func (o *op) like(x *op) bool {
	return o.kernel == x.kernel && o.name == x.name && o.grid == x.grid && o.block == x.block && o.shared == x.shared && o.size == x.size &&
		(o.call == nil) == (x.call == nil) && string(o.args[:o.size]) == string(x.args[:x.size])
}
