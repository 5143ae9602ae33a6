//go:build cuda

package cuda

// #include <cuda.h>
// #include <string.h>
//
// // encode makes the map of a matrix, rows stride bytes apart, for boxes of 128-byte rows in the 128-byte swizzle; zero outside.
// static CUresult encode(void *out, int type, unsigned long long data, unsigned long long columns, unsigned long long rows,
//                        unsigned long long stride, unsigned boxColumns, unsigned boxRows) {
//     CUtensorMap map __attribute__((aligned(64)));
//     cuuint64_t sizes[] = {columns, rows}, strides[] = {stride};
//     cuuint32_t box[] = {boxColumns, boxRows}, steps[] = {1, 1};
//     CUresult r = cuTensorMapEncodeTiled(&map, (CUtensorMapDataType)type, 2, (void *)data, sizes, strides, box, steps,
//                                         CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
//                                         CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
//     memcpy(out, &map, sizeof map);
//     return r;
// }
import "C"

import (
	"fmt"
	"sync"
	"unsafe"

	"cambium/src/tensor"
)

// tensorMap is CUtensorMap: a matrix as TMA sees it, and the box that it moves.
type tensorMap [16]uint64

// tensorMaps remembers maps: those of a training step are the same in every step.
type tensorMaps struct {
	mu    sync.Mutex
	known map[mapKey]tensorMap
}

type mapKey struct {
	v    view
	t    tensor.DType
	rows int
}

// maxMaps bounds what is remembered: steps of a few hundred GEMMs, and what stages of growth before left behind.
const maxMaps = 8192

// of is the map of a tensor that tensorReady lets through.
func (m *tensorMaps) of(b *gpu, v view, t tensor.DType, rows int) tensorMap {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := mapKey{v, t, rows}
	if out, ok := m.known[key]; ok {
		return out
	}
	if m.known == nil || len(m.known) >= maxMaps {
		m.known = map[mapKey]tensorMap{}
	}
	out, err := encode(b, v, t, rows)
	if err != nil {
		panic(fmt.Sprintf("cuda: no tensor map of %d x %d elements of %v, rows %d apart: %v", v.rows, v.cols, t, v.ld, err))
	}
	m.known[key] = out
	return out
}

func encode(b *gpu, v view, t tensor.DType, rows int) (out tensorMap, err error) {
	kind := map[tensor.DType]int{tensor.F16: C.CU_TENSOR_MAP_DATA_TYPE_FLOAT16, tensor.BF16: C.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, tensor.F32: C.CU_TENSOR_MAP_DATA_TYPE_FLOAT32}[t]
	size := t.Size()
	err = b.do(func() error {
		return result(C.encode(unsafe.Pointer(&out), C.int(kind), C.ulonglong(v.data), C.ulonglong(v.cols), C.ulonglong(v.rows), C.ulonglong(stride(v, size)),
			C.uint(128/size), C.uint(rows)))
	})
	return out, err
}

// stride is how many bytes lie between rows; of a single row, any number that fits.
func stride(v view, size int) int64 {
	if v.rows == 1 {
		return (int64(v.cols)*int64(size) + 15) / 16 * 16
	}
	return v.ld * int64(size)
}

// tensorReady tells whether TMA can move a matrix: address and row distance are multiples of 16 bytes. An absent one is no hindrance.
func tensorReady(v view, t tensor.DType) bool { return v.data%16 == 0 && stride(v, t.Size())%16 == 0 }
