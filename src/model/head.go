package model

import (
	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Bounds of the rows of logits that exist at one time. A chunk reads and writes the whole gradient of the table once, so
// too few rows cost bandwidth; too many leave the cache between the GEMM, the softmax and the two GEMMs behind it. On a GPU
// no cache holds enough rows for its GEMMs: there memory is the bound, and with it a chunk costs little beside its products.
const (
	chunkBytes   = 16 << 20
	minChunkRows = 512
	maxChunkRows = 2048
	gpuLogits    = 1 << 30
)

// LogitBytes is what Options.LogitBytes should be, on a GPU or not.
func LogitBytes(gpu bool) int {
	if gpu {
		return gpuLogits
	}
	return 0
}

// Head is logits = LogitScale norm(x) E^T, with the table E of the embedding when they are tied, and the loss.
// Rows go through in chunks, so that never more than a chunk of logits exists. Each tensor-parallel rank has some rows of
// E, and so some columns of the logits.
type Head struct {
	d      *dims
	ramp   *ramp
	norm   norm
	table  pair
	group  int // of table
	params *Params

	Logits   tensor.Tensor // [chunk, rows of the table]
	Losses   tensor.Tensor // fp32 [N]
	Gathered tensor.Tensor // fp32 [chunk, padded vocabulary]: for inference with tensor parallelism
	stats    [2]stats      // of a chunk, and of the last one where it is shorter
}

// HeadCache is what a head keeps of one micro-batch.
type HeadCache struct {
	X, Y       tensor.Tensor // [R, C]
	Mean, RStd tensor.Tensor // fp32 [R]
}

func (c *HeadCache) plan(a *backend.Arena, d *dims) {
	c.X, c.Y = a.Tensor(d.dtype, d.rows, d.hidden), a.Tensor(d.dtype, d.rows, d.hidden)
	if !d.rms {
		c.Mean = a.Tensor(tensor.F32, d.rows)
	}
	c.RStd = a.Tensor(tensor.F32, d.rows)
}

// plan takes memory for a chunk of logits: fp32 for inference, else of the activations' type, as their gradient is.
func (h *Head) plan(a *backend.Arena) {
	d := h.d
	h.Losses = a.Tensor(tensor.F32, d.tokens)
	dtype := d.dtype
	if d.inference {
		dtype = tensor.F32
	}
	chunk := chunkRows(d.tokens, d.padded, d.logitBytes)
	h.Logits = a.Tensor(dtype, chunk, d.padded)
	if d.tp.size == 1 {
		return
	}
	if d.inference {
		h.Gathered = a.Tensor(tensor.F32, chunk, d.tp.size*d.padded)
	}
	h.stats[0].plan(a, d.tp.size, chunk)
	if last := d.tokens % chunk; last > 0 {
		h.stats[1].plan(a, d.tp.size, last)
	}
}

// chunkRows divides the tokens evenly into as few chunks as the bounds allow.
func chunkRows(tokens, vocab, bytes int) int {
	most := min(max(chunkBytes/(4*vocab), minChunkRows), maxChunkRows)
	if bytes > 0 {
		most = max(bytes/(4*vocab), minChunkRows)
	}
	chunks := (tokens + most - 1) / most
	return (tokens + chunks - 1) / chunks
}

func newHead(d *dims, r *ramp, p *Params) *Head {
	return &Head{d: d, ramp: r, norm: newNorm(d, r, p, arch.FinalNormGain, arch.FinalNormShift),
		table: p.named(outputTable(p.layout.Model)), group: outputGroup(p.layout), params: p}
}

// Hidden is the final norm: it adds up the residual stream and writes c.Y.
func (h *Head) Hidden(s backend.Stream, in Residual, c *HeadCache) {
	h.norm.forward(s, in, c.X, c.Y, c.Mean, c.RStd)
}

// Forward writes the losses of all tokens.
func (h *Head) Forward(s backend.Stream, c *HeadCache, targets tensor.Tensor) {
	y := h.d.tp.gather(s, "tp head input", c.Y)
	for lo := 0; lo < h.d.tokens; lo += h.Logits.Dim(0) {
		hi := min(lo+h.Logits.Dim(0), h.d.tokens)
		h.entropy(s, h.project(s, y.Slice(lo, hi)), targets, lo, hi, 0)
	}
}

// project computes the logits of at most a chunk of rows into the chunk's memory.
func (h *Head) project(s backend.Stream, y tensor.Tensor) tensor.Tensor {
	z := h.Logits.Slice(0, y.Dim(0))
	s.Gemm(backend.Gemm{C: z, A: y, B: h.table.w, TransB: true, Alpha: h.ramp.logitScale})
	return z
}

// ForwardBackward writes the losses and the gradient of the residual stream into dx, and adds those of the parameters. The
// table's gradient belongs here even when backward passes are split, because its factor, the logits' gradient, exists a
// chunk at a time. Rows of y that are done with give their place to their own gradient.
func (h *Head) ForwardBackward(s backend.Stream, c *HeadCache, targets tensor.Tensor, gradScale float32, dx tensor.Tensor, w *Scratch) {
	tp, scale, add := h.d.tp, h.ramp.logitScale, h.params.accumulates(h.group)
	y, dy := tp.gather(s, "tp head input", c.Y), tp.partial(w.DY)
	for lo := 0; lo < h.d.tokens; lo += h.Logits.Dim(0) {
		hi := min(lo+h.Logits.Dim(0), h.d.tokens)
		z := h.project(s, y.Slice(lo, hi))
		h.entropy(s, z, targets, lo, hi, gradScale)
		s.Gemm(backend.Gemm{C: h.table.g, A: z, TransA: true, B: y.Slice(lo, hi), Alpha: scale, Accumulate: add || lo > 0})
		s.Gemm(backend.Gemm{C: dy.Slice(lo, hi), A: z, B: h.table.w, Alpha: scale})
	}
	tp.add(s, "tp head input gradient", w.DY)
	h.norm.backward(s, c.X, w.DY, dx, tensor.Tensor{}, c.Mean, c.RStd, h.params.accumulatesNorms(h.params.layout.Model.NumLayers+1))
}
