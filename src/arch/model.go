package arch

// Model is the architecture of a decoder-only transformer with pre-norm blocks. Key names are Megatron's flags.
type Model struct {
	NumLayers         int `yaml:"num_layers" json:"num_layers"`
	HiddenSize        int `yaml:"hidden_size" json:"hidden_size"`
	FFNHiddenSize     int `yaml:"ffn_hidden_size" json:"ffn_hidden_size"` // default 4 x hidden (swiglu: 8/3 x hidden, up to a multiple of 64)
	NumAttentionHeads int `yaml:"num_attention_heads" json:"num_attention_heads"`
	NumQueryGroups    int `yaml:"num_query_groups" json:"num_query_groups"` // key/value heads; default: attention heads
	KVChannels        int `yaml:"kv_channels" json:"kv_channels"`           // head size; default hidden / heads

	VocabSize            int `yaml:"vocab_size" json:"vocab_size"` // real entries; 0: the tokenizer's
	VocabSizeDivisibleBy int `yaml:"make_vocab_size_divisible_by" json:"make_vocab_size_divisible_by"`
	MaxPositions         int `yaml:"max_position_embeddings" json:"max_position_embeddings"` // default: seq_length

	Position   string  `yaml:"position_embedding_type" json:"position_embedding_type"` // learned_absolute, rope, xpos or none
	RotaryBase float64 `yaml:"rotary_base" json:"rotary_base"`
	XPosBase   float64 `yaml:"rotary_xpos_scale_base" json:"rotary_xpos_scale_base"`

	Normalization string  `yaml:"normalization" json:"normalization"` // LayerNorm or RMSNorm
	NormEpsilon   float64 `yaml:"norm_epsilon" json:"norm_epsilon"`
	SwiGLU        bool    `yaml:"swiglu" json:"swiglu"`
	LinearBias    bool    `yaml:"add_bias_linear" json:"add_bias_linear"`
	UntieOutput   bool    `yaml:"untie_embeddings_and_output_weights" json:"untie_embeddings_and_output_weights"`

	InitStd          float64 `yaml:"init_method_std" json:"init_method_std"`
	EmbeddingInitStd float64 `yaml:"embedding_init_method_std" json:"embedding_init_method_std"` // 0: init_method_std

	// Maximal update parametrisation (arXiv 2203.03466) as FLM-101B used it. Off when MupBaseWidth is 0.
	MupBaseWidth int     `yaml:"mup_base_width" json:"mup_base_width"`
	InputMult    float64 `yaml:"input_mult" json:"input_mult"`   // embedding output
	OutputMult   float64 `yaml:"output_mult" json:"output_mult"` // logits = OutputMult / width_mult * E y
}

// The values of Model.Position and Model.Normalization.
const (
	PositionLearned = "learned_absolute"
	PositionRope    = "rope"
	PositionXPos    = "xpos"
	PositionNone    = "none"
	LayerNorm       = "LayerNorm"
	RMSNorm         = "RMSNorm"
)

// Defaults are the options of GPT-2; sizes are the user's to give.
func Defaults() Model {
	return Model{
		VocabSizeDivisibleBy: 128, Position: PositionLearned, RotaryBase: 10000, XPosBase: 512,
		Normalization: LayerNorm, NormEpsilon: 1e-5, LinearBias: true, InitStd: 0.02, InputMult: 1, OutputMult: 1,
	}
}

// Complete fills in the sizes that follow from others: FFN size, query groups, head size, positions.
func (m Model) Complete(seqLength int) Model {
	if m.FFNHiddenSize == 0 {
		m.FFNHiddenSize = 4 * m.HiddenSize
		if m.SwiGLU {
			m.FFNHiddenSize = (8*m.HiddenSize/3 + 63) / 64 * 64
		}
	}
	if m.NumQueryGroups == 0 {
		m.NumQueryGroups = m.NumAttentionHeads
	}
	if m.KVChannels == 0 && m.NumAttentionHeads > 0 {
		m.KVChannels = m.HiddenSize / m.NumAttentionHeads
	}
	if m.MaxPositions == 0 {
		m.MaxPositions = seqLength
	}
	return m
}

// PaddedVocab is the number of rows of the embedding table: VocabSize up to a multiple of VocabSizeDivisibleBy x tp.
func (m Model) PaddedVocab(tp int) int {
	to := max(m.VocabSizeDivisibleBy, 1) * max(tp, 1)
	return (m.VocabSize + to - 1) / to * to
}

// QuerySize is H x D, KVSize is K x D.
func (m Model) QuerySize() int { return m.NumAttentionHeads * m.KVChannels }

// KVSize is the width of all key heads together, and of all value heads.
func (m Model) KVSize() int { return m.NumQueryGroups * m.KVChannels }

// RMS tells whether norms are RMSNorm: no mean, no bias.
func (m Model) RMS() bool { return m.Normalization == RMSNorm }

// WidthMult is muP's m = hidden / base width, 1 without muP.
func (m Model) WidthMult() float64 {
	if m.MupBaseWidth == 0 {
		return 1
	}
	return float64(m.HiddenSize) / float64(m.MupBaseWidth)
}

// Function is what growth changes in the function that a model computes besides its weights. It belongs to a checkpoint.
type Function struct {
	NormEps    float64 `json:"norm_eps"`    // folded at growth of the hidden size: eps d0/d
	LogitScale float64 `json:"logit_scale"` // logits = LogitScale * E y; falls by d0/d under muP, folded into the final norm's gain and bias
}

// Function of a model that never grew.
func (m Model) Function() Function {
	f := Function{NormEps: m.NormEpsilon, LogitScale: 1}
	if m.MupBaseWidth > 0 {
		f.LogitScale = m.OutputMult / m.WidthMult()
	}
	return f
}

// Mask is the state of a growth ramp: what is new, and how far it has come. The zero Mask means "not growing".
type Mask struct {
	V             float64 `json:"v"`                          // in [0, 1]; 0 only to probe what growth preserved: nothing new learns there
	OldHidden     int     `json:"old_hidden,omitempty"`       // hidden dims before; 0: did not grow
	OldFFN        int     `json:"old_ffn,omitempty"`          // FFN units before; 0: did not grow
	NewHeads      []int   `json:"new_heads,omitempty"`        // query heads that did not exist
	NewLayers     []int   `json:"new_layers,omitempty"`       // layers that did not exist: their branches get V and no other mask but the norms'
	MSGStatistics bool    `json:"msg_statistics,omitempty"`   // form S: the norms' divisor is S instead of the hidden size
	LogitScale0   float64 `json:"logit_scale_from,omitempty"` // form S: the logit scale ramps from here to Function.LogitScale; 0: no ramp
}

// Active tells whether the masked kernels are needed.
func (k Mask) Active() bool {
	return k.V < 1 && (k.OldHidden > 0 || k.OldFFN > 0 || len(k.NewHeads) > 0 || len(k.NewLayers) > 0)
}
