package model_test

import (
	"testing"

	"cambium/src/arch"
	"cambium/src/flops"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/tensor"
)

// A second micro-batch in flight costs what the formula says, layer by layer, whatever is computed again. Sizes are multiples
// of a cache line, to which tensors are aligned.
func TestActivationsOfAMicroBatchAreWhatTheFormulaSays(t *testing.T) {
	gpt := arch.Defaults()
	gpt.NumLayers, gpt.HiddenSize, gpt.NumAttentionHeads, gpt.FFNHiddenSize, gpt.VocabSize = 6, 64, 4, 192, 100
	llama := gpt
	llama.SwiGLU, llama.Normalization, llama.NumQueryGroups, llama.UntieOutput = true, arch.RMSNorm, 2, true
	for _, m := range []arch.Model{gpt.Complete(32), llama.Complete(32)} {
		for _, dtype := range []tensor.DType{tensor.F32, tensor.BF16} {
			for _, tp := range []int{1, 2} {
				for _, sequence := range []bool{false, tp > 1} {
					var kept [3]int
					for r := model.RecomputeNone; r <= model.RecomputeFull; r++ {
						kept[r] = marginal(t, m, dtype, tp, sequence, r)
						if want := 2 * flops.KeptBytes(m, 64, tp, sequence, r, dtype.Size()); kept[r] != want {
							t.Errorf("swiglu %v, %v, tp %d, sequence parallel %v, recompute %v: two layers keep %d bytes, want %d",
								m.SwiGLU, dtype, tp, sequence, r, kept[r], want)
						}
					}
					if kept[0] <= kept[1] || kept[1] <= 4*kept[2] {
						t.Errorf("kept bytes without, with selective, with full recomputation: %v", kept)
					}
				}
			}
		}
	}
}

// marginal is the memory for one more slot on the middle one of three pipeline stages.
func marginal(t *testing.T, m arch.Model, dtype tensor.DType, tp int, sequence bool, r model.Recompute) int {
	l, err := layout.Weights(m, grid.Grid{TP: tp, PP: 3, DP: 1, Chunks: 1})
	if err != nil {
		t.Fatal(err)
	}
	var bytes [2]int
	for i := range bytes {
		o := model.Options{MicroBatch: 2, SeqLength: 32, Recompute: r, Slots: []int{1 + i}}
		f, err := model.Measure(l, l.Grid.Rank(grid.Coord{PP: 1}), m.Function(), sequence, model.ParamOptions{DType: dtype, Grads: true}, o)
		if err != nil {
			t.Fatal(err)
		}
		bytes[i] = f.Activations
	}
	return bytes[1] - bytes[0]
}
