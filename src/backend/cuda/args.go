//go:build cuda

package cuda

import (
	"fmt"
	"reflect"
	"unsafe"

	"cambium/src/tensor"
)

// view is cambium::View of cuda/common: the layouts of the structs in this package's files are those of the kernels' own.
type view struct {
	data       uintptr
	ld         int64
	rows, cols int32
}

// of is a tensor as rows and columns, seen as one row where there are no gaps.
func of(t tensor.Tensor) view {
	if !t.Present() {
		return view{}
	}
	return view{data: address(t), ld: int64(t.LD()), rows: int32(t.Rows()), cols: int32(t.Cols())}
}

// flat are the views of tensors of one shape: a single row each when none has gaps.
func flat(ts ...tensor.Tensor) []view {
	out := make([]view, len(ts))
	all := true
	for i, t := range ts {
		out[i] = of(t)
		all = all && (!t.Present() || t.Contiguous())
	}
	if !all {
		return out
	}
	for i, v := range out {
		if n := int(v.rows) * int(v.cols); v.data != 0 && n < 1<<31 {
			out[i] = view{data: v.data, ld: int64(n), rows: 1, cols: int32(n)}
		}
	}
	return out
}

// vector tells whether 16-byte accesses of n elements at a time fit all views: addresses, row distances and columns.
func vector(size int, vs ...view) int32 {
	for _, v := range vs {
		n := int64(16 / size)
		if v.data%16 != 0 || v.rows > 1 && v.ld%n != 0 || int64(v.cols)%n != 0 {
			return 0
		}
	}
	return 1
}

// pieces is how many pieces of work n elements are: of 16 bytes each with vector, of one element otherwise.
func pieces(n, size int, vector int32) int {
	if vector == 0 {
		return n
	}
	return n * size / 16
}

// suffix is how the kernels for an element type are named.
func suffix(d tensor.DType) string {
	switch d {
	case tensor.F32:
		return "f32"
	case tensor.BF16:
		return "bf16"
	case tensor.F16:
		return "f16"
	case tensor.I32:
		return "i32"
	case tensor.F64:
		return "f64"
	}
	panic(fmt.Sprintf("cuda: no kernels for elements of type %v", d))
}

// enqueue puts a launch of a kernel with its parameter struct into the queue.
func enqueue[A any](s *stream, name, kernel string, grid, block dim, shared uint32, args *A) {
	o := op{name: name, kernel: s.b.kernel(kernel), grid: grid, block: block, shared: shared, size: int(unsafe.Sizeof(*args))}
	if o.size > maxArgs {
		panic(fmt.Sprintf("cuda: the parameter of %s has %d bytes", kernel, o.size))
	}
	put(s, &o, args)
	s.enqueue(o)
}

// put gives an operation its arguments. Bytes that belong to no field are zero: Go leaves there what the stack had, and a run is known
// again by its bytes.
func put[A any](s *stream, o *op, args *A) {
	copy(o.args[:], unsafe.Slice((*byte)(unsafe.Pointer(args)), unsafe.Sizeof(*args)))
	t := reflect.TypeFor[A]()
	holes, known := s.b.holes.Load(t)
	if !known {
		used := make([]bool, t.Size())
		mark(t, used)
		var free []int
		for i, u := range used {
			if !u {
				free = append(free, i)
			}
		}
		holes, _ = s.b.holes.LoadOrStore(t, free)
	}
	for _, i := range holes.([]int) {
		o.args[i] = 0
	}
}

// mark tells which bytes of a type are of fields.
func mark(t reflect.Type, used []bool) {
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			mark(f.Type, used[f.Offset:])
		}
	case reflect.Array:
		for i := range t.Len() {
			mark(t.Elem(), used[uintptr(i)*t.Elem().Size():])
		}
	default:
		for i := range t.Size() {
			used[i] = true
		}
	}
}

// blockThreads is the size of a block for kernels that go through rows of n elements together: whole warps.
func blockThreads(n int) uint32 { return uint32(min(max((n+31)/32, 1), 8) * 32) }

// grid1 is a one-dimensional grid of 256-thread blocks over n pieces of work, up to as many as fill the device many times, and rows in
// its second dimension. grid4 is the same for threads that take four pieces at a time.
func (s *stream) grid1(n, rows int) dim {
	blocks := min((n+255)/256, 64*s.b.units)
	return dim{uint32(max(blocks, 1)), uint32(min(max(rows, 1), 65535)), 1}
}

func (s *stream) grid4(n, rows int) dim { return s.grid1(ceilDiv(n, 4), rows) }

var threads256 = dim{256, 1, 1}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

func boolean(b bool) int32 {
	if b {
		return 1
	}
	return 0
}
