package config

import (
	"fmt"

	"cambium/src/arch"
)

// checkGrowth judges stage i against the one before: nothing may shrink, and what growth cannot carry over may not
// change (the growth operators' own limits: growth of a head's size and fewer query heads a group are not supported).
func (c *checker) checkGrowth(i int, before, s *Stage) {
	a, b := before.Model, s.Model
	for _, d := range []struct {
		key      string
		old, new int
	}{
		{"num_layers", a.NumLayers, b.NumLayers}, {"hidden_size", a.HiddenSize, b.HiddenSize},
		{"ffn_hidden_size", a.FFNHiddenSize, b.FFNHiddenSize}, {"num_attention_heads", a.NumAttentionHeads, b.NumAttentionHeads},
		{"num_query_groups", a.NumQueryGroups, b.NumQueryGroups},
		{"max_position_embeddings", a.MaxPositions, b.MaxPositions},
	} {
		c.pair(i, d.key, d.new >= d.old, "%d is less than the %d of the stage before: a model cannot shrink", d.new, d.old)
	}
	c.pair(i, "kv_channels", a.KVChannels == b.KVChannels,
		"the size of a head changes from %d to %d, which growth cannot do: keep hidden_size / num_attention_heads, or give kv_channels for all stages", a.KVChannels, b.KVChannels)
	if a.NumQueryGroups > 0 && b.NumQueryGroups > 0 {
		oldShare, newShare := a.NumAttentionHeads/a.NumQueryGroups, b.NumAttentionHeads/b.NumQueryGroups
		c.pair(i, "num_query_groups", newShare >= oldShare, "%d heads a group are less than the %d of the stage before: old heads would lose their keys", newShare, oldShare)
	}
	for _, same := range sameInAllStages(a, b) {
		c.pair(i, same.key, same.old == same.new, "changes from %v to %v: it must be the same in all stages", same.old, same.new)
	}
	c.checkOperator(i, before, s)
	c.checkContinues(i, before, s)
}

// checkContinues refuses a curve of its own for a stage that continues that of the stage before.
func (c *checker) checkContinues(i int, before, s *Stage) {
	if s.Growth.LRSchedule != ScheduleContinue {
		return
	}
	a, b := before.Train, s.Train
	for _, same := range []constant{
		{"lr", a.LR, b.LR}, {"min_lr", a.MinLR, b.MinLR}, {"lr_decay_style", a.DecayStyle, b.DecayStyle}, {"lr_decay_iters", a.DecayIters, b.DecayIters},
		{"lr_wsd_decay_style", a.WSDDecayStyle, b.WSDDecayStyle}, {"lr_wsd_decay_fraction", a.WSDDecayFraction, b.WSDDecayFraction},
	} {
		key := "train." + same.key
		c.require(same.old == same.new, append(of(i, key), ref{i - 1, key}, ref{i, "growth.lr_schedule"}),
			"changes from %v to %v, but the stage continues the curve of the one before: give it growth.lr_schedule: restart", same.old, same.new)
	}
}

// pair judges a key of a model in stage i and the stage before.
func (c *checker) pair(i int, key string, holds bool, format string, args ...any) {
	key = "model." + key
	sources := []ref{{i, key}, {i - 1, key}}
	for _, k := range []string{"model.hidden_size", "model.num_attention_heads"} {
		sources = append(sources, ref{i, k}, ref{i - 1, k})
	}
	c.require(holds, sources, format, args...)
}

type constant struct {
	key      string
	old, new any
}

func sameInAllStages(a, b arch.Model) []constant {
	return []constant{
		{"vocab_size", a.VocabSize, b.VocabSize},
		{"make_vocab_size_divisible_by", a.VocabSizeDivisibleBy, b.VocabSizeDivisibleBy},
		{"position_embedding_type", a.Position, b.Position},
		{"rotary_base", a.RotaryBase, b.RotaryBase},
		{"rotary_xpos_scale_base", a.XPosBase, b.XPosBase},
		{"normalization", a.Normalization, b.Normalization},
		{"norm_epsilon", a.NormEpsilon, b.NormEpsilon},
		{"swiglu", a.SwiGLU, b.SwiGLU},
		{"add_bias_linear", a.LinearBias, b.LinearBias},
		{"untie_embeddings_and_output_weights", a.UntieOutput, b.UntieOutput},
		{"mup_base_width", a.MupBaseWidth, b.MupBaseWidth},
		{"input_mult", a.InputMult, b.InputMult},
		{"output_mult", a.OutputMult, b.OutputMult},
	}
}

func (c *checker) checkOperator(i int, before, s *Stage) {
	a, b, g := before.Model, s.Model, s.Growth
	wider := a.HiddenSize != b.HiddenSize || a.FFNHiddenSize != b.FFNHiddenSize || a.NumAttentionHeads != b.NumAttentionHeads || a.NumQueryGroups != b.NumQueryGroups
	sizes := of(i, "growth.operator", "model.hidden_size", "model.ffn_hidden_size", "model.num_attention_heads", "model.num_query_groups")
	c.require(g.Operator != OperatorStack || !wider, sizes, "stack copies layers and cannot widen them: want zero or mask where the width grows")
	c.require(g.Statistics != StatisticsMSG || g.Operator == OperatorMask, of(i, "growth.statistics", "growth.operator"), "msg statistics are the mask operator's, the operator is %s", g.Operator)
	length := of(i, "growth.ramp_iters", "train.train_iters", "train.train_samples", "train.train_tokens", "train.global_batch_size")
	c.require(g.Operator != OperatorMask || s.Train.GlobalBatchSize == 0 || s.Train.SeqLength == 0 || int64(g.RampIters) <= s.Iterations(), length,
		"a ramp of %d steps does not fit into the %d steps of stage %s", g.RampIters, s.Iterations(), fmt.Sprintf("%q", s.Name))
}
