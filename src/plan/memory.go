package plan

import (
	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/config"
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
	Messages    int64 `json:"messages"` // between pipeline stages
}

// Total is the sum.
func (m Memory) Total() int64 {
	return m.Weights + m.Gradients + m.Masters + m.Moments + m.Activations + m.Messages
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

// bytes is all that growth holds of a rank's state: weights, gradients, and the optimizer's share.
func (s *state) bytes(rank int) int64 {
	return s.held[rank]*int64(s.dtype.Size()+4) + s.owned[rank]*(s.masters()+moments)
}

// pipelineStage plans the ranks of one pipeline stage, whose list of instructions is given.
func (p *planner) pipelineStage(s *config.Stage, function arch.Function, now *state, list []pipeline.Instruction, stage int) (PipelineStage, error) {
	g := now.weights.Grid
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
		MicroBatch: s.Train.MicroBatchSize, SeqLength: s.Train.SeqLength, Recompute: recompute, Slots: slots, SplitBackward: pipeline.Schedule{list}.Split(),
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
	m.Messages = p.messages(s, g, list)
	return out, nil
}

// messages is the memory of what a pipeline stage sends and receives besides activations.
func (p *planner) messages(s *config.Stage, g grid.Grid, list []pipeline.Instruction) int64 {
	if g.PP == 1 {
		return 0
	}
	rows := s.Train.MicroBatchSize * s.Train.SeqLength
	if s.Parallel.SequenceParallel {
		rows /= g.TP
	}
	_, outputs, gradients := pipeline.Messages(list)
	return int64(backend.Measure(func(a *backend.Arena) {
		for range outputs + gradients {
			a.Tensor(p.dtype, rows, s.Model.HiddenSize)
		}
	}))
}
