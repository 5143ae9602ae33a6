package hf

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"cambium/src/arch"
)

// configuration is config.json: the keys of both formats that have a meaning for the function. Pointers tell "not given"
// from zero.
type configuration struct {
	Architectures []string `json:"architectures,omitempty"`
	ModelType     string   `json:"model_type"`
	VocabSize     int      `json:"vocab_size"`
	BOS           *int32   `json:"bos_token_id,omitempty"`
	EOS           any      `json:"eos_token_id,omitempty"` // one id, or on import a list
	Tied          *bool    `json:"tie_word_embeddings,omitempty"`
	DType         string   `json:"torch_dtype,omitempty"`
	InitStd       float64  `json:"initializer_range,omitempty"`

	// GPT-2
	Layers       int      `json:"n_layer,omitempty"`
	Embd         int      `json:"n_embd,omitempty"`
	Head         int      `json:"n_head,omitempty"`
	Inner        *int     `json:"n_inner,omitempty"`
	Positions    int      `json:"n_positions,omitempty"`
	Activation   string   `json:"activation_function,omitempty"`
	LayerNormEps float64  `json:"layer_norm_epsilon,omitempty"`
	ScaleScores  *bool    `json:"scale_attn_weights,omitempty"`
	ScaleByLayer bool     `json:"scale_attn_by_inverse_layer_idx,omitempty"`
	CrossAttends bool     `json:"add_cross_attention,omitempty"`
	AttnDropout  *float64 `json:"attn_pdrop,omitempty"`
	EmbdDropout  *float64 `json:"embd_pdrop,omitempty"`
	ResidDropout *float64 `json:"resid_pdrop,omitempty"`

	// Llama
	NumLayers     int        `json:"num_hidden_layers,omitempty"`
	Hidden        int        `json:"hidden_size,omitempty"`
	Intermediate  int        `json:"intermediate_size,omitempty"`
	Heads         int        `json:"num_attention_heads,omitempty"`
	KVHeads       int        `json:"num_key_value_heads,omitempty"`
	HeadDim       int        `json:"head_dim,omitempty"`
	MaxPositions  int        `json:"max_position_embeddings,omitempty"`
	HiddenAct     string     `json:"hidden_act,omitempty"`
	RMSNormEps    float64    `json:"rms_norm_eps,omitempty"`
	RopeTheta     float64    `json:"rope_theta,omitempty"`
	RopeScaling   *ropeTable `json:"rope_scaling,omitempty"`
	RopeTable     *ropeTable `json:"rope_parameters,omitempty"`
	AttentionBias bool       `json:"attention_bias,omitempty"`
	MLPBias       bool       `json:"mlp_bias,omitempty"`
	Rotary        *float64   `json:"partial_rotary_factor,omitempty"`

	Quantization json.RawMessage `json:"quantization_config,omitempty"`
}

// ropeTable is how transformers 5 spells the rotary table, and how older versions spell its scaling.
type ropeTable struct {
	Theta float64  `json:"rope_theta,omitempty"`
	Type  string   `json:"rope_type,omitempty"`
	Old   string   `json:"type,omitempty"`
	Part  *float64 `json:"partial_rotary_factor,omitempty"`
}

// check refuses tables that are not plain RoPE.
func (r *ropeTable) check() error {
	if r == nil {
		return nil
	}
	for _, kind := range []string{r.Type, r.Old} {
		if kind != "" && kind != "default" {
			return fmt.Errorf("hf: rope_type is %q: want default", kind)
		}
	}
	if r.Part != nil && *r.Part != 1 {
		return fmt.Errorf("hf: partial_rotary_factor is %g: want 1", *r.Part)
	}
	return nil
}

// configOf is the configuration that describes a model in a format.
func configOf(m arch.Model, f arch.Function, format string, eod int32) configuration {
	tied := !m.UntieOutput
	c := configuration{ModelType: format, VocabSize: m.VocabSize, Tied: &tied, DType: "float32", InitStd: m.InitStd}
	if eod >= 0 {
		c.BOS, c.EOS = &eod, eod
	}
	if format == "gpt2" {
		none, yes, inner := 0.0, true, m.FFNHiddenSize
		c.Architectures, c.Activation = []string{"GPT2LMHeadModel"}, "gelu_new"
		c.Layers, c.Embd, c.Head, c.Inner, c.Positions = m.NumLayers, m.HiddenSize, m.NumAttentionHeads, &inner, m.MaxPositions
		c.LayerNormEps, c.ScaleScores = f.NormEps, &yes
		c.AttnDropout, c.EmbdDropout, c.ResidDropout = &none, &none, &none
		return c
	}
	c.Architectures, c.HiddenAct = []string{"LlamaForCausalLM"}, "silu"
	c.NumLayers, c.Hidden, c.Intermediate = m.NumLayers, m.HiddenSize, m.FFNHiddenSize
	c.Heads, c.KVHeads, c.HeadDim, c.MaxPositions = m.NumAttentionHeads, m.NumQueryGroups, m.KVChannels, m.MaxPositions
	c.RMSNormEps, c.RopeTheta, c.RopeTable = f.NormEps, m.RotaryBase, &ropeTable{Theta: m.RotaryBase, Type: "default"}
	c.AttentionBias, c.MLPBias = m.LinearBias, m.LinearBias
	return c
}

