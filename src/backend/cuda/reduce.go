//go:build cuda

package cuda

import (
	"cambium/src/tensor"
)

// columnParts is into how many parts the rows of a sum over rows are divided: enough to fill the device, as few as leave every part
// some rows, and no more than the workspace holds results for.
func (s *stream) columnParts(rows, cols, sums int) int {
	blocks := ceilDiv(cols, 32)
	fit := workspaceBytes / (4 * cols * sums)
	return max(min(ceilDiv(4*s.b.units, blocks), ceilDiv(rows, 32), fit), 1)
}

type columnSumArgs struct {
	x       view
	partial uintptr
}

type addPartsArgs struct {
	partial, out, second    uintptr
	parts, cols, accumulate int32
}

func (s *stream) ColumnSum(out, x tensor.Tensor, accumulate bool) {
	if out.Len() != x.Cols() {
		panic("cuda: ColumnSum: one sum a column is wanted")
	}
	parts := s.columnParts(x.Rows(), x.Cols(), 1)
	a := columnSumArgs{x: of(x), partial: s.workspace.Device}
	enqueue(s, "column sum", "column_sum_"+suffix(x.DType()), dim{uint32(ceilDiv(x.Cols(), 32)), uint32(parts), 1}, dim{32, 8, 1}, 0, &a)
	s.addParts("column sum", addPartsArgs{partial: a.partial, out: address(out), parts: int32(parts), cols: int32(x.Cols()), accumulate: boolean(accumulate)})
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
	x       view
	partial uintptr
	vector  int32
}

type addSquaresArgs struct {
	partial, out      uintptr
	parts, accumulate int32
}

func (s *stream) SumSquares(out, x tensor.Tensor, accumulate bool) {
	v := flat(x)[0]
	grid := s.grid1(int(v.cols), 1)
	a := sumSquaresArgs{x: v, partial: s.workspace.Device, vector: vector(x.DType().Size(), v)}
	enqueue(s, "sum of squares", "sum_squares_"+suffix(x.DType()), grid, threads256, 0, &a)
	b := addSquaresArgs{partial: s.workspace.Device, out: address(out), parts: int32(grid[0]), accumulate: boolean(accumulate)}
	enqueue(s, "sum of squares", "add_squares", dim{1, 1, 1}, threads256, 0, &b)
}
