package plan

import "fmt"

// muchBubble is the share of idle time from which a schedule is worth a warning.
const muchBubble = 0.2

// judge notes what will not work, or not well.
func (p *Plan) judge() {
	if left := p.World % p.RanksPerNode; left != 0 && p.World > p.RanksPerNode {
		p.warn("%d ranks do not fill nodes of %d: the last one has %d", p.World, p.RanksPerNode, left)
	}
	for i := range p.Stages {
		p.judgeStage(&p.Stages[i])
	}
	for _, g := range p.Growths {
		if p.tooMuch(g.PeakBytes) {
			p.warn("the growth from %q to %q needs %s on rank %d, its device has %s: more ranks, or a smaller step of growth", g.From, g.To, gib(g.PeakBytes), g.PeakRank, gib(p.options.DeviceMemory))
		}
	}
}

func (p *Plan) judgeStage(s *Stage) {
	for stage, x := range s.Pipeline {
		if n := x.Memory.Total(); p.tooMuch(n) {
			p.warn("stage %q: a rank of pipeline stage %d needs %s, its device has %s: %s", s.Name, stage, gib(n), gib(p.options.DeviceMemory), s.relief())
			break
		}
	}
	for _, g := range s.Groups {
		if g.Kind == "tp" && g.MaxNodes > 1 {
			p.warn("stage %q: tensor-parallel groups reach over %d nodes: take a tensor_model_parallel_size that divides the %d ranks of a node", s.Name, g.MaxNodes, p.RanksPerNode)
		}
	}
	if b := s.Schedule.Bubble; b > muchBubble {
		p.warn("stage %q: pipeline stages wait %.0f %% of the time: more micro-batches (%d now), or another pipeline_schedule", s.Name, 100*b, s.Batch.MicroBatches)
	}
	v := s.Grid.PP * s.Grid.Chunks
	switch b := s.Schedule.Better; {
	case b != nil:
		p.warn("stage %q: %v would have pipeline stages wait %.1f %% of the time instead of %.1f %%: the last one has the output layer too", s.Name, b, 100*b.LoadedBubble, 100*s.Schedule.LoadedBubble)
	case s.Model.NumLayers%v != 0 && s.Grid.grid.First+s.Grid.grid.Last == 0:
		p.warn("stage %q: %d layers on %d virtual stages are not equal parts: the larger ones set the pace", s.Name, s.Model.NumLayers, v)
	}
}

// relief is what a stage can still do about its memory.
func (s *Stage) relief() string {
	switch {
	case s.Grid.TP > 1 && !s.SequenceParallel:
		return "try sequence_parallel, recompute_granularity, or more tensor- or pipeline-parallel ranks"
	case s.Recompute != "full" && s.Schedule.Name != "zero-bubble":
		return "try recompute_granularity, a smaller micro_batch_size, or more tensor- or pipeline-parallel ranks"
	case s.Batch.Micro > 1:
		return "try a smaller micro_batch_size, or more tensor- or pipeline-parallel ranks"
	}
	return "try more tensor- or pipeline-parallel ranks"
}

func (p *Plan) tooMuch(bytes int64) bool {
	return p.options.DeviceMemory > 0 && bytes > p.options.DeviceMemory
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}
