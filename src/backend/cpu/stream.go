package cpu

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// ringSize is the number of tasks that may wait in a stream: enough for a host to run ahead of the workers by a few
// layers, few enough that it soon waits for them.
const ringSize = 256

// stream is a bounded ring of tasks that count workers run through together. The host writes a slot and advances head;
// when the last worker has finished a task it advances done.
type stream struct {
	name string

	mu     sync.Mutex // held by whoever enqueues
	ring   []task
	next   uint64 // tasks enqueued
	limit  uint64 // next may grow to here before done must be asked again
	closed bool

	head, done gate
	end, phase barrier // after every task; inside a task

	failed atomic.Bool // skip everything until Sync
	errMu  sync.Mutex
	err    error

	cursor  []cursor
	pool    pool
	scratch *atomic.Int64 // bytes of all scratch memory of the backend
	ended   sync.WaitGroup
}

var _ backend.Immediate = (*stream)(nil)

// newStream starts a stream and its workers, who count the bytes of their scratch memory.
func newStream(name string, workers int, l level, scratch *atomic.Int64) *stream {
	s := &stream{name: name, ring: make([]task, ringSize), limit: ringSize, cursor: make([]cursor, workers), scratch: scratch}
	s.head.init()
	s.done.init()
	s.end.init(workers)
	s.phase.init(workers)
	s.ended.Add(workers)
	for i := range workers {
		go s.work(&worker{index: i, count: workers, level: l, stream: s})
	}
	return s
}

// begin takes the next slot of the ring; the caller fills in what run reads and calls commit. While all slots are in use
// it waits until half of them are free, so that host and workers do not wake each other for every task.
func (s *stream) begin(name string, run func(w *worker, t *task)) *task {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(fmt.Sprintf("cpu: %s enqueued in stream %q after Close", name, s.name))
	}
	return s.slot(name, run)
}

// slot is begin for a caller that has the lock.
func (s *stream) slot(name string, run func(w *worker, t *task)) *task {
	if s.next == s.limit {
		s.done.await(s.next-ringSize/2, 0)
		s.limit = s.done.value.Load() + ringSize
	}
	t := &s.ring[s.next%ringSize]
	t.name, t.run = name, run
	return t
}

// commit hands the slot of begin to the workers.
func (s *stream) commit() {
	s.next++
	s.head.advance(s.next)
	s.mu.Unlock()
}

// work is the life of one worker.
func (s *stream) work(w *worker) {
	defer s.ended.Done()
	for at := uint64(0); ; at++ {
		s.head.await(at+1, spinRounds)
		t := &s.ring[at%ringSize]
		if t.run == nil {
			return
		}
		s.execute(w, t)
		if w.count == 1 {
			w.resetClaims()
			s.done.advance(at + 1)
			continue
		}
		s.end.finish(w, at+1)
	}
}

// errAbandoned unwinds a worker out of a phase barrier when another worker of the task panicked.
var errAbandoned = errors.New("cpu: task abandoned")

func (s *stream) execute(w *worker, t *task) {
	if s.failed.Load() {
		return
	}
	defer func() {
		if r := recover(); r != nil && r != errAbandoned {
			s.fail(fmt.Errorf("cpu: %s in stream %q: %v", t.name, s.name, r))
			s.phase.abandon()
		}
	}()
	t.run(w, t)
}

func (s *stream) fail(err error) {
	s.errMu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.errMu.Unlock()
	s.failed.Store(true)
}

// Sync waits until everything enqueued is done and returns the first error since the last Sync. It must not be called
// from a Do of the same stream.
func (s *stream) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drain()
}

func (s *stream) drain() error {
	s.done.await(s.next, 0)
	// The queue is empty and nobody can enqueue: no worker looks at these now.
	s.errMu.Lock()
	defer s.errMu.Unlock()
	err := s.err
	s.err = nil
	s.failed.Store(false)
	return err
}

