package plan

import (
	"cambium/src/arch"
	"cambium/src/config"
	"cambium/src/execute"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/optim"
	"cambium/src/pipeline"
	"cambium/src/tensor"
)

// Memory is what a rank holds, in bytes: of the ranks of a pipeline stage the one that holds most.
type Memory struct {
	Weights     int64 `json:"weights"`
	Gradients   int64 `json:"gradients"`
	Masters     int64 `json:"masters"` // fp32 copies of 16-bit weights, split among dp ranks
	Moments     int64 `json:"moments"` // Adam's two, split among dp ranks
	Activations int64 `json:"activations"`
	Messages    int64 `json:"messages"` // activations and gradients on their way between pipeline stages
	Batch       int64 `json:"batch"`    // tokens and targets
}

// Total is the sum.
func (m Memory) Total() int64 {
	return m.Weights + m.Gradients + m.Masters + m.Moments + m.Activations + m.Messages + m.Batch
}

// state is where weights and optimizer state of a stage live.
type state struct {
	weights, optimizer layout.Layout
	held, owned        []int64 // elements by rank: of the weights, of the optimizer's share
	dtype              tensor.DType
}

func newState(m arch.Model, g grid.Grid, dtype tensor.DType) (s *state, err error) {
	s = &state{dtype: dtype}
	if s.weights, err = layout.Weights(m, g); err != nil {
		return nil, err
	}
	if s.optimizer, err = layout.Optimizer(m, g); err != nil {
		return nil, err
	}
	s.held, s.owned = elements(s.weights), elements(s.optimizer)
	return s, nil
}

// moments is the size of Adam's two running means, in bytes an element.
const moments = 8

// masters is the size of the master weights, in bytes an element: fp32 weights are their own.
func (s *state) masters() int64 {
	if s.dtype == tensor.F32 {
		return 0
	}
	return 4
}

// kept is what a rank's state takes without gradients: weights and the optimizer's share.
func (s *state) kept(rank int) int64 {
	return s.held[rank]*int64(s.dtype.Size()) + s.owned[rank]*(s.masters()+moments)
}

// gradients of a rank, fp32.
func (s *state) gradients(rank int) int64 { return 4 * s.held[rank] }

// pipelineStage plans the ranks of one pipeline stage, by the schedule of all.
func (p *planner) pipelineStage(s *config.Stage, function arch.Function, now *state, lists pipeline.Schedule, stage int) (PipelineStage, error) {
	g, list := now.weights.Grid, lists[stage]
	first, last := g.Rank(grid.Coord{PP: stage}), g.Rank(grid.Coord{PP: stage, DP: g.DP - 1, TP: g.TP - 1})
	out := PipelineStage{
		Ranks: [2]int{first, last}, Nodes: [2]int{first / p.options.RanksPerNode, last / p.options.RanksPerNode},
		Layers: layersOf(g, stage, s.Model.NumLayers), Embedding: stage == 0, Output: stage == g.PP-1, Parameters: int(now.held[first]),
		Alive: pipeline.PeakActivations(list),
	}
	recompute, err := model.ParseRecompute(s.Parallel.Recompute)
	if err != nil {
		return out, err
	}
	_, slots := pipeline.Slots(list)
	f, err := model.Measure(now.weights, first, function, s.Parallel.SequenceParallel, model.ParamOptions{DType: p.dtype, Grads: true}, model.Options{
		MicroBatch: s.Train.MicroBatchSize, SeqLength: s.Train.SeqLength, Recompute: recompute, Slots: slots, SplitBackward: lists.Split(),
		LogitBytes: model.LogitBytes(p.run.Backend == config.BackendCUDA),
	})
	if err != nil {
		return out, err
	}
	m := &out.Memory
	m.Weights, m.Gradients, m.Activations = int64(f.Weights), int64(f.Gradients), int64(f.Activations)
	most := first
	for r := first; r <= last; r++ {
		if now.owned[r] > now.owned[most] {
			most = r
		}
	}
	masters, moments := optim.Measure(now.optimizer, most, p.dtype)
	m.Masters, m.Moments = int64(masters), int64(moments)
	m.Messages, m.Batch = p.traffic(s, g, lists, stage)
	return out, nil
}

// forwardRounds is how many micro-batches a pipeline evaluates together, as a multiple of its stages.
const forwardRounds = 4

// traffic is the memory of messages and tokens: of training, and of evaluation, which has buffers of its own.
func (p *planner) traffic(s *config.Stage, g grid.Grid, lists pipeline.Schedule, stage int) (messages, batch int64) {
	tokens := s.Train.MicroBatchSize * s.Train.SeqLength
	shape := execute.Shape{Tokens: tokens, Rows: tokens, Hidden: s.Model.HiddenSize, DType: p.dtype}
	if s.Parallel.SequenceParallel {
		shape.Rows /= g.TP
	}
	runs := []pipeline.Schedule{lists, pipeline.ForwardOnly(g.PP, max(g.Chunks, 1), 1)}
	if g.PP > 1 {
		runs = append(runs, pipeline.ForwardOnly(g.PP, max(g.Chunks, 1), forwardRounds*g.PP))
	}
	for _, x := range runs {
		m, b := execute.Measure(x, stage, shape)
		messages, batch = messages+int64(m), batch+int64(b)
	}
	return messages, batch
}
