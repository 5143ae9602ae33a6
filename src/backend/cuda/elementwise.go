//go:build cuda

package cuda

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

type fillArgs struct {
	x      view
	value  float32
	vector int32
}

func (s *stream) Fill(x tensor.Tensor, value float32) {
	if x.Len() == 0 {
		return
	}
	v := flat(x)[0]
	a := fillArgs{x: v, value: value, vector: vector(x.DType().Size(), v)}
	grid := s.grid1(pieces(int(v.cols), x.DType().Size(), a.vector), int(v.rows))
	enqueue(s, "fill", "fill_"+suffix(x.DType()), grid, threads256, 0, &a)
}

type normalArgs struct {
	x                           view
	key, counter, first, stride uint64
	std                         float64
}

// FillNormal draws with a thread for every four numbers.
func (s *stream) FillNormal(n backend.Normal) {
	if n.X.Len() == 0 {
		return
	}
	a := normalArgs{x: of(n.X), first: n.First, stride: n.Stride, std: float64(n.Std)}
	a.key, a.counter = n.Key.NormalWords()
	enqueue(s, "normal numbers", "fill_normal_"+suffix(n.X.DType()), s.grid1(n.X.Cols()/4+2, n.X.Rows()), threads256, 0, &a)
}

type pairArgs struct {
	y, x   view
	alpha  float32
	vector int32
}

func (s *stream) pair(name string, y, x tensor.Tensor, alpha float32) {
	if y.Len() != x.Len() || y.Cols() != x.Cols() {
		panic("cuda: " + name + ": tensors of different shapes")
	}
	if y.Len() == 0 {
		return
	}
	v := flat(y, x)
	wide := max(y.DType().Size(), x.DType().Size())
	a := pairArgs{y: v[0], x: v[1], alpha: alpha, vector: min(vector(wide, v[0]), vector(wide, v[1]))}
	grid := s.grid4(pieces(int(v[0].cols), wide, a.vector), int(v[0].rows))
	enqueue(s, name, name+"_"+suffix(y.DType())+"_"+suffix(x.DType()), grid, threads256, 0, &a)
}

func (s *stream) Copy(dst, src tensor.Tensor)        { s.pair("copy", dst, src, 1) }
func (s *stream) Axpy(y, x tensor.Tensor, a float32) { s.pair("axpy", y, x, a) }

type scaleArgs struct {
	x       view
	columns uintptr
	alpha   float32
	vector  int32
}

func (s *stream) Scale(x tensor.Tensor, a float32) {
	if x.Len() > 0 {
		s.scale("scale", x, flat(x)[0], scaleArgs{alpha: a})
	}
}

func (s *stream) ScaleColumns(x, v tensor.Tensor) {
	if v.Len() != x.Cols() {
		panic("cuda: ScaleColumns: one factor a column is wanted")
	}
	if x.Len() > 0 {
		s.scale("scale columns", x, of(x), scaleArgs{columns: address(v)})
	}
}

func (s *stream) scale(name string, x tensor.Tensor, v view, a scaleArgs) {
	a.x, a.vector = v, vector(x.DType().Size(), v)
	grid := s.grid4(pieces(int(v.cols), x.DType().Size(), a.vector), int(v.rows))
	enqueue(s, name, "scale_"+suffix(x.DType()), grid, threads256, 0, &a)
}

type geluArgs struct {
	y, x   view
	vector int32
}

func (s *stream) GELUForward(y, x tensor.Tensor) {
	v, size := flat(y, x), y.DType().Size()
	a := geluArgs{y: v[0], x: v[1], vector: vector(size, v...)}
	enqueue(s, "gelu", "gelu_forward_"+suffix(y.DType()), s.grid1(pieces(int(v[0].cols), size, a.vector), int(v[0].rows)), threads256, 0, &a)
}

// startGelu launches k, a kernel of GELUForward, at once.
func (s *stream) startGelu(k *kernel, size int, y, x view) error {
	a := geluArgs{y: y, x: x, vector: vector(size, y, x)}
	return start(s, k, s.grid1(pieces(int(y.cols), size, a.vector), int(y.rows)), threads256, 0, &a)
}