// close drains the stream and ends its workers.
func (s *stream) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	err := s.drain()
	s.closed = true
	s.ring[s.next%ringSize].run = nil
	s.next++
	s.head.advance(s.next)
	s.ended.Wait()
	return err
}

// event is a position in a stream. Waiting for it is waiting until that stream has done so many tasks.
type event struct {
	backend.EventBase
	mu       sync.Mutex
	stream   *stream
	position uint64
}

// Record marks the work enqueued so far.
func (s *stream) Record(e backend.Event) {
	s.mu.Lock()
	at := s.next
	s.mu.Unlock()
	ev := e.(*event)
	ev.mu.Lock()
	ev.stream, ev.position = s, at
	ev.mu.Unlock()
}

// Wait makes later work of s wait for what e marks now. An event that was never recorded marks nothing.
func (s *stream) Wait(e backend.Event) {
	ev := e.(*event)
	ev.mu.Lock()
	source, at := ev.stream, ev.position
	ev.mu.Unlock()
	if source == nil || source == s || source.done.value.Load() >= at {
		return
	}
	t := s.begin("wait", runWait)
	t.source, t.position = source, at
	s.commit()
}

func runWait(w *worker, t *task) {
	if w.index == 0 {
		t.source.done.await(t.position, spinRounds)
	}
}

// Do runs f on one worker, in stream order.
func (s *stream) Do(name string, f func() error) {
	t := s.begin(name, runDo)
	t.host = f
	s.commit()
}

func runDo(w *worker, t *task) {
	if w.index != 0 {
		return
	}
	f := t.host
	t.host = nil // a slot must not keep alive what f captured
	if err := f(); err != nil {
		w.stream.fail(err)
	}
}

// Now runs first on the caller, while nobody can enqueue, where the stream has nothing to do.
func (s *stream) Now(name string, first func() (bool, error), rest func() error) bool {
	s.mu.Lock()
	if s.closed || s.done.value.Load() < s.next {
		s.mu.Unlock()
		return false
	}
	defer s.mu.Unlock()
	if s.failed.Load() {
		return true // skipped, as all work until Sync
	}
	done, err := first()
	switch {
	case err != nil:
		s.fail(err)
	case !done:
		t := s.slot(name, runDo)
		t.host = rest
		s.next++
		s.head.advance(s.next)
	}
	return true
}

// Upload copies host memory to the device in stream order.
func (s *stream) Upload(dst tensor.Tensor, src []byte) {
	checkTransfer("upload", dst, src)
	t := s.begin("upload", runUpload)
	t.vec.x, t.bytes = dst, src
	s.commit()
}

// Download copies device memory to the host in stream order.
func (s *stream) Download(dst []byte, src tensor.Tensor) {
	checkTransfer("download", src, dst)
	t := s.begin("download", runDownload)
	t.vec.x, t.bytes = src, dst
	s.commit()
}

func checkTransfer(name string, x tensor.Tensor, raw []byte) {
	if !x.Present() || len(raw) != x.Bytes() {
		panic(fmt.Sprintf("cpu: %s of %d bytes for %v of %d bytes", name, len(raw), x, x.Bytes()))
	}
}

func runUpload(w *worker, t *task) {
	eachRow(w, t, func(device, host []byte) { copy(device, host) })
}

func runDownload(w *worker, t *task) {
	eachRow(w, t, func(device, host []byte) { copy(host, device) })
}

// eachRow calls f with the pieces of device and host memory that this worker copies.
func eachRow(w *worker, t *task, f func(device, host []byte)) {
	x, size := t.vec.x, t.vec.x.DType().Size()
	device := x.Memory().Host[x.Offset():]
	if x.Contiguous() {
		lo, hi := w.part(x.Bytes(), 4096)
		f(device[lo:hi], t.bytes[lo:hi])
		return
	}
	row := x.Cols() * size
	lo, hi := w.part(x.Rows(), 1)
	for i := lo; i < hi; i++ {
		at := i * x.LD() * size
		f(device[at:at+row], t.bytes[i*row:(i+1)*row])
	}
}
