package config

import (
	"fmt"

	"cambium/src/grid"
	"cambium/src/pipeline"
)

// lossScaleKeys are of use with fp16 alone.
var lossScaleKeys = []string{
	"precision.loss_scale", "precision.initial_loss_scale", "precision.min_loss_scale", "precision.loss_scale_window", "precision.hysteresis",
}

// completePrecision leaves no loss scale to a type that has none.
func (c *checker) completePrecision() {
	p := &c.run.Precision
	if p.ParamsDType == FP32 || p.ParamsDType == BF16 {
		*p = Precision{ParamsDType: p.ParamsDType}
	}
}

func (c *checker) checkPrecision() {
	p := c.run.Precision
	dtype := of(-1, "precision.params_dtype")
	if c.taintedAny(dtype) {
		return
	}
	if p.ParamsDType != FP16 {
		for _, k := range lossScaleKeys {
			n, _ := c.find(ref{-1, k})
			c.require(n.kind != scalar, of(-1, k), "only fp16 has a loss scale, and params_dtype is %s: leave it out", p.ParamsDType)
		}
		return
	}
	if err := p.LossScaling().Check(); err != nil {
		key := cond(p.InitialLossScale < p.MinLossScale || p.MinLossScale <= 0, lossScaleKeys[1], cond(p.LossScaleWindow < 1, lossScaleKeys[3], lossScaleKeys[4]))
		c.require(false, append(of(-1, key), of(-1, lossScaleKeys...)...), "%v", err)
	}
}

// checkGrid judges whether the stage's model, batch and schedule fit its grid.
func (c *checker) checkGrid(i int, s *Stage) {
	tp, pp, virtual := ref{i, "parallel.tensor_model_parallel_size"}, ref{i, "parallel.pipeline_model_parallel_size"}, ref{i, "parallel.num_layers_per_virtual_pipeline_stage"}
	world := ref{-1, cond(c.run.WorldSize != 0, "world_size", "local_ranks")}
	if c.taintedAny([]ref{tp, pp, virtual, world}) {
		return
	}
	p, n := s.Parallel, c.run.World()
	c.require(n%(p.TensorSize*p.PipelineSize) == 0, []ref{tp, pp, world}, "%d x pipeline_model_parallel_size %d does not divide the %d ranks%s",
		p.TensorSize, p.PipelineSize, n, c.within(s))
	c.checkTensor(i, s, tp)
	c.checkPipeline(i, s, pp, virtual)
	c.checkUneven(i, s, pp)
	c.checkBatch(i, s, []ref{tp, pp, world})
}

// within names the stage where a key may hold for several.
func (c *checker) within(s *Stage) string {
	if c.implicit {
		return ""
	}
	return fmt.Sprintf(" (stage %q)", s.Name)
}

// checkTensor wants whole heads, whole groups of queries and equal parts of the MLP on every tensor-parallel rank.
func (c *checker) checkTensor(i int, s *Stage, tp ref) {
	p, m := s.Parallel, s.Model
	for _, x := range []struct {
		key   string
		value int
	}{{"num_attention_heads", m.NumAttentionHeads}, {"num_query_groups", m.NumQueryGroups}, {"ffn_hidden_size", m.FFNHiddenSize}} {
		if x.key == "num_query_groups" && x.value == m.NumAttentionHeads {
			continue // the same sentence twice
		}
		c.require(x.value%p.TensorSize == 0, []ref{tp, {i, "model." + x.key}, {i, "model.hidden_size"}}, "%d does not divide %s (%d)%s: every rank of a tensor-parallel group takes an equal part",
			p.TensorSize, x.key, x.value, c.within(s))
	}
	if !p.SequenceParallel {
		return
	}
	sp := ref{i, "parallel.sequence_parallel"}
	c.require(p.TensorSize > 1, []ref{sp, tp}, "it splits among the ranks of a tensor-parallel group, and tensor_model_parallel_size is 1%s: leave it out there", c.within(s))
	rows := s.Train.MicroBatchSize * s.Train.SeqLength
	c.require(rows%p.TensorSize == 0, []ref{sp, tp, {i, "train.micro_batch_size"}, {i, "train.seq_length"}}, "micro_batch_size x seq_length (%d x %d) cannot be split among %d tensor-parallel ranks%s",
		s.Train.MicroBatchSize, s.Train.SeqLength, p.TensorSize, c.within(s))
}

