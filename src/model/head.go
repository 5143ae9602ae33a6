package model

import (
	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Bounds of the rows of logits that exist at one time. A chunk reads and writes the whole gradient of the table once, so
// too few rows cost bandwidth; too many leave the cache between the GEMM, the softmax and the two GEMMs behind it.
const (
	chunkBytes   = 16 << 20
	minChunkRows = 256
	maxChunkRows = 2048
)

// Head is logits = LogitScale norm(x) E^T, with the table E of the embedding when they are tied, and the loss.
// Rows go through in chunks, so that never more than a chunk of logits exists.
type Head struct {
	d     *dims
	ramp  *ramp
	norm  norm
	table pair
	HeadCache
}

// HeadCache is the memory of a head.
type HeadCache struct {
	X, Y       tensor.Tensor // [N, C]
	Mean, RStd tensor.Tensor // [N]
	Logits     tensor.Tensor // [chunk, padded vocabulary]
	Losses     tensor.Tensor // [N]
}

func (h *HeadCache) plan(a *backend.Arena, d *dims) {
	h.X, h.Y = a.Tensor(tensor.F32, d.tokens, d.hidden), a.Tensor(tensor.F32, d.tokens, d.hidden)
	if !d.rms {
		h.Mean = a.Tensor(tensor.F32, d.tokens)
	}
	h.RStd, h.Losses = a.Tensor(tensor.F32, d.tokens), a.Tensor(tensor.F32, d.tokens)
	h.Logits = a.Tensor(tensor.F32, chunkRows(d.tokens, d.padded), d.padded)
}

// chunkRows divides the tokens evenly into as few chunks as the bounds allow.
func chunkRows(tokens, vocab int) int {
	most := min(max(chunkBytes/(4*vocab), minChunkRows), maxChunkRows)
	chunks := (tokens + most - 1) / most
	return (tokens + chunks - 1) / chunks
}

func newHead(d *dims, r *ramp, p *Params) Head {
	h := Head{d: d, ramp: r, norm: newNorm(d, r, p, arch.FinalNormGain, arch.FinalNormShift), table: p.named(arch.WordEmbeddings)}
	if p.Has(arch.OutputWeight) {
		h.table = p.named(arch.OutputWeight)
	}
	return h
}

// Hidden is the final norm: it adds up the residual stream and writes Y.
func (h *Head) Hidden(s backend.Stream, in Residual) {
	h.norm.forward(s, in, h.X, h.Y, h.Mean, h.RStd)
}

// Forward writes the losses of all tokens, given Y.
func (h *Head) Forward(s backend.Stream, targets tensor.Tensor) {
	for lo := 0; lo < h.d.tokens; lo += h.Logits.Dim(0) {
		hi := min(lo+h.Logits.Dim(0), h.d.tokens)
		h.entropy(s, h.Project(s, lo, hi), targets, lo, hi, 0)
	}
}

// Project computes the logits of rows [lo, hi), at most a chunk, into the chunk's memory.
func (h *Head) Project(s backend.Stream, lo, hi int) tensor.Tensor {
	z := h.Logits.Slice(0, hi-lo)
	s.Gemm(backend.Gemm{C: z, A: h.Y.Slice(lo, hi), B: h.table.w, TransB: true, Alpha: h.ramp.logitScale})
	return z
}

// ForwardBackward writes the losses, the gradient of the residual stream into w.DX, and adds those of the parameters.
func (h *Head) ForwardBackward(s backend.Stream, targets tensor.Tensor, gradScale float32, w *Scratch) {
	scale := h.ramp.logitScale
	for lo := 0; lo < h.d.tokens; lo += h.Logits.Dim(0) {
		hi := min(lo+h.Logits.Dim(0), h.d.tokens)
		z := h.Project(s, lo, hi)
		h.entropy(s, z, targets, lo, hi, gradScale)
		s.Gemm(backend.Gemm{C: w.DY.Slice(lo, hi), A: z, B: h.table.w, Alpha: scale})
		s.Gemm(backend.Gemm{C: h.table.g, A: z, TransA: true, B: h.Y.Slice(lo, hi), Alpha: scale,
			Accumulate: w.Accumulate || lo > 0})
	}
	h.norm.backward(s, h.X, w.DY, w.DX, tensor.Tensor{}, h.Mean, h.RStd)
}

func (h *Head) entropy(s backend.Stream, z, targets tensor.Tensor, lo, hi int, gradScale float32) {
	s.CrossEntropy(backend.CrossEntropy{Logits: z, Targets: targets.Slice(lo, hi), Loss: h.Losses.Slice(lo, hi),
		Vocab: h.d.vocab, GradScale: gradScale})
}
