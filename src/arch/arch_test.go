package arch

import (
	"math"
	"testing"
)

func complete(m Model, seq int) Model {
	m.VocabSizeDivisibleBy = max(m.VocabSizeDivisibleBy, 1)
	return m.Complete(seq)
}

// Published counts: GPT-2's checkpoints (Radford et al. 2019, as Hugging Face counts them), Llama-2 7B (arXiv 2307.09288),
// FLM-101B with a tied table (arXiv 2309.03852; 80 layers x 10,240, vocabulary padded to 100,352).
func TestParameterCountsArePublishedOnes(t *testing.T) {
	gpt2 := Defaults()
	gpt2.VocabSizeDivisibleBy, gpt2.VocabSize = 1, 50257
	gpt2.NumLayers, gpt2.HiddenSize, gpt2.NumAttentionHeads = 12, 768, 12
	xl := gpt2
	xl.NumLayers, xl.HiddenSize, xl.NumAttentionHeads = 48, 1600, 25
	llama := Model{
		NumLayers: 32, HiddenSize: 4096, FFNHiddenSize: 11008, NumAttentionHeads: 32, VocabSize: 32000, Position: PositionRope,
		Normalization: RMSNorm, SwiGLU: true, UntieOutput: true,
	}
	flm := Defaults()
	flm.NumLayers, flm.HiddenSize, flm.NumAttentionHeads, flm.VocabSize, flm.Position = 80, 10240, 80, 100256, PositionXPos
	flm.VocabSizeDivisibleBy, flm.LinearBias = 512, false // the published count leaves biases out
	for _, c := range []struct {
		name string
		m    Model
		seq  int
		want int
	}{
		{"GPT-2", gpt2, 1024, 124439808},
		{"GPT-2 XL", xl, 1024, 1557611200},
		{"Llama-2 7B", llama, 4096, 6738415616},
	} {
		if got := complete(c.m, c.seq).ParameterCount(); got != c.want {
			t.Errorf("%s has %d parameters, want %d", c.name, got, c.want)
		}
	}
	flm = complete(flm, 2048)
	if got := float64(flm.ParameterCount()) / 1e9; math.Abs(got-101.69) > 0.01 {
		t.Errorf("FLM-101B has %.3f billion parameters, want 101.69", got)
	}
	if flm.PaddedVocab(1) != 100352 {
		t.Errorf("FLM-101B's vocabulary is padded to %d, want 100352", flm.PaddedVocab(1))
	}
}

// Mu-scaling as FLM-101B used it: base width 256, width 10,240, so m = 40; logits are scaled by 2/40.
func TestMupFollowsTheWidth(t *testing.T) {
	m := Defaults()
	m.NumLayers, m.HiddenSize, m.NumAttentionHeads, m.VocabSize, m.MupBaseWidth, m.OutputMult, m.InitStd = 80, 10240, 80, 100, 256, 2, 0.016
	m = complete(m, 16)
	if f := m.Function(); f.LogitScale != 0.05 {
		t.Errorf("logit scale %v, want 0.05", f.LogitScale)
	}
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-12 }
	for _, p := range m.Tensors() {
		lr, decay, std := 1.0, 0.0, 0.0
		switch p.Role {
		case Table:
			decay, std = 1, 0.016
		case Reader:
			lr, decay, std = 1.0/40, 40, 0.016/math.Sqrt(40)
		case Writer:
			lr, decay, std = 1.0/40, 40, 0.016/math.Sqrt(40*2*80)
		}
		if !near(p.LRMult, lr) || !near(p.DecayMult, decay) || !near(p.Std, std) {
			t.Errorf("%s: learning rate x %v, decay x %v, std %v; want %v, %v, %v", p.Name, p.LRMult, p.DecayMult, p.Std, lr, decay, std)
		}
	}
}

func TestTheTableNamesEveryParameterOnceWithItsShape(t *testing.T) {
	for _, bias := range []bool{false, true} {
		for _, swiglu := range []bool{false, true} {
			m := Model{NumLayers: 2, HiddenSize: 24, FFNHiddenSize: 40, NumAttentionHeads: 6, NumQueryGroups: 2, KVChannels: 8, VocabSize: 50,
				Position: PositionLearned, LinearBias: bias, SwiGLU: swiglu, UntieOutput: true}
			m = complete(m, 12)
			seen := map[string]bool{}
			for _, p := range m.Tensors() {
				if seen[p.Name] {
					t.Errorf("%s is there twice", p.Name)
				}
				seen[p.Name] = true
				if len(p.Shape) != len(p.Axes) || p.SplitAxis >= len(p.Axes) {
					t.Errorf("%s: shape %v, axes %v, split along %d", p.Name, p.Shape, p.Axes, p.SplitAxis)
				}
				for i, a := range p.Axes {
					if p.Shape[i] != m.Size(a) {
						t.Errorf("%s: axis %v has %d indices, want %d", p.Name, a, p.Shape[i], m.Size(a))
					}
				}
			}
			for name, want := range map[string]bool{
				LayerTensor(1, "attention.query.bias"): bias, LayerTensor(0, "mlp.gate.weight"): swiglu,
				LayerTensor(0, "mlp.gate.bias"): bias && swiglu, OutputWeight: true, PositionEmbeddings: true,
			} {
				if seen[name] != want {
					t.Errorf("bias %v, swiglu %v: %s is there: %v, want %v", bias, swiglu, name, seen[name], want)
				}
			}
		}
	}
}
