package flops

import (
	"fmt"
	"strings"

	"cambium/src/arch"
)

// Formula counts the operations of training on one token, forward and backward, a multiplication and an addition as
// two. Recomputed activations are not work, unless the formula says so.
type Formula struct {
	Name       string // for metrics and flags
	Expression string // for people
	Source     string
	perToken   func(m arch.Model, seqLength float64) float64
}

// PerToken is the number of operations a token for sequences of seqLength tokens. The model must be complete
// (arch.Model.Complete).
func (f Formula) PerToken(m arch.Model, seqLength int) float64 {
	return f.perToken(m, float64(seqLength))
}

// Formulas are all formulas, the default first.
func Formulas() []Formula {
	return []Formula{PaLM(), LLMC(), Megatron(), MegatronFull(), FLM(72), FLM(96)}
}

// Names are those of Formulas.
func Names() (names []string) {
	for _, f := range Formulas() {
		names = append(names, f.Name)
	}
	return names
}

// ByName finds a formula.
func ByName(name string) (Formula, error) {
	for _, f := range Formulas() {
		if f.Name == name {
			return f, nil
		}
	}
	return Formula{}, fmt.Errorf("flops: unknown formula %q: want one of %s", name, strings.Join(Names(), ", "))
}

// PaLM is 6 N + 12 L H Q T: six operations a parameter, and attention over all T positions. N counts a tied table once
// (its product is the output layer) and learned positions not at all (they are looked up, never multiplied), as nanoGPT
// does.
func PaLM() Formula {
	return Formula{
		Name: "palm", Expression: "6 N + 12 L H Q T", Source: "PaLM, arXiv 2204.02311, appendix B; nanoGPT estimate_mfu",
		perToken: func(m arch.Model, t float64) float64 {
			n := m.ParameterCount()
			if m.Position == arch.PositionLearned {
				n -= m.MaxPositions * m.HiddenSize
			}
			return 6*float64(n) + 12*float64(m.NumLayers*m.QuerySize())*t
		},
	}
}

// LLMC is 6 N + 6 L C T with N = all parameters: attention counted for the half of the positions that a causal mask
// leaves.
func LLMC() Formula {
	return Formula{
		Name: "llm.c", Expression: "6 N + 6 L C T", Source: "llm.c train_gpt2.cu, gpt2_estimate_mfu",
		perToken: func(m arch.Model, t float64) float64 {
			return 6*float64(m.ParameterCount()) + 6*float64(m.NumLayers*m.HiddenSize)*t
		},
	}
}

// Megatron counts the GEMMs layer by layer, the output layer over the padded vocabulary, and half of the attention
// matrix; MegatronFull, which tables before 2024 used, the whole of it:
//
//	12 L h^2 (q (1 + groups/heads + T/(2 h)) + g ffn/h + V/(2 L h))
//
// with q = heads x head size / h and g = 3/2 for swiglu, 1 otherwise.
func Megatron() Formula {
	return Formula{
		Name: "megatron", Expression: "12 L h^2 (q (1 + groups/heads + T/(2 h)) + g ffn/h + V/(2 L h))",
		Source:   "Megatron-LM, num_floating_point_operations, causal attention halved",
		perToken: func(m arch.Model, t float64) float64 { return layerwise(m, t/2) },
	}
}

// MegatronFull is Megatron with the whole attention matrix; without swiglu and grouped queries it is
// 72 L h^2 (1 + T/(6 h) + V/(12 L h)).
func MegatronFull() Formula {
	return Formula{
		Name: "megatron-full", Expression: "12 L h^2 (q (1 + groups/heads + T/h) + g ffn/h + V/(2 L h))",
		Source:   "Megatron-LM, num_floating_point_operations before causal attention was halved",
		perToken: layerwise,
	}
}

// layerwise is three times the forward pass: 2 operations a weight, 4 times attended x H Q for the two products of
// attention.
func layerwise(m arch.Model, attended float64) float64 {
	h, q := float64(m.HiddenSize), float64(m.QuerySize())
	matrices := 2.0
	if m.SwiGLU {
		matrices = 3
	}
	attention := 2*h*(2*q+2*float64(m.KVSize())) + 4*attended*q
	mlp := 2 * matrices * h * float64(m.FFNHiddenSize)
	return 3 * (float64(m.NumLayers)*(attention+mlp) + 2*h*float64(m.PaddedVocab(1)))
}

// FLM is k L h^2 (1 + T/(6 h) + V/(16 L h)) as FLM-101B reports its costs: k = 72 without, 96 with full recomputation
// of activations, which then counts as work; the paper takes 84 where it does not know. V is not padded.
func FLM(k float64) Formula {
	return Formula{
		Name: fmt.Sprintf("flm-%g", k), Expression: fmt.Sprintf("%g L h^2 (1 + T/(6 h) + V/(16 L h))", k),
		Source: "FLM-101B, arXiv 2309.03852, after Narayanan et al., arXiv 2104.04473, equation 3",
		perToken: func(m arch.Model, t float64) float64 {
			l, h := float64(m.NumLayers), float64(m.HiddenSize)
			return k * l * h * h * (1 + t/(6*h) + float64(m.VocabSize)/(16*l*h))
		},
	}
}
