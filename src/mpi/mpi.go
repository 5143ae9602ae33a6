//go:build mpi

package mpi

// #include "shim.h"
// #cgo CFLAGS: -O2 -std=gnu11
import "C"

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"
)

// Level is how threads may call MPI.
type Level int

// The levels, in MPI's order.
const (
	Single Level = iota
	Funneled
	Serialized
	Multiple
)

func (l Level) String() string {
	return [...]string{"MPI_THREAD_SINGLE", "MPI_THREAD_FUNNELED", "MPI_THREAD_SERIALIZED", "MPI_THREAD_MULTIPLE"}[l]
}

// Env is MPI between InitThread and Finalize.
type Env struct {
	Provided Level
	finalize chan struct{}
	result   chan error
}

// InitThread starts MPI, on an OS thread that stays reserved until Finalize. A process can do it once. An MPI that grants
// less than want is an error.
func InitThread(want Level) (*Env, error) {
	e := &Env{finalize: make(chan struct{}), result: make(chan error)}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var got C.int
		err := fault(C.cm_init_thread(C.int(want), &got), "MPI_Init_thread", none)
		e.Provided = Level(got)
		e.result <- err
		if err != nil {
			return
		}
		<-e.finalize
		e.result <- fault(C.cm_finalize(), "MPI_Finalize", none)
	}()
	if err := <-e.result; err != nil {
		return nil, err
	}
	if e.Provided < want {
		return e, fmt.Errorf("mpi: %s gives %v only: Cambium needs %v", Library(), e.Provided, want)
	}
	return e, nil
}

// Finalize ends MPI. All ranks call it, none has calls under way.
func (e *Env) Finalize() error {
	close(e.finalize)
	return <-e.result
}

// Initialized tells whether this process is between InitThread and Finalize.
func Initialized() bool { return C.cm_initialized() != 0 }

// Abort ends all processes of the job with an exit code, at once. It does not return.
func Abort(code int) { C.cm_abort(C.cm_world(), C.int(code)) }

// Library is name and version of the MPI: "Open MPI 4.1.4", "MPICH 4.0.2".
func Library() string {
	var text [256]C.char
	C.cm_library(&text[0], 256)
	line, _, _ := strings.Cut(C.GoString(&text[0]), "\n")
	words := strings.Fields(strings.NewReplacer(",", " ", ":", " ").Replace(line))
	switch {
	case len(words) >= 3 && words[0] == "Open":
		return "Open MPI " + strings.TrimPrefix(words[2], "v")
	case len(words) >= 3 && words[0] == "MPICH":
		return "MPICH " + words[2]
	}
	return strings.TrimSpace(line)
}

// Wtime is MPI's clock, in seconds.
func Wtime() float64 { return float64(C.cm_wtime()) }

// Yield lets other processes have the processor.
func Yield() { C.cm_yield() }

// Error is what an MPI call returned.
type Error struct {
	Call string
	Peer int // rank in the call's communicator, -1 where there is none
	Code int
	Text string // MPI's
}

// none is the peer of calls that have none.
const none = -1

func (e *Error) Error() string {
	if e.Peer < 0 {
		return fmt.Sprintf("mpi: %s: %s", e.Call, e.Text)
	}
	return fmt.Sprintf("mpi: %s with rank %d: %s", e.Call, e.Peer, e.Text)
}

// fault makes an error of a return code.
func fault(code C.int, call string, peer int) error {
	if code == 0 { // MPI_SUCCESS, by the standard
		return nil
	}
	var text [512]C.char
	var class C.int
	C.cm_error_string(code, &text[0], 512, &class)
	return &Error{call, peer, int(code), strings.TrimSpace(strings.ReplaceAll(C.GoString(&text[0]), "\n", " "))}
}

// Type is what slices hold.
type Type interface {
	byte | uint16 | int32 | int64 | float32 | float64
}

// Op combines elements.
type Op int

// The operations.
const (
	Sum Op = C.cm_sum
	Max Op = C.cm_max
	Min Op = C.cm_min
)

func typeOf[T Type]() C.int {
	var x T
	switch any(x).(type) {
	case uint16:
		return C.cm_u16
	case int32:
		return C.cm_i32
	case int64:
		return C.cm_i64
	case float32:
		return C.cm_f32
	case float64:
		return C.cm_f64
	}
	return C.cm_byte
}

// ptr is where a slice begins; nil when it is empty.
func ptr[T Type](s []T) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(s)) }

// most is the longest message: MPI counts in int.
const most = 1<<31 - 1

func checkLen(call string, n int) error {
	if n > most {
		return fmt.Errorf("mpi: %s of %d elements: want at most %d", call, n, most)
	}
	return nil
}
