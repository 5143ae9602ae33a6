package tensor

import (
	"fmt"
	"strings"
	"unsafe"
)

// MaxRank is the largest number of dimensions of a Tensor.
const MaxRank = 4

// Memory is one block that a backend allocated. Exactly one of Host and Device is set: Host where the processor can
// address the block (the CPU backend, pinned memory), Device where it is an address of the device's own.
type Memory struct {
	Host   []byte
	Device uintptr
	Bytes  int
	Label  string // what the block is for: "weights", "activations"; memory tables group by it
}

// Tensor is a row-major view of a Memory. Its last dimension is contiguous; rows (all other dimensions together) lie
// LD elements apart, so that a block of columns of a matrix is a Tensor too. The zero Tensor means "absent".
type Tensor struct {
	mem   *Memory
	off   int // bytes from the start of mem
	dtype DType
	rank  int8
	dim   [MaxRank]int
	ld    int // elements from one row to the next; the last dimension when contiguous
}

// New views mem from byte offset on as a contiguous tensor. It panics when the view does not fit: a planning error.
func New(mem *Memory, offset int, dtype DType, dims ...int) Tensor {
	t := Tensor{mem: mem, off: offset, dtype: dtype, rank: int8(len(dims))}
	if len(dims) == 0 || len(dims) > MaxRank {
		panic(fmt.Sprintf("tensor: %d dimensions: want 1 to %d", len(dims), MaxRank))
	}
	copy(t.dim[:], dims)
	t.ld = dims[len(dims)-1]
	if offset < 0 || offset%dtype.Size() != 0 || offset+t.Len()*dtype.Size() > mem.Bytes {
		panic(fmt.Sprintf("tensor: %v at byte %d does not fit into %q of %d bytes", t, offset, mem.Label, mem.Bytes))
	}
	return t
}

// Present tells whether t views anything: optional arguments are absent as zero Tensors.
func (t Tensor) Present() bool { return t.mem != nil }

// Memory is the block that t views, Offset the first byte of t in it.
func (t Tensor) Memory() *Memory { return t.mem }

// Offset is the byte of Memory at which t begins.
func (t Tensor) Offset() int { return t.off }

// DType is the element type.
func (t Tensor) DType() DType { return t.dtype }

// Rank is the number of dimensions.
func (t Tensor) Rank() int { return int(t.rank) }

// Dim is the size of dimension i; a negative i counts from the end.
func (t Tensor) Dim(i int) int {
	if i < 0 {
		i += int(t.rank)
	}
	return t.dim[:t.rank][i]
}

// Dims are all sizes, as a new slice.
func (t Tensor) Dims() []int { return append([]int(nil), t.dim[:t.rank]...) }

// Cols is the last dimension, Rows the product of all others: every tensor is also a matrix Rows x Cols.
func (t Tensor) Cols() int { return t.dim[t.rank-1] }

// Rows is the product of all dimensions but the last.
func (t Tensor) Rows() int {
	n := 1
	for _, d := range t.dim[:t.rank-1] {
		n *= d
	}
	return n
}

// LD is the distance of two rows in elements ("leading dimension").
func (t Tensor) LD() int { return t.ld }

// Len is the number of elements.
func (t Tensor) Len() int { return t.Rows() * t.Cols() }

// Bytes is the number of bytes of the elements, gaps between rows not counted.
func (t Tensor) Bytes() int { return t.Len() * t.dtype.Size() }

// Contiguous tells whether no gaps lie between rows.
func (t Tensor) Contiguous() bool { return t.ld == t.Cols() || t.Rows() == 1 }

// Slice is the part [lo, hi) of the first dimension. A vector is sliced by element.
func (t Tensor) Slice(lo, hi int) Tensor {
	if lo < 0 || hi < lo || hi > t.dim[0] {
		panic(fmt.Sprintf("tensor: slice [%d, %d) of %v", lo, hi, t))
	}
	if t.rank == 1 {
		return t.Columns(lo, hi)
	}
	rows := t.Rows() / max(t.dim[0], 1)
	t.off += lo * rows * t.ld * t.dtype.Size()
	t.dim[0] = hi - lo
	return t
}

// Columns is the part [lo, hi) of the last dimension, with the row distance kept.
func (t Tensor) Columns(lo, hi int) Tensor {
	if lo < 0 || hi < lo || hi > t.Cols() {
		panic(fmt.Sprintf("tensor: columns [%d, %d) of %v", lo, hi, t))
	}
	t.off += lo * t.dtype.Size()
	t.dim[t.rank-1] = hi - lo
	if t.rank == 1 {
		t.ld = hi - lo
	}
	return t
}

// Reshape views the same elements with other dimensions. The tensor must be contiguous, or keep its last dimension.
func (t Tensor) Reshape(dims ...int) Tensor {
	r := t
	r.rank, r.dim = int8(len(dims)), [MaxRank]int{}
	copy(r.dim[:], dims)
	if r.Len() != t.Len() || (!t.Contiguous() && r.Cols() != t.Cols()) {
		panic(fmt.Sprintf("tensor: %v cannot be seen as %v", t, dims))
	}
	if t.Contiguous() {
		r.ld = r.Cols()
	}
	return r
}

// F32 is the host memory of t from its first element to its last, gaps included. It panics when t is not fp32 or not
// on the host.
func (t Tensor) F32() []float32 { return host[float32](t, F32) }

// F64 is F32 for fp64.
func (t Tensor) F64() []float64 { return host[float64](t, F64) }

// I32 is F32 for int32.
func (t Tensor) I32() []int32 { return host[int32](t, I32) }

// U16 is F32 for the 16-bit floating-point types, as raw bits.
func (t Tensor) U16() []uint16 { return host[uint16](t, t.dtype) }

func host[E any](t Tensor, want DType) []E {
	var e E
	if t.dtype != want || int(unsafe.Sizeof(e)) != t.dtype.Size() {
		panic(fmt.Sprintf("tensor: %v read as %v", t, want))
	}
	n := t.extent()
	if n == 0 {
		return nil
	}
	b := t.mem.Host[t.off : t.off+n*t.dtype.Size()]
	return unsafe.Slice((*E)(unsafe.Pointer(&b[0])), n)
}

// extent is the number of elements from the first to the last, gaps included.
func (t Tensor) extent() int {
	if t.Len() == 0 {
		return 0
	}
	return (t.Rows()-1)*t.ld + t.Cols()
}

// String is like "fp32[4 128 768]", with the row distance when there are gaps.
func (t Tensor) String() string {
	if t.rank == 0 {
		return "absent"
	}
	s := fmt.Sprintf("%v[%s]", t.dtype, strings.Trim(fmt.Sprint(t.dim[:t.rank]), "[]"))
	if !t.Contiguous() {
		s += fmt.Sprintf(" ld %d", t.ld)
	}
	return s
}
