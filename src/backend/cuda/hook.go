//go:build cuda

package cuda

// #include <cuda.h>
import "C"

import (
	"runtime"
	"time"
	"unsafe"

	"cambium/src/backend"
)

// Libraries that enqueue work of their own on our streams (NCCL) come in here.

// OnStream has f enqueue work on s's CUstream, in the order of s's operations, on the goroutine that feeds it; the device's context is
// current. f must not wait for the device. After an error in the stream f runs with nil and enqueues nothing: it only lets others go on.
func OnStream(s backend.Stream, name string, f func(raw unsafe.Pointer) error) {
	s.(*stream).enqueue(op{name: name, always: true, work: true, run: func(s *stream) error {
		if s.opened != nil || s.skip.Load() {
			return f(nil)
		}
		s.last, s.leans = name, true
		return f(rawStream(s.cu))
	}})
}

// OnDevice runs f on an OS thread on which b's context is current.
func OnDevice(b backend.Backend, f func() error) error { return b.(*gpu).do(f) }

// Watch has f asked again and again while any stream of b is waited for. f's error ends the stream; f must have seen to it that the
// device gets on, for the wait goes on until then. It is for work that others than the device can hold up: that of other ranks.
func Watch(b backend.Backend, f func() error) {
	g := b.(*gpu)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watches = append(g.watches[:len(g.watches):len(g.watches)], f)
}

const (
	watchSpin  = 100                    // looks at a stream without a pause
	watchPause = 100 * time.Microsecond // between later looks
	watchEvery = 50 * time.Millisecond  // between questions
)

// watch asks the watches until the stream is idle, and returns the first error of one. Without watches it returns at once. When the
// stream is found idle they are asked only if what it did hung on others: that may have ended because they gave up.
func (s *stream) watch() (err error) {
	s.b.mu.Lock()
	watches := s.b.watches
	s.b.mu.Unlock()
	ask := func() {
		for _, f := range watches {
			if err == nil {
				err = f()
			}
		}
	}
	for n, asked := 0, time.Now(); len(watches) > 0 && C.cuStreamQuery(C.CUstream(rawStream(s.cu))) == C.CUDA_ERROR_NOT_READY; n++ {
		if n < watchSpin {
			runtime.Gosched()
			continue
		}
		time.Sleep(watchPause)
		if time.Since(asked) > watchEvery {
			asked = time.Now()
			ask()
		}
	}
	if s.leans {
		s.leans = false
		ask()
	}
	return err
}

// Mark is a point in a stream of which anybody may ask whether the device has passed it. The device's context is current in all calls.
type Mark struct{ e C.CUevent }

func NewMark() (*Mark, error) {
	m := &Mark{}
	return m, result(C.cuEventCreate(&m.e, C.CU_EVENT_DISABLE_TIMING))
}

// Set puts the mark behind what the CUstream was given so far.
func (m *Mark) Set(raw unsafe.Pointer) error { return result(C.cuEventRecord(m.e, C.CUstream(raw))) }

// Passed is true also when the device has stopped for good.
func (m *Mark) Passed() bool { return C.cuEventQuery(m.e) != C.CUDA_ERROR_NOT_READY }

// Free gives the event back.
func (m *Mark) Free() { C.cuEventDestroy(m.e) }
