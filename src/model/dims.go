package model

import (
	"fmt"
	"math"

	"cambium/src/arch"
	"cambium/src/tensor"
)

// dims are the sizes and constants that all parts of one Model share. Heads, FFN units and rows of the vocabulary are the
// rank's own.
type dims struct {
	tokens, seq              int // N = micro-batch x sequence length, and the sequence length
	rows                     int // of the residual stream: N, or N/tp with sequence parallelism
	hidden, ffn              int
	query, kv                int // H*D, K*D
	heads, headDim           int
	vocab, padded            int // of the whole vocabulary; rows of the rank's table
	vocabStart               int // first row of the rank's table
	headStart, ffnStart      int // first head and FFN unit of the rank
	dtype                    tensor.DType
	swiglu, rms, inference   bool
	recompute                Recompute
	split                    bool // backward passes come in two parts
	eps, inputMult           float32
	attentionScale           float32 // 1/sqrt(D); muP keeps it, since growth keeps D
	logitScale               float32
	logitBytes               int    // at one time; 0: see chunkRows
	queryTables, keyTables   tables // absent without rotary positions
	tablesFilled             bool
	position                 string
	rotaryBase, rotaryScales float64
	tp                       *shares
}

func newDims(p *Params, f arch.Function, t *shares, o Options) (*dims, error) {
	m, g := p.layout.Model, p.layout.Grid
	if err := check(m, f, o); err != nil {
		return nil, err
	}
	if t.size != g.TP || t.rank != g.Coord(p.rank).TP {
		return nil, fmt.Errorf("model: a tensor-parallel group of %d ranks, of which this is number %d, for parameters of %s",
			t.size, t.rank, g.Describe(p.rank))
	}
	if o.Inference {
		o.LogitBytes = 0
	}
	d := &dims{
		tokens: o.MicroBatch * o.SeqLength, seq: o.SeqLength, rows: o.MicroBatch * o.SeqLength,
		hidden: m.HiddenSize, ffn: m.FFNHiddenSize / t.size, query: m.QuerySize() / t.size, kv: m.KVSize() / t.size,
		heads: m.NumAttentionHeads / t.size, headDim: m.KVChannels, vocab: m.VocabSize, padded: m.PaddedVocab(t.size) / t.size,
		dtype: p.dtype, swiglu: m.SwiGLU, rms: m.RMS(), inference: o.Inference, recompute: o.Recompute, split: o.SplitBackward && !o.Inference,
		eps: float32(f.NormEps), inputMult: float32(m.InputMult), logitScale: float32(f.LogitScale), logitBytes: o.LogitBytes,
		attentionScale: float32(1 / math.Sqrt(float64(m.KVChannels))),
		position:       m.Position, rotaryBase: m.RotaryBase, rotaryScales: m.XPosBase, tp: t,
	}
	d.headStart, d.ffnStart, d.vocabStart = t.rank*d.heads, t.rank*d.ffn, t.rank*d.padded
	if t.sequence {
		if d.tokens%t.size != 0 {
			return nil, fmt.Errorf("model: sequence_parallel: micro_batch_size %d x seq_length %d tokens cannot be split among %d ranks: want a multiple of it",
				o.MicroBatch, o.SeqLength, t.size)
		}
		d.rows = d.tokens / t.size
	}
	return d, nil
}

func check(m arch.Model, f arch.Function, o Options) error {
	for _, c := range []struct {
		key   string
		value int
	}{
		{"num_layers", m.NumLayers}, {"hidden_size", m.HiddenSize}, {"ffn_hidden_size", m.FFNHiddenSize},
		{"num_attention_heads", m.NumAttentionHeads}, {"num_query_groups", m.NumQueryGroups},
		{"kv_channels", m.KVChannels}, {"vocab_size", m.VocabSize},
		{"micro_batch_size", o.MicroBatch}, {"seq_length", o.SeqLength},
	} {
		if c.value < 1 {
			return fmt.Errorf("model: %s is %d: want 1 or more", c.key, c.value)
		}
	}
	rotary := m.Position == arch.PositionRope || m.Position == arch.PositionXPos
	switch {
	case m.NumAttentionHeads%m.NumQueryGroups != 0:
		return fmt.Errorf("model: num_attention_heads %d is not a multiple of num_query_groups %d", m.NumAttentionHeads, m.NumQueryGroups)
	case rotary && m.KVChannels%2 != 0:
		return fmt.Errorf("model: kv_channels is %d: %s needs an even number", m.KVChannels, m.Position)
	case rotary && m.RotaryBase <= 0:
		return fmt.Errorf("model: rotary_base is %g: want more than 0", m.RotaryBase)
	case m.Position == arch.PositionXPos && m.XPosBase <= 0:
		return fmt.Errorf("model: rotary_xpos_scale_base is %g: want more than 0", m.XPosBase)
	case !rotary && m.Position != arch.PositionLearned && m.Position != arch.PositionNone:
		return fmt.Errorf("model: position_embedding_type is %q: want %s, %s, %s or %s", m.Position,
			arch.PositionLearned, arch.PositionRope, arch.PositionXPos, arch.PositionNone)
	case m.Position == arch.PositionLearned && m.MaxPositions < o.SeqLength:
		return fmt.Errorf("model: seq_length %d is more than max_position_embeddings %d", o.SeqLength, m.MaxPositions)
	case m.Normalization != arch.LayerNorm && m.Normalization != arch.RMSNorm:
		return fmt.Errorf("model: normalization is %q: want %s or %s", m.Normalization, arch.LayerNorm, arch.RMSNorm)
	case !(f.NormEps > 0):
		return fmt.Errorf("model: norm_epsilon is %g: want more than 0", f.NormEps)
	case m.InputMult == 0 || f.LogitScale == 0:
		return fmt.Errorf("model: input_mult is %g and the logit scale %g: neither may be 0", m.InputMult, f.LogitScale)
	case o.SplitBackward && o.Recompute != RecomputeNone:
		return fmt.Errorf("model: recompute_granularity is %v: a schedule that splits backward passes keeps all activations, so it wants none", o.Recompute)
	}
	return nil
}
