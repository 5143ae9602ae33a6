//go:build cuda

package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"gorgonia.org/cu"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// queueSize is the number of operations that may wait between a rank and its stream's goroutine.
const queueSize = 256

// maxArgs is the size of the largest kernel parameter in the queue, maxParams of any: what every driver takes.
const (
	maxArgs   = 640
	maxParams = 4096
)

// workspaceBytes is memory of every stream for what a reduction leaves between its two launches.
const workspaceBytes = 16 << 20

// stream is a CUDA stream and the goroutine that feeds it.
type stream struct {
	b          *gpu
	name       string
	queue      chan op
	cu         cu.Stream
	workspace  *tensor.Memory
	shares     *tensor.Memory // what blocks of a GEMM leave for each other; nil until the first one that needs it
	flag       *tensor.Memory // int32: a kernel met an impossible argument; behind it the counters
	params     unsafe.Pointer // what a launch hands to the driver
	pinned     []byte         // what copies go through
	pinnedUsed int            // by uploads that may be on their way
	leans      bool           // it has waited for another stream, or has a library's work, since the last wait for the device
	opened     error          // why there is no stream

	gemms     map[gemmKey]way // who does them: see gemmchoice.go
	plans     []*blasPlan
	blasSpace *tensor.Memory // what cuBLASLt works in, once it is wanted

	gathering bool      // by the goroutine that enqueues: see graph.go
	gathered  []op      // likewise
	spare     chan []op // memory of runs that are done
	runs      runs
	capturing bool

	landings []landing // downloads that are on their way

	lists chan *adamwArgs // that are not in use

	skip   atomic.Bool // an error waits for Sync
	mu     sync.Mutex
	err    error
	last   string      // name of the operation launched last
	flags  atomic.Bool // an operation that may raise the flag ran since the last Sync
	closed bool
	ended  sync.WaitGroup
}

var _ backend.Stream = (*stream)(nil)

// op is one entry of the queue.
type op struct {
	name   string
	run    func(s *stream) error        // on the stream's goroutine
	call   func(s *stream, o *op) error // the same for what finds all it needs in args; without both: launch
	kernel *kernel
	by     string // who did it, when call has decided that
	grid   dim
	block  dim
	shared uint32
	size   int
	args   [maxArgs]byte
	always bool // runs after an error too: Sync waits for it
	work   bool // run gives the device work in stream order, which a profile times
}

// event is a point in a stream. A wait in another stream must not reach the driver before the record that it means.
type event struct {
	backend.EventBase
	cu     cu.Event
	err    error
	mu     sync.Mutex
	issued *sync.Cond
	asked  uint64 // records enqueued
	done   uint64 // records given to the driver, or skipped
}

func newStream(b *gpu, name string) *stream {
	s := &stream{b: b, name: name, queue: make(chan op, queueSize), gemms: map[gemmKey]way{}, spare: make(chan []op, 4), lists: make(chan *adamwArgs, maxLists), runs: runs{maphash.MakeSeed(), map[uint64]*run{}, 0}}
	ready := make(chan struct{})
	s.ended.Add(1)
	go s.feed(ready)
	<-ready
	return s
}

func (b *gpu) NewEvent() backend.Event {
	e := &event{}
	e.issued = sync.NewCond(&e.mu)
	e.err = b.do(func() (err error) {
		e.cu, err = cu.MakeEvent(cu.DisableTiming)
		return err
	})
	return e
}

// feed is the life of the stream's goroutine.
func (s *stream) feed(ready chan struct{}) {
	defer s.ended.Done()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.params = newParams()
	defer freeParams(s.params)
	s.opened = s.open()
	close(ready)
	var o op // one for all, for it lies on the heap
	for more := true; ; {
		if o, more = <-s.queue; !more {
			return
		}
		if s.skip.Load() && !o.always {
			continue
		}
		if err := s.execute(&o); err != nil {
			s.fail(fmt.Errorf("cuda: %s in stream %q: %w", o.name, s.name, err))
		}
	}
}

func (s *stream) open() (err error) {
	if err = cu.SetCurrentContext(s.b.context); err != nil {
		return err
	}
	if s.cu, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return err
	}
	if s.pinned, err = newPinned(pinnedBytes); err != nil {
		return err
	}
	if s.workspace, err = s.b.Alloc("workspace", workspaceBytes); err != nil {
		return err
	}
	s.flag, err = s.b.Alloc("workspace", 4*(1+counters))
	return err
}

