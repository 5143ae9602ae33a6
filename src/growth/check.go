package growth

import (
	"fmt"
	"math"

	"cambium/src/arch"
	"cambium/src/tensor"
)

func (o Options) complete() (Options, error) {
	for _, f := range []struct {
		key   string
		value *string
		want  []string
	}{
		{"operator", (*string)(&o.Operator), []string{string(Zero), string(Mask), string(Stack)}},
		{"statistics", &o.Statistics, []string{Folded, MSG}},
		{"layer_placement", &o.LayerPlacement, []string{Top, Spread}},
		{"new_layers", &o.NewLayers, []string{Random, Copy}},
	} {
		if *f.value == "" {
			*f.value = f.want[0]
		}
		known := false
		for _, w := range f.want {
			known = known || *f.value == w
		}
		if !known {
			return o, fmt.Errorf("growth: %s %q: want one of %v", f.key, *f.value, f.want)
		}
	}
	if o.Statistics == MSG && o.Operator != Mask {
		return o, fmt.Errorf("growth: statistics msg belongs to operator mask, not to %s", o.Operator)
	}
	if o.Operator == Stack {
		o.NewLayers = Copy
	}
	return o, nil
}

// check refuses growths that no operator here preserves the function in.
func check(from, to arch.Model, o Options) error {
	for _, c := range []struct {
		key      string
		from, to int
	}{
		{"num_layers", from.NumLayers, to.NumLayers},
		{"hidden_size", from.HiddenSize, to.HiddenSize},
		{"ffn_hidden_size", from.FFNHiddenSize, to.FFNHiddenSize},
		{"num_attention_heads", from.NumAttentionHeads, to.NumAttentionHeads},
		{"num_query_groups", from.NumQueryGroups, to.NumQueryGroups},
	} {
		if c.from < 1 {
			return fmt.Errorf("growth: the smaller model has %s %d: want at least 1", c.key, c.from)
		}
		if c.to < c.from {
			return fmt.Errorf("growth: %s shrinks from %d to %d: a growth stage cannot be smaller than the one before", c.key, c.from, c.to)
		}
		if c.to > c.from && o.Operator == Stack && c.key != "num_layers" {
			return fmt.Errorf("growth: operator stack grows num_layers only, and %s changes from %d to %d: use zero or mask", c.key, c.from, c.to)
		}
	}
	if r, s := from.NumAttentionHeads/from.NumQueryGroups, to.NumAttentionHeads/to.NumQueryGroups; s < r {
		return fmt.Errorf("growth: query heads a group fall from %d to %d: old query heads must keep their key/value head, so num_attention_heads/num_query_groups cannot fall", r, s)
	}
	if from.Position == arch.PositionLearned && to.MaxPositions < from.MaxPositions {
		return fmt.Errorf("growth: max_position_embeddings shrinks from %d to %d: learned positions cannot be given up", from.MaxPositions, to.MaxPositions)
	}
	return checkSame(from, to)
}

// checkSame refuses changes of what is not a size: they would change the function.
func checkSame(from, to arch.Model) error {
	for _, c := range []struct {
		key      string
		from, to any
	}{
		{"kv_channels", from.KVChannels, to.KVChannels},
		{"vocab_size", from.VocabSize, to.VocabSize},
		{"make_vocab_size_divisible_by", from.VocabSizeDivisibleBy, to.VocabSizeDivisibleBy},
		{"position_embedding_type", from.Position, to.Position},
		{"rotary_base", from.RotaryBase, to.RotaryBase},
		{"rotary_xpos_scale_base", from.XPosBase, to.XPosBase},
		{"normalization", from.Normalization, to.Normalization},
		{"norm_epsilon", from.NormEpsilon, to.NormEpsilon},
		{"swiglu", from.SwiGLU, to.SwiGLU},
		{"add_bias_linear", from.LinearBias, to.LinearBias},
		{"untie_embeddings_and_output_weights", from.UntieOutput, to.UntieOutput},
		{"mup_base_width", from.MupBaseWidth, to.MupBaseWidth},
		{"input_mult", from.InputMult, to.InputMult},
		{"output_mult", from.OutputMult, to.OutputMult},
	} {
		if c.from != c.to {
			return fmt.Errorf("growth: %s changes from %v to %v: a growth stage can change sizes only", c.key, c.from, c.to)
		}
	}
	return nil
}

// Preserves tells whether the operator keeps the function, so that a probe's loss must stay.
func (p *Plan) Preserves() bool { return p.Options.Operator != Stack }

// Tolerance is the largest relative change of a probe's loss that rounding explains: measured over growths of small
// trained models are up to 1e-7 in fp32, 3e-5 in bf16 and 2e-6 in fp16; a longer sum in every GEMM is what differs.
func Tolerance(d tensor.DType) float64 {
	if d == tensor.F32 || d == tensor.F64 {
		return 1e-5
	}
	return 1e-3
}

// CheckProbe compares the loss of one probe batch before growth and after it, at v = 0 (MaskAt(0)) where there is a mask.
// It returns the relative change, and an error when the operator preserves the function and the change exceeds the
// tolerance, or when a loss is not finite.
func (p *Plan) CheckProbe(before, after, tolerance float64) (float64, error) {
	change := math.Abs(after-before) / math.Abs(before)
	switch {
	case math.IsNaN(after) || math.IsInf(after, 0) || math.IsNaN(before) || math.IsInf(before, 0):
		return change, fmt.Errorf("growth: the probe's loss is %g before and %g after: want finite numbers", before, after)
	case p.Preserves() && !(change <= tolerance):
		return change, fmt.Errorf("growth: operator %s should preserve the loss, but the probe's went from %.7g to %.7g, a relative change of %.2g (tolerance %.2g)",
			p.Options.Operator, before, after, change, tolerance)
	}
	return change, nil
}
