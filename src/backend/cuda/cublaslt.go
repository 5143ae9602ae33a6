//go:build cuda

package cuda

// #cgo LDFLAGS: -ldl
// #include <dlfcn.h>
// #include <stddef.h>
// #include <stdint.h>
// #include <stdlib.h>
// #include <string.h>
//
// // What we use of cublasLt.h, whose numbers are the same in CUDA 12 and 13.
// enum {
//     SUCCESS = 0, NOT_SUPPORTED = 15,
//     OP_N = 0, OP_T = 1,
//     R_32F = 0, R_16F = 2, R_16BF = 14, COMPUTE_32F = 68,
//     DESC_TRANSA = 3, DESC_TRANSB = 4, DESC_EPILOGUE = 7, DESC_BIAS_POINTER = 8,
//     EPILOGUE_BIAS = 4,
//     PREF_WORKSPACE = 1, PREF_REDUCTIONS = 3, PREF_ALIGNMENT_A = 5,
//     REDUCTION_COMPUTE_TYPE = 2,
//     MOST = 8,
// };
// typedef struct { uint64_t data[8]; } algorithm;
// typedef struct { algorithm algo; size_t workspace; int state; float waves; int reserved[4]; } heuristic;
// typedef void *handle;
// typedef struct {
//     void *library;
//     size_t (*cublasLtGetVersion)(void);
//     const char *(*cublasLtGetStatusString)(int);
//     int (*cublasLtCreate)(handle *);
//     int (*cublasLtDestroy)(handle);
//     int (*cublasLtMatmulDescCreate)(handle *, int, int);
//     int (*cublasLtMatmulDescDestroy)(handle);
//     int (*cublasLtMatmulDescSetAttribute)(handle, int, const void *, size_t);
//     int (*cublasLtMatrixLayoutCreate)(handle *, int, uint64_t, uint64_t, int64_t);
//     int (*cublasLtMatrixLayoutDestroy)(handle);
//     int (*cublasLtMatmulPreferenceCreate)(handle *);
//     int (*cublasLtMatmulPreferenceDestroy)(handle);
//     int (*cublasLtMatmulPreferenceSetAttribute)(handle, int, const void *, size_t);
//     int (*cublasLtMatmulAlgoGetHeuristic)(handle, handle, handle, handle, handle, handle, handle, int, heuristic *, int *);
//     int (*cublasLtMatmul)(handle, handle, const void *, const void *, handle, const void *, handle, const void *, const void *, handle,
//                           void *, handle, const algorithm *, void *, size_t, void *);
// } blasTable;
//
// // version fills in enough to ask for it; 0 when this is no cuBLASLt.
// static size_t blasVersion(blasTable *t) {
//     *(void **)&t->cublasLtGetVersion = dlsym(t->library, "cublasLtGetVersion");
//     return t->cublasLtGetVersion ? t->cublasLtGetVersion() : 0;
// }
//
// // fill finds the functions and returns the name of one that is missing.
// static const char *blasFill(blasTable *t) {
// #define FIND(f) if (!(*(void **)&t->f = dlsym(t->library, #f))) return #f
//     FIND(cublasLtGetStatusString); FIND(cublasLtCreate); FIND(cublasLtDestroy); FIND(cublasLtMatmulDescCreate); FIND(cublasLtMatmulDescDestroy);
//     FIND(cublasLtMatmulDescSetAttribute); FIND(cublasLtMatrixLayoutCreate); FIND(cublasLtMatrixLayoutDestroy); FIND(cublasLtMatmulPreferenceCreate);
//     FIND(cublasLtMatmulPreferenceDestroy); FIND(cublasLtMatmulPreferenceSetAttribute); FIND(cublasLtMatmulAlgoGetHeuristic); FIND(cublasLtMatmul);
//     return NULL;
// }
//
// static blasTable *blasOpen(const char *path, char **problem) {
//     void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
//     if (!library) { *problem = dlerror(); return NULL; }
//     blasTable *t = calloc(1, sizeof *t);
//     t->library = library;
//     return t;
// }
// static int blasCreate(blasTable *t, handle *h) { return t->cublasLtCreate(h); }
// static void blasDestroy(blasTable *t, handle h) { t->cublasLtDestroy(h); }
// static const char *blasText(blasTable *t, int r) { return t->cublasLtGetStatusString(r); }
//
// // A product D = epilogue(alpha op(A) op(B) + beta C) of column-major matrices, C in D's place.
// typedef struct {
//     uint64_t rows[3], cols[3]; // of A, B and D as they are stored
//     int64_t ld[3];
//     int type[3], transA, transB, epilogue, alignment;
//     uint64_t workspace;
// } product;
//
// typedef struct {
//     handle desc, layout[3];
//     int epilogue, count;
//     heuristic found[MOST];
// } blasPlan;
//
// static void planFree(blasTable *t, blasPlan *p) {
//     if (p->desc) t->cublasLtMatmulDescDestroy(p->desc);
//     for (int i = 0; i < 3; i++)
//         if (p->layout[i]) t->cublasLtMatrixLayoutDestroy(p->layout[i]);
//     free(p);
// }
//
// // describe makes descriptor and layouts. Addresses come with every call; here they stand for their alignment, which is what the library
// // reads in them when it looks for algorithms.
// static int describe(blasTable *t, const product *x, blasPlan *p) {
//     int r = t->cublasLtMatmulDescCreate(&p->desc, COMPUTE_32F, R_32F);
//     void *aligned = (void *)(uintptr_t)x->alignment;
//     int ops[2] = {x->transA ? OP_T : OP_N, x->transB ? OP_T : OP_N};
//     if (!r) r = t->cublasLtMatmulDescSetAttribute(p->desc, DESC_TRANSA, &ops[0], sizeof ops[0]);
//     if (!r) r = t->cublasLtMatmulDescSetAttribute(p->desc, DESC_TRANSB, &ops[1], sizeof ops[1]);
//     if (!r) r = t->cublasLtMatmulDescSetAttribute(p->desc, DESC_EPILOGUE, &x->epilogue, sizeof x->epilogue);
//     if (!r && x->epilogue & EPILOGUE_BIAS) r = t->cublasLtMatmulDescSetAttribute(p->desc, DESC_BIAS_POINTER, &aligned, sizeof aligned);
//     for (int i = 0; i < 3 && !r; i++) r = t->cublasLtMatrixLayoutCreate(&p->layout[i], x->type[i], x->rows[i], x->cols[i], x->ld[i]);
//     return r;
// }
//
// // search asks for algorithms, best first. Sums that are split go through fp32 in the workspace and are added in a fixed order, for fp32
// // results alone: no partial sums in 16 bits, nothing that depends on who comes first.
// static int search(blasTable *t, handle h, const product *x, blasPlan *p) {
//     handle pref = NULL;
//     uint32_t reductions = x->type[2] == R_32F ? REDUCTION_COMPUTE_TYPE : 0, alignment = (uint32_t)x->alignment;
//     int r = t->cublasLtMatmulPreferenceCreate(&pref);
//     if (!r) r = t->cublasLtMatmulPreferenceSetAttribute(pref, PREF_WORKSPACE, &x->workspace, sizeof x->workspace);
//     if (!r) r = t->cublasLtMatmulPreferenceSetAttribute(pref, PREF_REDUCTIONS, &reductions, sizeof reductions);
//     for (int i = 0; i < 4 && !r; i++) r = t->cublasLtMatmulPreferenceSetAttribute(pref, PREF_ALIGNMENT_A + i, &alignment, sizeof alignment);
//     if (!r) r = t->cublasLtMatmulAlgoGetHeuristic(h, p->desc, p->layout[0], p->layout[1], p->layout[2], p->layout[2], pref, MOST, p->found, &p->count);
//     if (pref) t->cublasLtMatmulPreferenceDestroy(pref);
//     int n = 0; // of those that can run
//     for (int i = 0; i < p->count && !r; i++)
//         if (p->found[i].state == SUCCESS && p->found[i].workspace <= x->workspace) p->found[n++] = p->found[i];
//     p->count = n;
//     return r ? r : n ? SUCCESS : NOT_SUPPORTED;
// }
//
// static int planMake(blasTable *t, handle h, const product *x, blasPlan **out) {
//     blasPlan *p = calloc(1, sizeof *p);
//     p->epilogue = x->epilogue;
//     int r = describe(t, x, p);
//     if (!r) r = search(t, h, x, p);
//     if (r) planFree(t, p); else *out = p;
//     return r;
// }
//
// static int multiply(blasTable *t, handle h, blasPlan *p, int which, float alpha, float beta, size_t a, size_t b, size_t d, size_t bias,
//                     size_t workspace, size_t bytes, void *stream) {
//     int r = SUCCESS;
//     if (p->epilogue & EPILOGUE_BIAS) r = t->cublasLtMatmulDescSetAttribute(p->desc, DESC_BIAS_POINTER, &bias, sizeof bias);
//     if (r) return r;
//     return t->cublasLtMatmul(h, p->desc, &alpha, (void *)a, p->layout[0], (void *)b, p->layout[1], &beta, (void *)d, p->layout[2], (void *)d, p->layout[2],
//                              &p->found[which].algo, (void *)workspace, bytes, stream);
// }
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"cambium/src/tensor"
)

