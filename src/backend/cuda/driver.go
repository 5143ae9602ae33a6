//go:build cuda

package cuda

// #include <cuda.h>
// #include <stdlib.h>
// #include <string.h>
//
// int cambiumCudaInit(void);
// const char *cambiumCudaProblem(void);
// void *cambiumCudaSymbol(const char *name);
//
// // launch starts a kernel whose only parameter is a struct by value, at args, which the driver copies. Not by a buffer of parameters: there a
// // struct with tensor maps, aligned to 128 bytes, would have to lie at an offset that only the kernel's image knows.
// static CUresult launch(void *f, const unsigned *grid, const unsigned *block, unsigned shared, void *stream, void *args) {
//     void *params[] = {args};
//     return cuLaunchKernel((CUfunction)f, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, (CUstream)stream, params, NULL);
// }
//
// static CUresult maxShared(void *f, int bytes) {
//     return cuFuncSetAttribute((CUfunction)f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes);
// }
//
// static int clusterWidth(void *f) {
//     int n = 0;
//     return cuFuncGetAttribute(&n, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH, (CUfunction)f) == CUDA_SUCCESS ? n : 0;
// }
//
// static int emulatorReport(char *out, int size) {
//     int (*f)(char *, int) = (int (*)(char *, int))cambiumCudaSymbol("cambiumEmuReport");
//     return f ? f(out, size) : 0;
// }
import "C"

import (
	"fmt"
	"strings"
	"unsafe"

	"gorgonia.org/cu"
)

// What gorgonia.org/cu has no call for, over the same driver.

// kernel is a function of the loaded modules, ready to be launched.
type kernel struct {
	name    string
	raw     unsafe.Pointer // CUfunction
	cluster int            // blocks of the cluster that it was compiled for
}

// rawFunction and rawStream take the driver's handles out of the structs that hold nothing else.
func rawFunction(f cu.Function) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&f)) }
func rawStream(s cu.Stream) unsafe.Pointer     { return *(*unsafe.Pointer)(unsafe.Pointer(&s)) }

// dim is the three dimensions of a grid or a block.
type dim [3]uint32

// launch starts k with one by-value struct at args as its parameter.
func launch(k *kernel, grid, block dim, shared uint32, s cu.Stream, args unsafe.Pointer) error {
	return result(C.launch(k.raw, (*C.uint)(&grid[0]), (*C.uint)(&block[0]), C.uint(shared), rawStream(s), args))
}

// newParams is memory of C's for one parameter struct: the driver copies it, but Go may not hand its own over while it lies beside
// pointers. freeParams gives it back.
func newParams() unsafe.Pointer   { return C.malloc(maxParams) }
func freeParams(p unsafe.Pointer) { C.free(p) }

// newPinned is host memory that the device reads and writes by itself.
func newPinned(bytes int) ([]byte, error) {
	var p unsafe.Pointer
	if err := result(C.cuMemHostAlloc(&p, C.size_t(bytes), 0)); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), bytes), nil
}

func freePinned(p []byte) {
	if len(p) > 0 {
		C.cuMemFreeHost(unsafe.Pointer(&p[0]))
	}
}

// allowShared lets a kernel have more than 48 KiB of dynamic shared memory.
func allowShared(k *kernel, bytes int) error { return result(C.maxShared(k.raw, C.int(bytes))) }

// clusterWidth is how many blocks a cluster of a kernel has.
func clusterWidth(k *kernel) int { return max(int(C.clusterWidth(k.raw)), 1) }

// code is the driver's number of an error.
type code int

func (c code) Error() string {
	var name, text *C.char
	C.cuGetErrorName(C.CUresult(c), &name)
	C.cuGetErrorString(C.CUresult(c), &text)
	if name == nil || text == nil {
		return fmt.Sprintf("CUDA error %d", int(c))
	}
	return fmt.Sprintf("%s (%s)", C.GoString(name), C.GoString(text))
}

func result(r C.CUresult) error {
	if r == C.CUDA_SUCCESS {
		return nil
	}
	return code(r)
}

// initialize asks the driver for the truth about itself: whether there is one, and a device.
func initialize() error {
	if problem := C.GoString(C.cambiumCudaProblem()); problem != "" {
		return fmt.Errorf("cuda: no NVIDIA driver on this machine (%s): install one, or use the CPU backend", problem)
	}
	switch r := C.cambiumCudaInit(); r {
	case C.CUDA_SUCCESS:
		return nil
	case C.CUDA_ERROR_NO_DEVICE:
		return fmt.Errorf("cuda: the driver finds no GPU: see nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU backend")
	default:
		return fmt.Errorf("cuda: the driver does not start: %w", code(r))
	}
}

// emulated tells whether the driver is cuda/emu's.
func emulated() bool {
	name := C.CString("cambiumEmuReport")
	defer C.free(unsafe.Pointer(name))
	return C.cambiumCudaSymbol(name) != nil
}

// report is what the emulated driver found wrong with a kernel; "" on a GPU.
func report() string {
	buf := (*C.char)(C.malloc(4096))
	defer C.free(unsafe.Pointer(buf))
	if C.emulatorReport(buf, 4096) == 0 {
		return ""
	}
	return strings.TrimSpace(C.GoString(buf))
}
