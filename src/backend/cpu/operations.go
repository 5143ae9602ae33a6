package cpu

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// The operations that are not written yet.

func (s *stream) Fill(x tensor.Tensor, value float32)             { panic("cpu: Fill is missing") }
func (s *stream) Copy(dst, src tensor.Tensor)                     { panic("cpu: Copy is missing") }
func (s *stream) Axpy(y, x tensor.Tensor, a float32)              { panic("cpu: Axpy is missing") }
func (s *stream) Scale(x tensor.Tensor, a float32)                { panic("cpu: Scale is missing") }
func (s *stream) ScaleColumns(x, v tensor.Tensor)                 { panic("cpu: ScaleColumns is missing") }
func (s *stream) ColumnSum(out, x tensor.Tensor, accumulate bool) { panic("cpu: ColumnSum is missing") }
func (s *stream) SumSquares(out, x tensor.Tensor, accumulate bool) {
	panic("cpu: SumSquares is missing")
}
func (s *stream) EmbeddingForward(backend.Embedding)      { panic("cpu: EmbeddingForward is missing") }
func (s *stream) EmbeddingBackward(backend.Embedding)     { panic("cpu: EmbeddingBackward is missing") }
func (s *stream) NormForward(backend.Norm)                { panic("cpu: NormForward is missing") }
func (s *stream) NormBackward(backend.NormGrad)           { panic("cpu: NormBackward is missing") }
func (s *stream) Rotary(backend.Rotary)                   { panic("cpu: Rotary is missing") }
func (s *stream) AttentionForward(backend.Attention)      { panic("cpu: AttentionForward is missing") }
func (s *stream) AttentionBackward(backend.AttentionGrad) { panic("cpu: AttentionBackward is missing") }
func (s *stream) SwiGLUForward(backend.SwiGLU)            { panic("cpu: SwiGLUForward is missing") }
func (s *stream) SwiGLUBackward(backend.SwiGLU)           { panic("cpu: SwiGLUBackward is missing") }
func (s *stream) CrossEntropy(backend.CrossEntropy)       { panic("cpu: CrossEntropy is missing") }
func (s *stream) AdamW(backend.AdamW)                     { panic("cpu: AdamW is missing") }
