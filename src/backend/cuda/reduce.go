//go:build cuda

package cuda

import (
	"cambium/src/tensor"
)

// reduceBlocks is about how many blocks of 256 threads a reduction takes: what every GPU from an A100 on runs at once. It does not
// depend on the device, so that results do not either.
const reduceBlocks = 512

// counters is how many blocks that come last a launch may have.
const counters = 4096

// counter is where the blocks of a launch are counted, for the i-th block that comes last: 0 before and after each launch.
func (s *stream) counter(i int) uintptr { return s.flag.Device + uintptr(4*(1+i)) }

// columnParts is into how many parts the rows of a sum over rows are divided when a block of 512 threads takes some columns: enough to fill a device,
// as few as leave every part some rows, and no more than the workspace holds results for.
func columnParts(rows, cols, width, sums int) int {
	fit := workspaceBytes / (4 * cols * sums)
	return max(min(reduceBlocks/2/ceilDiv(cols, width), ceilDiv(rows, 32), fit), 1)
}

type columnSumArgs struct {
	x                       view
	partial, out            uintptr
	counters                uintptr
	run, accumulate, vector int32
}

func (s *stream) ColumnSum(out, x tensor.Tensor, accumulate bool) {
	if out.Len() != x.Cols() {
		panic("cuda: ColumnSum: one sum a column is wanted")
	}
	a := columnSumArgs{x: of(x), partial: s.workspace.Device, out: address(out), counters: s.counter(0), accumulate: boolean(accumulate)}
	size, width := x.DType().Size(), 32 // columns of a block
	if a.vector = vector(size, a.x); a.vector == 1 {
		width = 32 * 16 / size
	}
	for cols := x.Cols(); cols > 0; cols -= counters * width {
		a.x.cols = int32(min(cols, counters*width))
		a.run = int32(max(ceilDiv(x.Rows(), columnParts(x.Rows(), int(a.x.cols), width, 1)), 1))
		grid := dim{uint32(ceilDiv(int(a.x.cols), width)), uint32(max(ceilDiv(x.Rows(), int(a.run)), 1)), 1}
		enqueue(s, "column sum", "column_sum_"+suffix(x.DType()), grid, dim{32, 16, 1}, 0, &a)
		a.x.data, a.out = a.x.data+uintptr(counters*width*size), a.out+uintptr(counters*width*4)
	}
}

type addPartsArgs struct {
	partial, out, second    uintptr
	parts, cols, accumulate int32
}

// addParts adds the parts of one sum, or of two when there is a second.
func (s *stream) addParts(name string, a addPartsArgs) {
	sums := uint32(1)
	if a.second != 0 {
		sums = 2
	}
	enqueue(s, name, "add_parts", dim{uint32(ceilDiv(int(a.cols), 32)), sums, 1}, dim{32, 16, 1}, 0, &a)
}

type sumSquaresArgs struct {
	x                  view
	partial, out       uintptr
	counter            uintptr
	accumulate, vector int32
}

func (s *stream) SumSquares(out, x tensor.Tensor, accumulate bool) {
	v, size := flat(x)[0], x.DType().Size()
	a := sumSquaresArgs{
		x: v, partial: s.workspace.Device, out: address(out), counter: s.counter(0), accumulate: boolean(accumulate), vector: vector(size, v),
	}
	blocks := max(min(ceilDiv(pieces(int(v.cols), size, a.vector), 4*256), reduceBlocks), 1)
	enqueue(s, "sum of squares", "sum_squares_"+suffix(x.DType()), dim{uint32(blocks), 1, 1}, threads256, 0, &a)
}
