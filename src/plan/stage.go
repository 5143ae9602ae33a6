package plan

import (
	"cambium/src/arch"
	"cambium/src/config"
	"cambium/src/grid"
	"cambium/src/growth"
	"cambium/src/layout"
)

// Stage is one growth stage.
type Stage struct {
	Name             string          `json:"name"`
	Parameters       int             `json:"parameters"`
	Model            arch.Model      `json:"model"`
	PaddedVocab      int             `json:"padded_vocab_size"`
	Grid             Grid            `json:"grid"`
	Groups           []Groups        `json:"groups"`
	SequenceParallel bool            `json:"sequence_parallel"`
	Recompute        string          `json:"recompute_granularity"`
	Batch            Batch           `json:"batch"`
	Schedule         Schedule        `json:"schedule"`
	Pipeline         []PipelineStage `json:"pipeline_stages"`
	Work             Work            `json:"work"`
}

// Grid is the stage's grid.
type Grid struct {
	TP     int `json:"tensor_model_parallel_size"`
	PP     int `json:"pipeline_model_parallel_size"`
	DP     int `json:"data_parallel_size"`
	Chunks int `json:"virtual_stages"` // runs of layers a pipeline stage

	grid grid.Grid
}

// Groups are the groups of one kind, and over how many nodes one of them reaches.
type Groups struct {
	Kind     string `json:"kind"`
	Count    int    `json:"count"`
	Size     int    `json:"size"`
	MinNodes int    `json:"nodes_min"`
	MaxNodes int    `json:"nodes_max"`
}

// Batch is what a step takes, and how many steps there are.
type Batch struct {
	Global       int     `json:"global_batch_size"`
	Micro        int     `json:"micro_batch_size"`
	MicroBatches int     `json:"micro_batches"` // a replica
	SeqLength    int     `json:"seq_length"`
	StepTokens   int64   `json:"tokens_per_step"`
	Steps        int64   `json:"steps"`
	Tokens       int64   `json:"tokens"`
	LR           float64 `json:"lr"`
	MinLR        float64 `json:"min_lr"`
	DecayStyle   string  `json:"lr_decay_style"`
	Warmup       float64 `json:"warmup_steps"`
}

// PipelineStage is what the ranks of one pipeline stage hold. Ranks and nodes are first and last.
type PipelineStage struct {
	Ranks      [2]int   `json:"ranks"`
	Nodes      [2]int   `json:"nodes"`
	Layers     [][2]int `json:"layers"` // [lo, hi) by chunk
	Embedding  bool     `json:"embedding"`
	Output     bool     `json:"output"`
	Parameters int      `json:"parameters_per_rank"`
	Alive      int      `json:"passes_alive"` // micro-batches whose activations are alive together, in one chunk or another
	Memory     Memory   `json:"memory"`
}

// Work is what a stage computes.
type Work struct {
	FLOPsPerToken float64 `json:"flops_per_token"`
	FLOPs         float64 `json:"flops"`
	Days          float64 `json:"days,omitempty"`
}

// stage plans growth stage i, whose model computes the given function and came from the one before by g (nil for the first).
func (p *planner) stage(i int, function arch.Function, g *growth.Plan) error {
	s := &p.run.Stages[i]
	world := p.run.World()
	gr, err := s.Grid(world)
	if err != nil {
		return err
	}
	now, err := newState(s.Model, gr, p.dtype)
	if err != nil {
		return err
	}
	out := Stage{
		Name: s.Name, Parameters: s.Model.ParameterCount(), Model: s.Model, PaddedVocab: s.Model.PaddedVocab(gr.TP),
		Grid: Grid{TP: gr.TP, PP: gr.PP, DP: gr.DP, Chunks: s.Chunks(), grid: gr}, SequenceParallel: s.Parallel.SequenceParallel,
		Recompute: s.Parallel.Recompute, Batch: batchOf(p.run, i),
	}
	for _, d := range []grid.Dim{grid.TP, grid.DP, grid.PP, grid.Embedding} {
		if d != grid.Embedding || gr.PP > 1 && !s.Model.UntieOutput {
			out.Groups = append(out.Groups, groupsOf(gr, d, p.options.RanksPerNode))
		}
	}
	lists, err := p.schedule(s, &out)
	if err != nil {
		return err
	}
	for stage := range gr.PP {
		ps, err := p.pipelineStage(s, function, now, lists, stage)
		if err != nil {
			return err
		}
		out.Pipeline = append(out.Pipeline, ps)
		p.plan.PeakBytes = max(p.plan.PeakBytes, ps.Memory.Total())
	}
	p.work(&out)
	if g != nil {
		if err := p.growth(g, i, now); err != nil {
			return err
		}
	}
	p.plan.Stages = append(p.plan.Stages, out)
	p.before = now
	return nil
}

func batchOf(run *config.Run, i int) Batch {
	s := &run.Stages[i]
	l := run.LearningRates()[i]
	return Batch{
		Global: s.Train.GlobalBatchSize, Micro: s.Train.MicroBatchSize, MicroBatches: s.MicroBatches(run.World()),
		SeqLength: s.Train.SeqLength, StepTokens: s.TokensPerIteration(), Steps: s.Iterations(), Tokens: s.Tokens(),
		LR: s.Train.LR, MinLR: s.Train.MinLR, DecayStyle: s.Train.DecayStyle, Warmup: l.Warmup / float64(s.TokensPerIteration()),
	}
}

// groupsOf counts the groups of a kind on nodes of so many ranks, filled in order.
func groupsOf(g grid.Grid, d grid.Dim, perNode int) Groups {
	out := Groups{Kind: d.String(), MinNodes: g.World()}
	for _, group := range g.Groups(d) {
		nodes := map[int]bool{}
		for _, r := range group {
			nodes[r/perNode] = true
		}
		out.Count++
		out.Size = len(group)
		out.MinNodes, out.MaxNodes = min(out.MinNodes, len(nodes)), max(out.MaxNodes, len(nodes))
	}
	return out
}

// work counts a stage's operations, and its days where the machine is known.
func (p *planner) work(out *Stage) {
	w := &out.Work
	w.FLOPsPerToken = p.formula.PerToken(out.Model, out.Batch.SeqLength)
	w.FLOPs = w.FLOPsPerToken * float64(out.Batch.Tokens)
	if speed := p.options.DeviceFLOPS * p.options.MFU * float64(p.run.World()); speed > 0 {
		w.Days = w.FLOPs / speed / 86400
	}
	p.plan.Tokens += out.Batch.Tokens
	p.plan.FLOPs += w.FLOPs
	p.plan.Days += w.Days
}

// layersOf are the runs of layers of a pipeline stage.
func layersOf(g grid.Grid, stage, layers int) [][2]int {
	var out [][2]int
	for c := range max(g.Chunks, 1) {
		lo, hi := g.Layers(stage, c, layers)
		out = append(out, [2]int{lo, hi})
	}
	return out
}

// elements is how many elements of a layout each rank holds.
func elements(l layout.Layout) []int64 {
	out := make([]int64, l.Grid.World())
	for i := range l.Tensors {
		for _, part := range l.Parts(i) {
			n := int64(part.Box.Volume())
			for _, r := range part.Ranks {
				out[r] += n
			}
		}
	}
	return out
}
