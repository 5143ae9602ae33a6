//go:build cuda

package nccl

// #cgo LDFLAGS: -ldl
// #include <dlfcn.h>
// #include <stddef.h>
// #include <stdlib.h>
//
// // What we use of nccl.h, whose numbers are the same in all of NCCL 2.
// typedef struct { char internal[128]; } uniqueId;
// typedef void *handle;
// typedef struct {
//     void *library;
//     int (*ncclGetVersion)(int *);
//     int (*ncclGetUniqueId)(uniqueId *);
//     int (*ncclCommInitRank)(handle *, int, uniqueId, int);
//     int (*ncclCommSplit)(handle, int, int, handle *, void *);
//     int (*ncclCommDestroy)(handle);
//     int (*ncclCommAbort)(handle);
//     int (*ncclCommGetAsyncError)(handle, int *);
//     const char *(*ncclGetErrorString)(int);
//     const char *(*ncclGetLastError)(handle);
//     int (*ncclGroupStart)(void);
//     int (*ncclGroupEnd)(void);
//     int (*ncclAllReduce)(const void *, void *, size_t, int, int, handle, void *);
//     int (*ncclReduceScatter)(const void *, void *, size_t, int, int, handle, void *);
//     int (*ncclAllGather)(const void *, void *, size_t, int, handle, void *);
//     int (*ncclBroadcast)(const void *, void *, size_t, int, int, handle, void *);
//     int (*ncclReduce)(const void *, void *, size_t, int, int, int, handle, void *);
//     int (*ncclSend)(const void *, size_t, int, int, handle, void *);
//     int (*ncclRecv)(void *, size_t, int, int, handle, void *);
// } table;
//
// // version fills in enough to ask for it; 0 when this is no NCCL.
// static int version(table *t) {
//     int v = 0;
//     *(void **)&t->ncclGetVersion = dlsym(t->library, "ncclGetVersion");
//     if (t->ncclGetVersion) t->ncclGetVersion(&v);
//     return v;
// }
//
// // fill finds the functions and returns the name of one that is missing.
// static const char *fill(table *t) {
// #define FIND(f) if (!(*(void **)&t->f = dlsym(t->library, #f))) return #f
//     FIND(ncclGetUniqueId); FIND(ncclCommInitRank); FIND(ncclCommSplit); FIND(ncclCommDestroy); FIND(ncclCommAbort);
//     FIND(ncclCommGetAsyncError); FIND(ncclGetErrorString); FIND(ncclGetLastError); FIND(ncclGroupStart); FIND(ncclGroupEnd); FIND(ncclAllReduce);
//     FIND(ncclReduceScatter); FIND(ncclAllGather); FIND(ncclBroadcast); FIND(ncclReduce); FIND(ncclSend); FIND(ncclRecv);
//     return NULL;
// }
//
// static table *open_(const char *path, char **problem) {
//     void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
//     if (!library) { *problem = dlerror(); return NULL; }
//     table *t = calloc(1, sizeof *t);
//     t->library = library;
//     return t;
// }
// static void close_(table *t) { dlclose(t->library); free(t); }
//
// static int getUniqueId(table *t, uniqueId *id) { return t->ncclGetUniqueId(id); }
// static int initRank(table *t, handle *out, int n, uniqueId *id, int rank) { return t->ncclCommInitRank(out, n, *id, rank); }
// static int split(table *t, handle c, int color, int key, handle *out) { return t->ncclCommSplit(c, color, key, out, NULL); }
// static int destroy(table *t, handle c) { return t->ncclCommDestroy(c); }
// static int abort_(table *t, handle c) { return t->ncclCommAbort(c); }
// static int asyncError(table *t, handle c) { int e = 0, r = t->ncclCommGetAsyncError(c, &e); return r ? r : e; }
// static const char *errorString(table *t, int r) { return t->ncclGetErrorString(r); }
// static const char *lastError(table *t, handle c) { return t->ncclGetLastError(c); }
//
// typedef struct { size_t send, recv, count; int kind, type, op, peer; } call;
//
// static int one(table *t, const call *x, handle c, void *stream) {
//     const void *send = (const void *)x->send;
//     void *recv = (void *)x->recv;
//     switch (x->kind) {
//         case 0: return t->ncclAllReduce(send, recv, x->count, x->type, x->op, c, stream);
//         case 1: return t->ncclReduceScatter(send, recv, x->count, x->type, x->op, c, stream);
//         case 2: return t->ncclAllGather(send, recv, x->count, x->type, c, stream);
//         case 3: return t->ncclBroadcast(send, recv, x->count, x->type, x->peer, c, stream);
//         case 4: return t->ncclReduce(send, recv, x->count, x->type, x->op, x->peer, c, stream);
//         case 5: return t->ncclSend(send, x->count, x->type, x->peer, c, stream);
//         default: return t->ncclRecv(recv, x->count, x->type, x->peer, c, stream);
//     }
// }
//
// // together makes n calls in one group. The first failure counts.
// static int together(table *t, const call *list, int n, handle c, void *stream) {
//     int r = t->ncclGroupStart();
//     if (r) return r;
//     for (int i = 0; i < n && !r; i++) r = one(t, &list[i], c, stream);
//     int end = t->ncclGroupEnd();
//     return r ? r : end;
// }
import "C"