func readConfig(dir string) (configuration, error) {
	var c configuration
	path := filepath.Join(dir, "config.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("hf: %w", err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("hf: %s: %w", path, err)
	}
	return c, nil
}

// model is the architecture that a configuration describes.
func (c configuration) model() (arch.Model, error) {
	m := arch.Defaults()
	m.VocabSize = c.VocabSize
	if c.InitStd > 0 {
		m.InitStd = c.InitStd
	}
	var err error
	switch {
	case len(c.Quantization) > 0 && string(c.Quantization) != "null":
		return m, errors.New("hf: config.json has quantization_config: want unquantised weights")
	case c.ModelType == "gpt2":
		err = c.gpt2(&m)
	case c.ModelType == "llama":
		err = c.llama(&m)
	default:
		err = fmt.Errorf("hf: model_type is %q: want gpt2 or llama", c.ModelType)
	}
	if err != nil {
		return m, err
	}
	for _, size := range []struct {
		what  string
		value int
	}{
		{"vocab_size", m.VocabSize}, {"the number of layers", m.NumLayers}, {"the hidden size", m.HiddenSize},
		{"the number of heads", m.NumAttentionHeads}, {"the number of key/value heads", m.NumQueryGroups},
		{"the FFN size", m.FFNHiddenSize}, {"the head size", m.KVChannels}, {"the number of positions", m.MaxPositions},
	} {
		if size.value < 1 {
			return m, fmt.Errorf("hf: config.json: %s is %d: want 1 or more", size.what, size.value)
		}
	}
	return m, nil
}

func (c configuration) gpt2(m *arch.Model) error {
	tanh := []string{"", "gelu_new", "gelu_pytorch_tanh", "gelu_fast"} // all are the tanh approximation
	switch {
	case !slices.Contains(tanh, c.Activation):
		return fmt.Errorf("hf: activation_function is %q: want gelu_new", c.Activation)
	case c.ScaleScores != nil && !*c.ScaleScores:
		return errors.New("hf: scale_attn_weights is false: want true")
	case c.ScaleByLayer:
		return errors.New("hf: scale_attn_by_inverse_layer_idx is true: want false")
	case c.CrossAttends:
		return errors.New("hf: add_cross_attention is true: want false")
	case c.Head < 1 || c.Embd%c.Head != 0:
		return fmt.Errorf("hf: n_embd %d is not a multiple of n_head %d", c.Embd, c.Head)
	}
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.MaxPositions = c.Layers, c.Embd, c.Head, c.Positions
	if c.Inner != nil {
		m.FFNHiddenSize = *c.Inner
	}
	if c.LayerNormEps > 0 {
		m.NormEpsilon = c.LayerNormEps
	}
	m.UntieOutput = c.Tied != nil && !*c.Tied
	*m = m.Complete(c.Positions)
	return nil
}

func (c configuration) llama(m *arch.Model) error {
	for _, r := range []*ropeTable{c.RopeScaling, c.RopeTable} {
		if err := r.check(); err != nil {
			return err
		}
	}
	switch {
	case c.HiddenAct != "" && c.HiddenAct != "silu":
		return fmt.Errorf("hf: hidden_act is %q: want silu", c.HiddenAct)
	case c.Rotary != nil && *c.Rotary != 1:
		return fmt.Errorf("hf: partial_rotary_factor is %g: want 1", *c.Rotary)
	}
	m.NumLayers, m.HiddenSize, m.FFNHiddenSize = c.NumLayers, c.Hidden, c.Intermediate
	m.NumAttentionHeads, m.NumQueryGroups, m.KVChannels = c.Heads, c.KVHeads, c.HeadDim
	m.MaxPositions, m.Position, m.Normalization, m.SwiGLU = c.MaxPositions, arch.PositionRope, arch.RMSNorm, true
	m.LinearBias = c.AttentionBias || c.MLPBias
	m.UntieOutput = c.Tied == nil || !*c.Tied
	m.NormEpsilon = 1e-6 // the format's default
	if c.RMSNormEps > 0 {
		m.NormEpsilon = c.RMSNormEps
	}
	switch {
	case c.RopeTable != nil && c.RopeTable.Theta > 0:
		m.RotaryBase = c.RopeTable.Theta
	case c.RopeTheta > 0:
		m.RotaryBase = c.RopeTheta
	}
	*m = m.Complete(c.MaxPositions)
	if m.NumQueryGroups > 0 && m.NumAttentionHeads%m.NumQueryGroups != 0 {
		return fmt.Errorf("hf: num_attention_heads %d is not a multiple of num_key_value_heads %d", m.NumAttentionHeads, m.NumQueryGroups)
	}
	return nil
}
