package report

import (
	"fmt"
	"slices"

	"cambium/src/telemetry"
)

// memoryLabels are the kinds of memory that have a column of their own; the rest counts as other.
var memoryLabels = []string{"weights", "gradients", "optimizer", "activations", "messages"}

// layoutTable is how each growth stage was spread over its ranks, and the memory of the rank that had most.
func (r run) layoutTable() tableView {
	t := tableView{
		Title: "Layout and memory", TextColumns: 4,
		Note: "Memory of the rank that has most. The bubble is the share of time in which pipeline stages idle, as the schedule foretells it for equal stages.",
		Head: append([]string{"Stage", "Grid", "Schedule", "Recompute", "Bubble"}, append(slices.Clone(memoryLabels), "other", "total", "rank")...),
	}
	for _, s := range r.stages {
		if s.event == nil || len(s.event.Memory) == 0 {
			continue
		}
		t.Rows = append(t.Rows, append(layoutCells(s), memoryCells(s.event)...))
	}
	return t
}

func layoutCells(s stage) []cell {
	e := s.event
	grid := e.Grid
	if e.SequenceParallel {
		grid += " sequence parallel"
	}
	schedule, bubble := "1 micro-batch", "–"
	if e.MicroBatches != 1 {
		schedule = fmt.Sprintf("%d micro-batches", e.MicroBatches)
	}
	if e.Schedule != "" {
		schedule, bubble = e.Schedule+", "+schedule, fmt.Sprintf("%.1f %%", 100*e.BubbleShare)
	}
	return []cell{{s.name(), stageInk(s.index).variable}, {Text: grid + " " + e.DType}, {Text: schedule}, {Text: e.Recompute}, {Text: bubble}}
}

func memoryCells(e *telemetry.Stage) (out []cell) {
	other := e.MemoryBytes()
	for _, label := range memoryLabels {
		n := int64(0)
		for _, m := range e.Memory {
			if m.Label == label {
				n = m.Bytes
			}
		}
		other -= n
		out = append(out, cell{Text: bytesText(n)})
	}
	return append(out, cell{Text: bytesText(other)}, cell{Text: bytesText(e.MemoryBytes())}, cell{Text: fmt.Sprint(e.MemoryRank)})
}

func bytesText(n int64) string {
	if n == 0 {
		return "–"
	}
	return siUnit(round3(float64(n)), "B")
}

func (r run) growthTable() tableView {
	t := tableView{
		Title: "Growth", TextColumns: 3,
		Note: "Loss of one probe batch right before and right after; weights and optimizer state were moved in memory. At least: what had to change its rank. The time includes the probes.",
		Head: []string{"Step", "Operator", "Grid", "Parameters", "At", "Loss before", "Loss after", "Relative difference", "Bytes moved", "At least", "Moved in", "Time"},
	}
	for _, g := range r.Growths {
		grid := g.ToGrid
		if g.FromGrid != g.ToGrid {
			grid = g.FromGrid + " → " + g.ToGrid
		}
		t.Rows = append(t.Rows, []cell{
			{r.stageName(g.FromStage) + " → " + r.stageName(g.ToStage), stageInk(g.ToStage).variable}, {Text: g.Operator}, {Text: grid},
			{Text: tokens(round3(float64(g.FromParameters))) + " → " + tokens(round3(float64(g.ToParameters)))},
			{Text: tokens(round3(float64(g.ConsumedTokens))) + " tokens"}, {Text: finite("%.6f", g.LossBefore)}, {Text: finite("%.6f", g.LossAfter)},
			{Text: finite("%.1e", g.Relative)}, {Text: bytesText(g.BytesMoved)}, {Text: bytesText(g.BytesLowerBound)},
			{Text: duration(g.MoveSeconds)}, {Text: duration(g.Seconds)},
		})
	}
	return t
}

func (r run) stageName(index int) string {
	for _, e := range r.Stages {
		if e.Index == index && e.Name != "" {
			return e.Name
		}
	}
	return fmt.Sprintf("stage %d", index+1)
}
