//go:build cuda

package cuda

import (
	"fmt"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// tensorAttentionArgs is TensorAttention of cuda/attention/wgmma.cu.
type tensorAttentionArgs struct {
	q, k, v, do               tensorMap
	out, more                 view
	lse, headScale, d         uintptr
	heads, groups, seq, first int32
	scale                     float32
	_                         [9]int32 // to a multiple of a tensor map's alignment
}

// A warpgroup owns 64 rows; the other side's come by in tiles of 64, three of two tensors at a time.
const (
	warpgroupRows   = 64
	warpgroupStages = 3
	warpgroupShared = 8 * 2 * warpgroupRows * 128 // the most dynamic shared memory that one needs, but for the barriers
)

// tensorAttention tells whether the kernels for sm_90a can do an attention whose tensors flash lets through.
func (b *gpu) tensorAttention(x backend.Attention) bool {
	return b.capability == 90 && x.Scale > 0
}

// wgmmaAttention launches one of them: blocks of `groups` warpgroups, heads x batches x pieces of the sequence.
func (s *stream) wgmmaAttention(kernel string, t tensor.DType, headDim int, a *tensorAttentionArgs, heads, batches, groups int) {
	tile := 2 * warpgroupRows * headDim
	own := max(groups, 2) // tiles: the queries of two warpgroups, or two tensors of one
	grid := dim{uint32(heads), uint32(batches), uint32(ceilDiv(int(a.seq), groups*warpgroupRows))}
	shared := uint32((own+2*warpgroupStages)*tile + 8*(1+warpgroupStages))
	enqueue(s, "attention", fmt.Sprintf("attention_wgmma_%s_%d_%s", kernel, headDim, suffix(t)), grid, dim{uint32(128 * groups), 1, 1}, shared, a)
}

func (s *stream) tensorAttentionArgs(x backend.Attention) tensorAttentionArgs {
	t := x.Q.DType()
	maps := &s.b.maps
	return tensorAttentionArgs{
		q: maps.of(s.b, of(x.Q), t, warpgroupRows), k: maps.of(s.b, of(x.K), t, warpgroupRows), v: maps.of(s.b, of(x.V), t, warpgroupRows),
		lse: address(x.LSE), headScale: address(x.HeadScale), heads: int32(x.Q.Cols() / x.HeadDim), groups: int32(x.K.Cols() / x.HeadDim),
		seq: int32(x.SeqLen), scale: x.Scale,
	}
}

func (s *stream) wgmmaForward(x backend.Attention) {
	a := s.tensorAttentionArgs(x)
	a.out = of(x.O)
	s.wgmmaAttention("forward", x.Q.DType(), x.HeadDim, &a, int(a.heads), x.Q.Rows()/x.SeqLen, 2)
}

// wgmmaBackward goes through batches sequences from first on, of which the workspace holds D.
func (s *stream) wgmmaBackward(x backend.AttentionGrad, first int32, batches int) {
	a := s.tensorAttentionArgs(x.Attention)
	a.do = s.b.maps.of(s.b, of(x.DO), x.DO.DType(), warpgroupRows)
	a.d, a.first = s.workspace.Device, first
	a.out = of(x.DQ)
	s.wgmmaAttention("queries", x.Q.DType(), x.HeadDim, &a, int(a.heads), batches, 1)
	a.out, a.more = of(x.DK), of(x.DV)
	s.wgmmaAttention("keys", x.Q.DType(), x.HeadDim, &a, int(a.groups), batches, 1)
}
