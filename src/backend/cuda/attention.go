//go:build cuda

package cuda

import (
	"fmt"

	"cambium/src/backend"
	"cambium/src/tensor"
)

type attentionArgs struct {
	q, k, v, o, do, dq, dk, dv         view
	lse, headScale, d                  uintptr
	heads, groups, headDim, seq, first int32
	scale                              float32
}

// attentionRows is the number of rows that a block of the kernels without tensor cores takes, a warp each. flashRows is that of
// a block with tensor cores, and flashShared the most dynamic shared memory that one needs: see cuda/attention.
const (
	attentionRows = 4
	flashRows     = 64
	flashShared   = 2 * 5 * flashRows * (128 + 8)
)

func attention(a backend.Attention) attentionArgs {
	return attentionArgs{
		q: of(a.Q), k: of(a.K), v: of(a.V), o: of(a.O), lse: address(a.LSE), headScale: address(a.HeadScale),
		heads: int32(a.Q.Cols() / a.HeadDim), groups: int32(a.K.Cols() / a.HeadDim), headDim: int32(a.HeadDim), seq: int32(a.SeqLen), scale: a.Scale,
	}
}

// flash tells whether heads of 16-bit elements have a size, and lie, as the kernels for tensor cores want them.
func flash(headDim int, ts ...tensor.Tensor) bool {
	for _, t := range ts {
		if t.DType().Size() != 2 || address(t)%16 != 0 || t.LD()%8 != 0 {
			return false
		}
	}
	return headDim == 64 || headDim == 128
}

// flash launches one of them over blocks x heads x batches; tiles is how many tiles of flashRows rows it keeps in shared memory.
func (s *stream) flash(kernel string, t tensor.DType, a *attentionArgs, blocks, heads, batches, tiles int) {
	kernel = fmt.Sprintf("attention_flash_%s_%d_%s", kernel, a.headDim, suffix(t))
	shared := uint32(2 * tiles * flashRows * int(a.headDim+8))
	enqueue(s, "attention", kernel, dim{uint32(blocks), uint32(heads), uint32(batches)}, dim{128, 1, 1}, shared, a)
}

// attentionRows launches a kernel without tensor cores: a warp a position and head (or key/value head).
func (s *stream) attentionRows(kernel string, a *attentionArgs, heads int32, tokens int) {
	grid := dim{uint32(ceilDiv(int(a.seq), attentionRows)), uint32(heads), uint32(tokens / int(a.seq))}
	enqueue(s, "attention", kernel, grid, dim{32 * attentionRows, 1, 1}, 0, a)
}

func (s *stream) AttentionForward(x backend.Attention) {
	a := attention(x)
	if flash(x.HeadDim, x.Q, x.K, x.V, x.O) {
		if s.b.tensorAttention(x) {
			s.wgmmaForward(x)
			return
		}
		s.flash("forward", x.Q.DType(), &a, ceilDiv(x.SeqLen, flashRows), int(a.heads), x.Q.Rows()/x.SeqLen, 5)
		return
	}
	s.attentionRows("attention_forward_"+suffix(x.Q.DType()), &a, a.heads, x.Q.Rows())
}

func (s *stream) AttentionBackward(x backend.AttentionGrad) {
	a := attention(x.Attention)
	a.do, a.dq, a.dk, a.dv = of(x.DO), of(x.DQ), of(x.DK), of(x.DV)
	fit := workspaceBytes / (4 * int(a.heads) * x.SeqLen) // sequences for whose D the workspace has room
	if fit > 0 && flash(x.HeadDim, x.Q, x.K, x.V, x.O, x.DO, x.DQ, x.DK, x.DV) {
		s.flashBackward(x, a, fit)
		return
	}
	s.attentionRows("attention_queries_"+suffix(x.Q.DType()), &a, a.heads, x.Q.Rows())
	s.attentionRows("attention_keys_"+suffix(x.Q.DType()), &a, a.groups, x.Q.Rows())
}

// flashBackward goes through the sequences, as many at a time as fit.
func (s *stream) flashBackward(x backend.AttentionGrad, a attentionArgs, fit int) {
	a.d = s.workspace.Device
	// The other side's tiles have half the rows when heads are large: registers.
	tiles := 2 + 4*64/x.HeadDim
	blocks, t := ceilDiv(x.SeqLen, flashRows), x.Q.DType()
	for batches := x.Q.Rows() / x.SeqLen; int(a.first) < batches; a.first += int32(fit) {
		n := min(fit, batches-int(a.first))
		s.flash("rows", t, &a, ceilDiv(x.SeqLen, 128/(x.HeadDim/8)), int(a.heads), n, 0)
		if s.b.tensorAttention(x.Attention) {
			s.wgmmaBackward(x, a.first, n)
			continue
		}
		s.flash("queries", t, &a, blocks, int(a.heads), n, tiles)
		s.flash("keys", t, &a, blocks, int(a.groups), n, tiles)
	}
}
