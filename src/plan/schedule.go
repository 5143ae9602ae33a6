package plan

import (
	"cambium/src/config"
	"cambium/src/pipeline"
)

// Schedule is how a stage's micro-batches go through its pipeline.
type Schedule struct {
	Name string `json:"name"`
	// Bubble is the share of time in which equal pipeline stages wait, by the schedule's formula; LoadedBubble counts the
	// layers that each one has and the output layer at the end, by operations.
	Bubble       float64 `json:"bubble"`
	LoadedBubble float64 `json:"bubble_loaded"`
	// Timeline draws Drawn micro-batches, "" for one pipeline stage or very many.
	Timeline string `json:"timeline"`
	Drawn    int    `json:"timeline_micro_batches"`
	// Better is a division of layers that would make LoadedBubble smaller.
	Better *Balance `json:"better,omitempty"`
}

// mostDrawn is the largest number of pipeline stages whose timeline fits on a page.
const mostDrawn = 8

func (p *planner) schedule(s *config.Stage, out *Stage) (pipeline.Schedule, error) {
	g, micro := out.Grid, out.Batch.MicroBatches
	name := s.Parallel.PipelineSchedule
	if g.PP == 1 { // one micro-batch after the other, whatever it would be among several
		name = pipeline.Name1F1B
	}
	lists, err := pipeline.Make(name, g.PP, g.Chunks, micro)
	if err != nil {
		return nil, err
	}
	line, err := pipeline.Simulate(lists, costs(s, g)...)
	if err != nil {
		return nil, err
	}
	out.Schedule = Schedule{Name: name, Bubble: pipeline.KnownBubble(name, g.PP, g.Chunks, micro), LoadedBubble: line.BubbleShare()}
	if out.Schedule.Better, err = balance(s, g, lists, out.Schedule.LoadedBubble); err != nil {
		return nil, err
	}
	if g.PP == 1 || g.PP > mostDrawn {
		return lists, nil
	}
	out.Schedule.Drawn = min(micro, 2*g.PP)
	small, err := pipeline.Make(name, g.PP, g.Chunks, out.Schedule.Drawn)
	if err != nil {
		return nil, err
	}
	if line, err = pipeline.Simulate(small, pipeline.Costs{Forward: 1, Backward: 2, BackwardInput: 1, BackwardWeight: 1}); err != nil {
		return nil, err
	}
	out.Schedule.Timeline = line.String()
	return lists, nil
}

// costs are the operations of a forward pass of each virtual stage, in thousandths of a layer's; a backward pass takes twice
// as many, half of them for the weights, and the layers' forward pass again under full recomputation. The embedding costs next to nothing.
func costs(s *config.Stage, g Grid) []pipeline.Costs {
	m := s.Model
	matrices := 2
	if m.SwiGLU {
		matrices = 3
	}
	layer := m.HiddenSize*(2*m.QuerySize()+2*m.KVSize()) + s.Train.SeqLength*m.QuerySize() + matrices*m.HiddenSize*m.FFNHiddenSize
	head := m.HiddenSize * m.PaddedVocab(g.TP)
	var out []pipeline.Costs
	for v := range g.grid.VirtualStages() {
		lo, hi := g.grid.Layers(v%g.PP, v/g.PP, m.NumLayers)
		c := 1000 * (hi - lo)
		if v == g.grid.VirtualStages()-1 {
			c += 1000 * head / layer
		}
		back := 2 * c
		if s.Parallel.Recompute == config.RecomputeFull {
			back += 1000 * (hi - lo)
		}
		out = append(out, pipeline.Costs{Forward: c, Backward: back, BackwardInput: c, BackwardWeight: c})
	}
	return out
}