// minBlas is the oldest cuBLASLt that is tried: that of CUDA 12.0.
const minBlas = 120000

// blas is a loaded cuBLASLt with a handle for one device.
type blas struct {
	t       *C.blasTable
	h       C.handle
	version int
}

// blasVariable names the library, where the usual places do not have it or have another one.
const blasVariable = "CAMBIUM_CUBLASLT"

// blasPaths are the names to try. The emulated driver takes a library that is named only: NVIDIA's own would not run on it.
func blasPaths(emulated bool) []string {
	if path := os.Getenv(blasVariable); path != "" {
		return []string{path}
	}
	if emulated {
		return nil
	}
	paths := []string{"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}
	for _, root := range []string{os.Getenv("CUDA_HOME"), os.Getenv("CUDA_PATH"), "/usr/local/cuda"} {
		if root != "" {
			paths = append(paths, root+"/lib64/libcublasLt.so")
		}
	}
	for _, root := range []string{os.Getenv("VIRTUAL_ENV"), os.Getenv("CONDA_PREFIX")} { // NVIDIA's Python packages, as PyTorch brings them
		if root != "" {
			found, _ := filepath.Glob(root + "/lib/python3*/site-packages/nvidia/*/lib/libcublasLt.so.1[23]")
			paths = append(paths, found...)
		}
	}
	return paths
}

// openBlas loads the library and makes its handle; the device's context is current. The error says in one sentence why there is none.
func openBlas(emulated bool) (*blas, error) {
	paths := blasPaths(emulated)
	if len(paths) == 0 {
		return nil, errors.New("no cuBLASLt for the emulated driver: " + blasVariable + " names none")
	}
	var first error
	for _, path := range paths {
		l, err := loadBlas(path)
		if err == nil {
			return l, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func loadBlas(path string) (*blas, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var problem *C.char
	t := C.blasOpen(name, &problem)
	if t == nil {
		return nil, fmt.Errorf("no cuBLASLt (%s): name its library, of CUDA 12 or later, in %s", C.GoString(problem), blasVariable)
	}
	l := &blas{t: t, version: int(C.blasVersion(t))}
	switch missing := ""; {
	case l.version == 0:
		return nil, fmt.Errorf("%s is not cuBLASLt: name its library, of CUDA 12 or later, in %s", path, blasVariable)
	case l.version < minBlas:
		return nil, fmt.Errorf("%s is cuBLASLt %s, too old: name one of CUDA 12 or later in %s", path, l.versionText(), blasVariable)
	default:
		if missing = C.GoString(C.blasFill(t)); missing != "" {
			return nil, fmt.Errorf("%s, cuBLASLt %s, has no function %s: name a whole one in %s", path, l.versionText(), missing, blasVariable)
		}
	}
	if err := l.check(C.blasCreate(t, &l.h)); err != nil {
		return nil, fmt.Errorf("%s, cuBLASLt %s, does not start: %w", path, l.versionText(), err)
	}
	return l, nil
}

func (l *blas) close() { C.blasDestroy(l.t, l.h) }

func (l *blas) versionText() string {
	if l.version < 100000 { // before CUDA 12 the numbers were written otherwise
		return fmt.Sprintf("%d.%d.%d", l.version/1000, l.version/100%10, l.version%100)
	}
	return fmt.Sprintf("%d.%d.%d", l.version/10000, l.version/100%100, l.version%100)
}

func (l *blas) check(r C.int) error {
	if r == C.SUCCESS {
		return nil
	}
	return fmt.Errorf("cuBLASLt: %s", C.GoString(C.blasText(l.t, r)))
}

// What a product does with its result, as the library numbers it.
const (
	epiloguePlain = 1
	epilogueBias  = C.EPILOGUE_BIAS
)

// blasAlign is the alignment of every operand in bytes that the library may count on, and blasWorkspace the memory of a stream that it may use:
// what NVIDIA recommends for Hopper.
const (
	blasAlign     = 16
	blasWorkspace = 32 << 20
)

func blasType(d tensor.DType) C.int {
	switch d {
	case tensor.BF16:
		return C.R_16BF
	case tensor.F16:
		return C.R_16F
	}
	return C.R_32F
}

// plan describes the product of a call to the library and has it look for algorithms. Matrices are column-major there, so that a
// row-major C = op(A) op(B) is C^T = op(B)^T op(A)^T: the operands change places, and each is transposed where it was.
func (l *blas) plan(c *gemmCall, epilogue int) (*C.blasPlan, error) {
	x := C.product{
		rows: [3]C.uint64_t{C.uint64_t(c.b.cols), C.uint64_t(c.a.cols), C.uint64_t(c.n)}, cols: [3]C.uint64_t{C.uint64_t(c.b.rows), C.uint64_t(c.a.rows), C.uint64_t(c.m)},
		ld:     [3]C.int64_t{C.int64_t(c.b.ld), C.int64_t(c.a.ld), C.int64_t(c.c.ld)},
		_type:  [3]C.int{blasType(c.in), blasType(c.in), blasType(c.out)},
		transA: C.int(c.transB), transB: C.int(c.transA), epilogue: C.int(epilogue), alignment: blasAlign, workspace: blasWorkspace,
	}
	var p *C.blasPlan
	err := l.check(C.planMake(l.t, l.h, &x, &p))
	return p, err
}

func (l *blas) freePlan(p *C.blasPlan) { C.planFree(l.t, p) }

// algorithms is how many of them a plan has, best first as the library believes.
func algorithms(p *C.blasPlan) int { return int(p.count) }

// multiply enqueues a call by one of its plan's algorithms.
func (l *blas) multiply(s *stream, p *C.blasPlan, which int, c *gemmCall, to view) error {
	beta := float32(0)
	if c.accumulate != 0 {
		beta = 1
	}
	return l.check(C.multiply(l.t, l.h, p, C.int(which), C.float(c.alpha), C.float(beta), C.size_t(c.b.data), C.size_t(c.a.data), C.size_t(to.data), C.size_t(c.bias),
		C.size_t(s.blasSpace.Device), blasWorkspace, rawStream(s.cu)))
}

// blasPlan is a plan as other files hold it.
type blasPlan = C.blasPlan