// checkPipeline wants a layer on every virtual stage, and a schedule that can run.
func (c *checker) checkPipeline(i int, s *Stage, pp, virtual ref) {
	p, layers := s.Parallel, ref{i, "model.num_layers"}
	schedule := ref{i, "parallel.pipeline_schedule"}
	c.require(p.PipelineSize <= s.Model.NumLayers, []ref{pp, layers}, "%d pipeline stages are more than num_layers (%d)%s: every one needs a layer", p.PipelineSize, s.Model.NumLayers, c.within(s))
	c.require(p.PipelineSchedule != pipeline.NameZeroBubble || p.Recompute == RecomputeNone, []ref{{i, "parallel.recompute_granularity"}, schedule},
		"%s: zero-bubble computes gradients of weights late and keeps what they need%s: want none, or another pipeline_schedule", p.Recompute, c.within(s))
	interleaved := p.PipelineSchedule == pipeline.NameInterleaved
	if p.VirtualLayers == 0 {
		c.require(!interleaved, []ref{schedule, virtual}, "interleaved needs virtual stages%s: give num_layers_per_virtual_pipeline_stage", c.within(s))
		return
	}
	c.require(interleaved, []ref{schedule, virtual}, "%s has no virtual stages%s: leave num_layers_per_virtual_pipeline_stage out, or take interleaved", p.PipelineSchedule, c.within(s))
	c.require(p.PipelineSize > 1, []ref{virtual, pp}, "virtual stages need more than one pipeline stage, and pipeline_model_parallel_size is 1%s", c.within(s))
	c.require(s.Model.NumLayers%(p.PipelineSize*p.VirtualLayers) == 0, []ref{virtual, pp, layers}, "%d layers a virtual stage on %d pipeline stages do not divide num_layers (%d)%s",
		p.VirtualLayers, p.PipelineSize, s.Model.NumLayers, c.within(s))
}

// checkUneven wants a layer on every virtual stage where the first and the last pipeline stage have their own numbers of layers.
func (c *checker) checkUneven(i int, s *Stage, pp ref) {
	p, layers := s.Parallel, ref{i, "model.num_layers"}
	first, last := ref{i, "parallel.decoder_first_pipeline_num_layers"}, ref{i, "parallel.decoder_last_pipeline_num_layers"}
	keys := []ref{first, last, pp, layers, {i, "parallel.num_layers_per_virtual_pipeline_stage"}}
	if p.FirstLayers == 0 && p.LastLayers == 0 || c.taintedAny(keys) {
		return
	}
	if p.FirstLayers == 0 {
		keys[0], keys[1] = last, first
	}
	c.require(p.PipelineSize > 1, keys, "pipeline stages of different sizes need more than one, and pipeline_model_parallel_size is 1%s: leave it out there", c.within(s))
	g := grid.Grid{TP: 1, PP: p.PipelineSize, DP: 1}.Interleaved(s.Chunks()).Uneven(p.FirstLayers, p.LastLayers)
	c.require(p.PipelineSize == 1 || g.Deals(s.Model.NumLayers), keys, "num_layers (%d) cannot be dealt out to %s with %s%s: every one needs a layer, and no layer may be left over",
		s.Model.NumLayers, cond(s.Chunks() > 1, fmt.Sprintf("%d virtual stages on each of %d pipeline stages", s.Chunks(), p.PipelineSize), fmt.Sprintf("%d pipeline stages", p.PipelineSize)),
		apart(p), c.within(s))
}

// apart says which pipeline stages have their own number of layers.
func apart(p Parallel) string {
	switch {
	case p.LastLayers == 0:
		return fmt.Sprintf("%d on the first", p.FirstLayers)
	case p.FirstLayers == 0:
		return fmt.Sprintf("%d on the last", p.LastLayers)
	}
	return fmt.Sprintf("%d on the first and %d on the last", p.FirstLayers, p.LastLayers)
}

// checkBatch wants whole micro-batches on every replica, and as many as the schedule needs.
func (c *checker) checkBatch(i int, s *Stage, size []ref) {
	keys := append(of(i, "train.global_batch_size", "train.micro_batch_size"), size...)
	if c.taintedAny(keys) {
		return
	}
	dp := max(s.DataParallelSize(c.run.World()), 1)
	one := s.Train.MicroBatchSize * dp
	c.require(one > 0 && s.Train.GlobalBatchSize%one == 0, keys, "%d is not a multiple of micro_batch_size x data-parallel size (%d x %d = %d)%s",
		s.Train.GlobalBatchSize, s.Train.MicroBatchSize, dp, one, cond(c.uneven(), c.within(s), ""))
	if c.taintedAny(keys) || one <= 0 || s.Parallel.PipelineSchedule != pipeline.NameInterleaved {
		return
	}
	n := s.Train.GlobalBatchSize / one
	c.require(n%s.Parallel.PipelineSize == 0, keys, "%d samples are %d micro-batches a replica%s: an interleaved schedule needs a multiple of pipeline_model_parallel_size (%d)",
		s.Train.GlobalBatchSize, n, c.within(s), s.Parallel.PipelineSize)
}

// uneven tells whether stages have different replicas or micro-batches, so that one may be at fault alone.
func (c *checker) uneven() bool {
	for _, s := range c.run.Stages {
		a, b := s.Parallel, c.run.Stages[0].Parallel
		if a.TensorSize*a.PipelineSize != b.TensorSize*b.PipelineSize || s.Train.MicroBatchSize != c.run.Stages[0].Train.MicroBatchSize {
			return true
		}
	}
	return false
}
