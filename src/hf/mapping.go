package hf

import (
	"fmt"

	"cambium/src/arch"
)

// entry says how one tensor of a Hugging Face file is made of parameters.
type entry struct {
	name      string   // in the file
	parts     []string // parameters, one below the other
	transpose bool     // GPT-2's Conv1D keeps [in, out]
	shape     []int    // in the file
	scale     float64  // on export
}

// family is the format that can express a model, or why there is none.
func family(m arch.Model) (string, error) {
	refuse := func(key string, value any, format, want string) (string, error) {
		return "", fmt.Errorf("hf: %s is %v: the %s format needs %s", key, value, format, want)
	}
	switch m.Position {
	case arch.PositionLearned:
		switch {
		case m.RMS():
			return refuse("normalization", m.Normalization, "GPT-2", arch.LayerNorm)
		case m.SwiGLU:
			return refuse("swiglu", true, "GPT-2", "GELU")
		case !m.LinearBias:
			return refuse("add_bias_linear", false, "GPT-2", "biases")
		case m.NumQueryGroups != m.NumAttentionHeads:
			return refuse("num_query_groups", m.NumQueryGroups, "GPT-2", "as many as attention heads")
		case m.QuerySize() != m.HiddenSize:
			return refuse("kv_channels", m.KVChannels, "GPT-2", "hidden_size / num_attention_heads")
		}
		return "gpt2", nil
	case arch.PositionRope:
		switch {
		case !m.RMS():
			return refuse("normalization", m.Normalization, "Llama", arch.RMSNorm)
		case !m.SwiGLU:
			return refuse("swiglu", false, "Llama", "SwiGLU")
		}
		return "llama", nil
	}
	return "", fmt.Errorf("hf: position_embedding_type is %s: Hugging Face's GPT-2 and Llama formats have learned_absolute and rope only", m.Position)
}

// folded are the factors that carry the multipliers over into weights.
type folded struct{ table, final float64 }

func fold(m arch.Model, f arch.Function) folded {
	if m.UntieOutput {
		return folded{table: m.InputMult, final: f.LogitScale}
	}
	return folded{table: m.InputMult, final: f.LogitScale / m.InputMult}
}

// entries is the file's contents. A tied output layer is not stored.
func entries(m arch.Model, format string, by folded) []entry {
	b := &entryBuilder{m: m}
	if format == "gpt2" {
		b.gpt2(by)
	} else {
		b.llama(by)
	}
	return b.out
}

type entryBuilder struct {
	m   arch.Model
	out []entry
}

// add appends an entry whose parameters are each of the given rows and columns (no columns: a vector).
func (b *entryBuilder) add(name string, rows, cols int, scale float64, transpose bool, parts ...string) {
	e := entry{name: name, parts: parts, transpose: transpose, scale: scale, shape: []int{rows}}
	switch {
	case transpose:
		e.shape = []int{cols, rows}
	case cols > 0:
		e.shape = []int{rows, cols}
	}
	b.out = append(b.out, e)
}

func (b *entryBuilder) gpt2(by folded) {
	m, c := b.m, b.m.HiddenSize
	b.add("transformer.wte.weight", m.VocabSize, c, by.table, false, arch.WordEmbeddings)
	b.add("transformer.wpe.weight", m.MaxPositions, c, by.table, false, arch.PositionEmbeddings)
	for l := range m.NumLayers {
		at := fmt.Sprintf("transformer.h.%d.", l)
		ours := func(name, kind string) string { return arch.LayerTensor(l, name+"."+kind) }
		linear := func(name string, rows, cols int, parts ...string) {
			var weights, biases []string
			for _, p := range parts {
				weights, biases = append(weights, ours(p, "weight")), append(biases, ours(p, "bias"))
			}
			b.add(at+name+".weight", rows, cols, 1, true, weights...)
			b.add(at+name+".bias", rows, 0, 1, false, biases...)
		}
		norm := func(name, our string) {
			b.add(at+name+".weight", c, 0, 1, false, ours(our, "weight"))
			b.add(at+name+".bias", c, 0, 1, false, ours(our, "bias"))
		}
		norm("ln_1", "input_norm")
		linear("attn.c_attn", 3*c, c, "attention.query", "attention.key", "attention.value")
		linear("attn.c_proj", c, c, "attention.dense")
		norm("ln_2", "post_attention_norm")
		linear("mlp.c_fc", m.FFNHiddenSize, c, "mlp.fc1")
		linear("mlp.c_proj", c, m.FFNHiddenSize, "mlp.fc2")
	}
	b.add("transformer.ln_f.weight", c, 0, by.final, false, arch.FinalNormGain)
	b.add("transformer.ln_f.bias", c, 0, by.final, false, arch.FinalNormShift)
	b.output()
}

func (b *entryBuilder) llama(by folded) {
	m, c := b.m, b.m.HiddenSize
	b.add("model.embed_tokens.weight", m.VocabSize, c, by.table, false, arch.WordEmbeddings)
	for l := range m.NumLayers {
		at := fmt.Sprintf("model.layers.%d.", l)
		linear := func(name, our string, rows, cols int) {
			b.add(at+name+".weight", rows, cols, 1, false, arch.LayerTensor(l, our+".weight"))
			if m.LinearBias {
				b.add(at+name+".bias", rows, 0, 1, false, arch.LayerTensor(l, our+".bias"))
			}
		}
		b.add(at+"input_layernorm.weight", c, 0, 1, false, arch.LayerTensor(l, "input_norm.weight"))
		linear("self_attn.q_proj", "attention.query", m.QuerySize(), c)
		linear("self_attn.k_proj", "attention.key", m.KVSize(), c)
		linear("self_attn.v_proj", "attention.value", m.KVSize(), c)
		linear("self_attn.o_proj", "attention.dense", c, m.QuerySize())
		b.add(at+"post_attention_layernorm.weight", c, 0, 1, false, arch.LayerTensor(l, "post_attention_norm.weight"))
		linear("mlp.gate_proj", "mlp.gate", m.FFNHiddenSize, c)
		linear("mlp.up_proj", "mlp.fc1", m.FFNHiddenSize, c)
		linear("mlp.down_proj", "mlp.fc2", c, m.FFNHiddenSize)
	}
	b.add("model.norm.weight", c, 0, by.final, false, arch.FinalNormGain)
	b.output()
}

func (b *entryBuilder) output() {
	if b.m.UntieOutput {
		b.add("lm_head.weight", b.m.VocabSize, b.m.HiddenSize, 1, false, arch.OutputWeight)
	}
}
