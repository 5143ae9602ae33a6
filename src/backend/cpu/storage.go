package cpu

import (
	"fmt"

	"cambium/src/tensor"
)

// Tensors in 16 bits. Every kernel computes in fp32; an operation sees a tensor row by row (matrix) or block by block
// (kernels.block), in place when it is fp32 and otherwise widened into scratch memory that stays in the cache, from where
// results are rounded once into the tensor. So there is one form of every operation, fp32 runs it in place, and 16 bits
// cost a pass over the cache.

// mustBeStored asks for tensors of one type that weights and activations may have (T in backend.Operations). Absent ones
// fail: see mustBeStoredToo.
func mustBeStored(op string, ts ...tensor.Tensor) {
	mustBePresent(op, ts...)
	mustBeStoredToo(op, ts...)
}

// mustBeStoredToo is mustBeStored for a first tensor and others that may be absent.
func mustBeStoredToo(op string, ts ...tensor.Tensor) {
	d := ts[0].DType()
	if !convertible(d) {
		panic(fmt.Sprintf("cpu: %s: %v: want fp32, bf16 or fp16", op, ts[0]))
	}
	for _, t := range ts[1:] {
		if t.Present() && t.DType() != d {
			panic(fmt.Sprintf("cpu: %s: %v beside %v: want the same type", op, t, ts[0]))
		}
	}
}

// convertible tells whether d can be the type of weights and activations: fp32, bf16, fp16. (fp64 is for single sums and
// stays on its own.)
func convertible(d tensor.DType) bool { return d == tensor.F32 || d == tensor.BF16 || d == tensor.F16 }

// wide tells whether kernels read and write x in place.
func wide(x tensor.Tensor) bool { return x.DType() == tensor.F32 }

// widening and narrowing are the conversions from and to d, which is a 16-bit type.
func (k *kernels) widening(d tensor.DType) func(dst []float32, src []uint16) {
	if d == tensor.BF16 {
		return k.fromBF16
	}
	return k.fromF16
}

func (k *kernels) narrowing(d tensor.DType) func(dst []uint16, src []float32) {
	if d == tensor.BF16 {
		return k.toBF16
	}
	return k.toF16
}

// widen converts len(dst) elements of a 16-bit tensor from element o on.
func (k *kernels) widen(dst []float32, src tensor.Tensor, o int) {
	k.widening(src.DType())(dst, src.U16()[o:o+len(dst)])
}

// narrow rounds src into a 16-bit tensor from element o on.
func (k *kernels) narrow(dst tensor.Tensor, o int, src []float32) {
	k.narrowing(dst.DType())(dst.U16()[o:o+len(src)], src)
}

// matrix is a tensor as its rows in fp32. What Tensor.F32 checks each time is checked once an operation.
type matrix struct {
	data     []float32 // the tensor, when it is fp32
	half     []uint16  // or else it is here
	via      []float32 // and a row of it here
	k        *kernels
	dtype    tensor.DType
	ld, cols int
}

// row is row i: in place, or widened. What is written to it counts after keep(i).
func (m *matrix) row(i int) []float32 {
	if m.half != nil {
		return m.load(i)
	}
	return m.data[i*m.ld:][:m.cols]
}

func (m *matrix) load(i int) []float32 {
	m.k.widening(m.dtype)(m.via, m.half[i*m.ld:][:m.cols])
	return m.via
}

// slot is where row i is to be written, with anything in it; keep(i) must follow.
func (m *matrix) slot(i int) []float32 {
	if m.half != nil {
		return m.via
	}
	return m.data[i*m.ld:][:m.cols]
}

// keep stores row i, which row or slot gave.
func (m *matrix) keep(i int) {
	if m.half != nil {
		m.store(i)
	}
}

func (m *matrix) store(i int) {
	m.k.narrowing(m.dtype)(m.half[i*m.ld:][:m.cols], m.via)
}

// lanes hands out a worker's scratch memory for the rows of 16-bit tensors.
type lanes struct {
	k   *kernels
	mem []float32
}

// lanes has room for one row of each of the tensors, absent and fp32 ones not counted. It is a use of w.scratch.
func (w *worker) lanes(ts ...tensor.Tensor) lanes {
	n := 0
	for i := range ts {
		if ts[i].Present() && !wide(ts[i]) {
			n += roundUp(ts[i].Cols(), lineFloats)
		}
	}
	l := lanes{k: w.kernels()}
	if n > 0 {
		l.mem = w.scratch(n)
	}
	return l
}

// matrix is x as rows, empty when x is absent. Every call takes a row of scratch memory.
func (l *lanes) matrix(x tensor.Tensor) matrix {
	switch {
	case !x.Present():
		return matrix{}
	case wide(x):
		return matrix{data: x.F32(), ld: x.LD(), cols: x.Cols()}
	}
	m := matrix{half: x.U16(), k: l.k, dtype: x.DType(), ld: x.LD(), cols: x.Cols()}
	n := roundUp(m.cols, lineFloats)
	m.via, l.mem = l.mem[:m.cols:m.cols], l.mem[n:]
	return m
}

// vector is the first row of x, such as the gain of a norm; nil when x is absent.
func (l *lanes) vector(x tensor.Tensor) []float32 {
	if !x.Present() {
		return nil
	}
	m := l.matrix(x)
	return m.row(0)
}

// block is rows x cols elements of x from (row, col) on, in place with the rows' distance, or widened into via with rows
// step apart.
func (k *kernels) block(x tensor.Tensor, row, col, rows, cols int, via []float32, step int) (data []float32, ld int) {
	at := row*x.LD() + col
	if wide(x) {
		return x.F32()[at:], x.LD()
	}
	widen, half := k.widening(x.DType()), x.U16()[at:]
	for i := range rows {
		widen(via[i*step:][:cols], half[i*x.LD():][:cols])
	}
	return via, step
}

// keepBlock rounds rows x cols elements of src, rows step apart, into the 16-bit tensor x from (row, col) on.
func (k *kernels) keepBlock(x tensor.Tensor, row, col, rows, cols int, src []float32, step int) {
	narrow, half := k.narrowing(x.DType()), x.U16()[row*x.LD()+col:]
	for i := range rows {
		narrow(half[i*x.LD():][:cols], src[i*step:][:cols])
	}
}