func (s *stream) execute(o *op) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if s.opened != nil {
		if o.always { // somebody waits for it
			s.fail(s.opened)
			return o.run(s)
		}
		return s.opened
	}
	if p := s.b.profile.Load(); p != nil && (o.run == nil || o.work) {
		return p.around(s, o, func() error { return s.give(o) })
	}
	return s.give(o)
}

// give gives an operation to the driver.
func (s *stream) give(o *op) error {
	switch {
	case o.run != nil:
		return o.run(s)
	case o.call != nil:
		return o.call(s, o)
	}
	s.last = o.name
	copy(unsafe.Slice((*byte)(s.params), o.size), o.args[:])
	return launch(o.kernel, o.grid, o.block, o.shared, s.cu, s.params)
}

// fail keeps the first error.
func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.skip.Store(true)
}

// wait blocks the stream's goroutine until the device is done. What went wrong on the device is told with the
// operation launched last, and by the emulator with kernel and source line.
func (s *stream) wait() error {
	if s.opened != nil {
		return s.opened
	}
	watched := s.watch()
	err := s.cu.Synchronize()
	if err == nil {
		s.land()
		return watched
	}
	s.landings = nil
	if text := report(); text != "" {
		return errors.New(text)
	}
	return fmt.Errorf("the device stopped at or before %s: %w", s.last, err)
}

func (s *stream) Do(name string, f func() error) {
	s.enqueue(op{name: name, run: func(s *stream) error {
		if err := s.wait(); err != nil {
			return err
		}
		return f()
	}})
}

func (s *stream) Sync() error {
	done := make(chan struct{})
	s.enqueue(op{name: "synchronisation", always: true, run: func(s *stream) error {
		defer close(done)
		err := s.wait()
		if err == nil {
			err = s.checkFlag()
		}
		if err != nil {
			s.fail(fmt.Errorf("cuda: stream %q: %w", s.name, err))
		}
		return nil
	}})
	<-done
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.err
	s.err = nil
	s.skip.Store(false)
	return err
}

// checkFlag looks whether a kernel met an impossible argument.
func (s *stream) checkFlag() error {
	if !s.flags.Load() {
		return nil
	}
	s.flags.Store(false)
	at := cu.DevicePtr(s.flag.Device)
	if err := cu.MemcpyDtoH(unsafe.Pointer(&s.pinned[0]), at, 4); err != nil || binary.NativeEndian.Uint32(s.pinned) == 0 {
		return err
	}
	if err := cu.MemsetD8(at, 0, 4); err != nil {
		return err
	}
	return errors.New("cross-entropy: a target is not in the vocabulary")
}

func (s *stream) Record(ev backend.Event) {
	e := ev.(*event)
	e.mu.Lock()
	e.asked++
	n := e.asked
	e.mu.Unlock()
	s.enqueue(op{name: "record", always: true, run: func(s *stream) error {
		err := e.err
		if err == nil && len(s.landings) > 0 { // who waits for the event may look at what was downloaded
			err = s.wait()
		}
		if err == nil {
			err = e.cu.Record(s.cu)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.done = n
		e.issued.Broadcast()
		return err
	}})
}

func (s *stream) Wait(ev backend.Event) {
	e := ev.(*event)
	e.mu.Lock()
	n := e.asked
	e.mu.Unlock()
	s.enqueue(op{name: "wait", run: func(s *stream) error {
		e.mu.Lock()
		for e.done < n {
			e.issued.Wait()
		}
		e.mu.Unlock()
		s.leans = true
		return s.cu.Wait(e.cu, 0)
	}})
}

func (s *stream) close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	err := s.Sync()
	close(s.queue)
	s.ended.Wait()
	if s.opened == nil {
		s.b.do(func() error {
			freePinned(s.pinned)
			s.runs.free()
			return s.cu.Destroy()
		})
	}
	for _, p := range s.plans {
		s.b.blas.freePlan(p)
	}
	for _, m := range []*tensor.Memory{s.workspace, s.shares, s.flag, s.blasSpace} {
		s.b.Free(m)
	}
	return err
}
