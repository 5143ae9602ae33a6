package model

import (
	"fmt"
	"math"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// dims are the sizes and constants that all parts of one Model share.
type dims struct {
	tokens, seq              int // N = micro-batch x sequence length, and the sequence length
	hidden, ffn              int
	query, kv                int // H*D, K*D
	heads, headDim           int
	vocab, padded            int
	swiglu, rms, inference   bool
	eps, inputMult           float32
	attentionScale           float32 // 1/sqrt(D); muP keeps it, since growth keeps D
	logitScale               float32
	queryTables, keyTables   tables // absent without rotary positions
	tablesFilled             bool
	position                 string
	rotaryBase, rotaryScales float64
}

// tables are the cosines and sines of backend.Rotary, [SeqLength, D/2].
type tables struct{ cos, sin tensor.Tensor }

func newDims(m arch.Model, f arch.Function, o Options) (*dims, error) {
	if err := check(m, f, o); err != nil {
		return nil, err
	}
	return &dims{
		tokens: o.MicroBatch * o.SeqLength, seq: o.SeqLength,
		hidden: m.HiddenSize, ffn: m.FFNHiddenSize, query: m.QuerySize(), kv: m.KVSize(),
		heads: m.NumAttentionHeads, headDim: m.KVChannels, vocab: m.VocabSize, padded: m.PaddedVocab(1),
		swiglu: m.SwiGLU, rms: m.RMS(), inference: o.Inference,
		eps: float32(f.NormEps), inputMult: float32(m.InputMult), logitScale: float32(f.LogitScale),
		attentionScale: float32(1 / math.Sqrt(float64(m.KVChannels))),
		position:       m.Position, rotaryBase: m.RotaryBase, rotaryScales: m.XPosBase,
	}, nil
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
	}
	return nil
}

// planTables takes memory for the rotary tables. RoPE turns queries and keys alike.
func (d *dims) planTables(a *backend.Arena) {
	take := func() tables {
		return tables{cos: a.Tensor(tensor.F32, d.seq, d.headDim/2), sin: a.Tensor(tensor.F32, d.seq, d.headDim/2)}
	}
	switch d.position {
	case arch.PositionRope:
		d.queryTables = take()
		d.keyTables = d.queryTables
	case arch.PositionXPos:
		d.queryTables, d.keyTables = take(), take()
	}
}

// fillTables computes the rotary tables before the first pass. With w_i = base^(-2i/D), i < D/2:
//
//	RoPE (arXiv 2104.09864): cos(n w_i), sin(n w_i)
//	xPos (arXiv 2212.10554): the same times zeta_i^p for queries and zeta_i^-p for keys,
//	  zeta_i = (2i + 0.4 D)/(1.4 D),  p = (n - floor(SeqLength/2))/scale base
//
// Scores depend on differences of positions only; counting from the middle keeps the powers small.
func (d *dims) fillTables(s backend.Stream) {
	if d.tablesFilled || !d.queryTables.cos.Present() {
		return
	}
	d.tablesFilled = true
	d.fillTable(s, d.queryTables, +1)
	if d.position == arch.PositionXPos {
		d.fillTable(s, d.keyTables, -1)
	}
}

func (d *dims) fillTable(s backend.Stream, t tables, sign float64) {
	half, size := d.headDim/2, float64(d.headDim)
	cos, sin := make([]float32, d.seq*half), make([]float32, d.seq*half)
	for n := range d.seq {
		for i := range half {
			angle, scale := float64(n)*math.Pow(d.rotaryBase, -2*float64(i)/size), 1.0
			if d.position == arch.PositionXPos {
				zeta := (2*float64(i) + 0.4*size) / (1.4 * size)
				scale = math.Pow(zeta, sign*float64(n-d.seq/2)/d.rotaryScales)
			}
			cos[n*half+i], sin[n*half+i] = float32(scale*math.Cos(angle)), float32(scale*math.Sin(angle))
		}
	}
	s.Upload(t.cos, tensor.HostBytes(cos))
	s.Upload(t.sin, tensor.HostBytes(sin))
}