import (
	"fmt"
	"os"
	"unsafe"

	"cambium/src/tensor"
)

// minVersion is the first NCCL with ncclCommSplit.
const minVersion = 21800

// library is a loaded NCCL.
type library struct{ t *C.table }

// handle is an ncclComm_t.
type handle = C.handle

type uniqueID = [128]byte

// open loads the NCCL that CAMBIUM_NCCL names, libnccl.so.2 else.
func open() (*library, error) {
	path := os.Getenv("CAMBIUM_NCCL")
	if path == "" {
		path = "libnccl.so.2"
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var problem *C.char
	t := C.open_(name, &problem)
	if t == nil {
		return nil, fmt.Errorf("nccl: no NCCL on this machine (%s): install 2.18 or later (libnccl2), name its library in CAMBIUM_NCCL, or set comm: staged", C.GoString(problem))
	}
	v := int(C.version(t))
	if v == 0 {
		C.close_(t)
		return nil, fmt.Errorf("nccl: %s is not NCCL: name its library, 2.18 or later, in CAMBIUM_NCCL, or set comm: staged", path)
	}
	if v < minVersion {
		C.close_(t)
		return nil, fmt.Errorf("nccl: %s is NCCL %s, too old: install 2.18 or later, name its library in CAMBIUM_NCCL, or set comm: staged", path, versionText(v))
	}
	if missing := C.fill(t); missing != nil {
		C.close_(t)
		return nil, fmt.Errorf("nccl: %s, NCCL %s, has no function %s: install a whole NCCL of 2.18 or later, or set comm: staged", path, versionText(v), C.GoString(missing))
	}
	return &library{t}, nil
}

func (l *library) close() { C.close_(l.t) }

// versionText is for NCCL's numbers: those before 2.9 are written otherwise.
func versionText(v int) string {
	if v < 10000 {
		return fmt.Sprintf("%d.%d.%d", v/1000, v/100%10, v%100)
	}
	return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100)
}

// result is NCCL's number of an error, with its text.
type result struct {
	code int
	text string
}

const invalidUsage = 5 // ncclInvalidUsage

func (r *result) Error() string { return r.text }

// check makes an error of a result; c may be nil.
func (l *library) check(r C.int, c handle) error {
	if r == 0 {
		return nil
	}
	text := C.GoString(C.errorString(l.t, r))
	if last := C.GoString(C.lastError(l.t, c)); last != "" {
		text += ": " + last
	}
	return &result{int(r), "nccl: " + text}
}

func (l *library) id() (id uniqueID, err error) {
	err = l.check(C.getUniqueId(l.t, (*C.uniqueId)(unsafe.Pointer(&id))), nil)
	return id, err
}

func (l *library) init(size, rank int, id uniqueID) (c handle, err error) {
	r := C.initRank(l.t, &c, C.int(size), (*C.uniqueId)(unsafe.Pointer(&id)), C.int(rank))
	return c, l.check(r, nil)
}

func (l *library) split(parent handle, color, key int) (c handle, err error) {
	r := C.split(l.t, parent, C.int(color), C.int(key), &c)
	return c, l.check(r, parent)
}

func (l *library) destroy(c handle) error    { return l.check(C.destroy(l.t, c), nil) }
func (l *library) abort(c handle)            { C.abort_(l.t, c) }
func (l *library) asyncError(c handle) error { return l.check(C.asyncError(l.t, c), c) }

// call is one call of a group; kinds are numbered as above.
type call = C.call

const (
	allReduce = iota
	reduceScatter
	allGather
	broadcast
	reduce
	send
	recv
)

// newCall takes device tensors without gaps; absent ones are null. It sums.
func newCall(kind, peer, count int, from, to tensor.Tensor, d tensor.DType) call {
	return call{send: address(from), recv: address(to), count: C.size_t(count), kind: C.int(kind), _type: dtype(d), peer: C.int(peer)}
}

func address(t tensor.Tensor) C.size_t {
	if !t.Present() {
		return 0
	}
	return C.size_t(t.Memory().Device + uintptr(t.Offset()))
}

// dtype is ncclDataType_t.
func dtype(d tensor.DType) C.int {
	return map[tensor.DType]C.int{tensor.I32: 2, tensor.F16: 6, tensor.F32: 7, tensor.F64: 8, tensor.BF16: 9}[d]
}

// together makes calls in one group on a CUstream.
func (l *library) together(calls []call, c handle, stream unsafe.Pointer) error {
	return l.check(C.together(l.t, &calls[0], C.int(len(calls)), c, stream), c)
}
