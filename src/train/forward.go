package train

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/config"
	"cambium/src/execute"
	"cambium/src/growth"
	"cambium/src/model"
	"cambium/src/pipeline"
	"cambium/src/tensor"
)

// forward runs a replica's model forward on its grid, for validation, probes and the final sample: an eval.Runner. All
// ranks of the replica make every call together.
type forward struct {
	*model.Model
	groups   groups
	micro    int
	losses   *execute.Executor
	one      *execute.Executor // for logits: a single micro-batch
	owned    bool              // the model is closed with it
	row      []float32
	rowBytes []byte
}

// roundsOfStages is how many micro-batches a pipeline runs forward together, as a multiple of its stages: the bubble is
// less than 1 in 5 then.
const roundsOfStages = 4

// newForward makes a runner of a model whose memory may be that of training.
func (r *rank) newForward(g groups, m *model.Model) (f *forward, err error) {
	f = &forward{Model: m, groups: g, micro: 1, row: make([]float32, m.VocabSize())}
	if g.grid.PP > 1 {
		f.micro = roundsOfStages * g.grid.PP
	}
	f.rowBytes = tensor.HostBytes(f.row)
	if f.losses, err = r.forwardExecutor(g, m, f.micro); err != nil {
		return nil, err
	}
	if f.one = f.losses; f.micro > 1 {
		if f.one, err = r.forwardExecutor(g, m, 1); err != nil {
			f.losses.Close()
			return nil, err
		}
	}
	return f, nil
}

func (r *rank) forwardExecutor(g groups, m *model.Model, micro int) (*execute.Executor, error) {
	return execute.New(r.backend, g.pp, m, execute.Options{
		Schedule: pipeline.ForwardOnly(g.grid.PP, max(g.grid.Chunks, 1), micro), Shape: shape(m),
	})
}

// shape is what passes between the stages of a model.
func shape(m *model.Model) execute.Shape {
	rows, cols, dtype := m.Stream()
	return execute.Shape{Tokens: m.Tokens(), Rows: rows, Hidden: cols, DType: dtype}
}

func (f *forward) Close() {
	f.losses.Close()
	if f.one != f.losses {
		f.one.Close()
	}
	if f.owned {
		f.Model.Close()
	}
}

func (f *forward) MicroBatches() int { return f.micro }

// Losses are known to the first tensor-parallel rank of the last pipeline stage alone, so that sums over all ranks count
// every token once.
func (f *forward) Losses(s backend.Stream, fill func(int, []int32, []int32) error) ([][]float32, error) {
	if err := f.losses.Run(s, 0, fill); err != nil {
		return nil, err
	}
	if err := s.Sync(); err != nil {
		return nil, err
	}
	if !f.groups.last() || f.groups.tp.Rank() > 0 {
		return nil, nil
	}
	return f.losses.Losses(), nil
}

func (f *forward) Logits(s backend.Stream, tokens []int32, at int) ([]float32, error) {
	err := f.one.RunHidden(s, func(_ int, to, targets []int32) error {
		copy(to, tokens)
		clear(targets)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !f.groups.last() {
		return nil, s.Sync()
	}
	row := f.GatherLogits(s, at, at+1)
	s.Download(f.rowBytes, row.Columns(0, f.VocabSize()))
	return f.row, s.Sync()
}

// Tell passes a token from the last stage to those before it.
func (f *forward) Tell(id int32) (int32, error) {
	if f.groups.grid.PP == 1 {
		return id, nil
	}
	all := []float64{float64(id)}
	err := f.groups.pp.Reduce("token", comm.Sum, all)
	return int32(all[0]), err
}

// newInference is a runner of its own for a state with the shape of a growth stage: forward only, by a mask.
func (r *rank) newInference(g groups, shape int, state growth.State, microBatch, seqLength int, k arch.Mask) (*forward, error) {
	p := r.parallel(&r.cfg.Stages[shape], g)
	if microBatch*seqLength%g.grid.TP != 0 {
		p.SequenceParallel = false // a probe has the micro-batch of another stage
	}
	o := model.Options{MicroBatch: microBatch, SeqLength: seqLength, Inference: true}
	m, err := model.New(r.backend, r.functions[shape], state.Params, p, o)
	if err != nil {
		return nil, err
	}
	f, err := r.newForward(g, m)
	if err != nil {
		m.Close()
		return nil, err
	}
	f.owned = true
	m.SetMask(k)
	return f, nil
}

// parallel is how a stage's ranks share layers.
func (r *rank) parallel(s *config.Stage, g groups) model.Parallel {
	return model.Parallel{TP: g.tp, SequenceParallel: s.Parallel.SequenceParallel}
}

// schedule is the order of passes of a stage's training step. A single pipeline stage takes one micro-batch after the other
// forward and backward, whatever it would do among several.
func (r *rank) schedule(s *config.Stage, g groups) (pipeline.Schedule, error) {
	micro := s.MicroBatches(r.world.Size())
	if g.grid.PP == 1 {
		return pipeline.OneFOneB(1, micro), nil
	}
	sched, err := pipeline.Make(s.Parallel.PipelineSchedule, g.grid.PP, max(g.grid.Chunks, 1), micro)
	if err != nil {
		return nil, fmt.Errorf("parallel.pipeline_schedule: %w", err)
	}
	return sched, nil
}
