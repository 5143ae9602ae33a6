package plan

import (
	"cambium/src/growth"
	"cambium/src/model"
)

// Growth is what a growth moves, and what it needs while both models are alive.
type Growth struct {
	From       string  `json:"from"`
	To         string  `json:"to"`
	Operator   string  `json:"operator"`
	Moves      []Moved `json:"moves"`
	BytesMoved int64   `json:"bytes_moved"`
	LowerBound int64   `json:"bytes_lower_bound"`
	// PeakBytes is the memory of the rank that needs most: the old state, the new weights and optimizer state (gradients follow when
	// the old state is gone), and staging for messages or the activations of the probe, whichever is more.
	PeakBytes int64 `json:"peak_bytes"`
	PeakRank  int   `json:"peak_rank"`
}

// Moved is what travels between ranks of one kind of state.
type Moved struct {
	Kind       string `json:"kind"` // weights, masters or moments
	Bytes      int64  `json:"bytes"`
	LowerBound int64  `json:"lower_bound"`
}

// growth plans how the state of the stage before becomes that of stage i.
func (p *planner) growth(g *growth.Plan, i int, now *state) error {
	old := p.before
	out := Growth{From: p.run.Stages[i-1].Name, To: p.run.Stages[i].Name, Operator: string(g.Options.Operator)}
	for r := range now.held {
		if n := old.kept(r) + old.gradients(r) + now.kept(r); n > out.PeakBytes {
			out.PeakBytes, out.PeakRank = n, r
		}
	}
	traffic, staging, err := growth.Measure(g, old.weights.Grid, now.weights.Grid, p.dtype, out.PeakRank)
	if err != nil {
		return err
	}
	probe, err := p.probe(g, i, now, out.PeakRank)
	if err != nil {
		return err
	}
	out.PeakBytes += max(int64(staging), probe)
	out.add("weights", traffic.Weights)
	if now.masters() > 0 {
		out.add("masters", traffic.Masters)
	}
	out.add("moments", traffic.Moments)
	p.plan.PeakBytes = max(p.plan.PeakBytes, out.PeakBytes)
	p.plan.Growths = append(p.plan.Growths, out)
	return nil
}

// probe is the memory of the forward pass that compares the grown model with the old one, on the old one's batches.
func (p *planner) probe(g *growth.Plan, i int, now *state, rank int) (int64, error) {
	t, tp := p.run.Stages[i-1].Train, now.weights.Grid.TP
	sequence := p.run.Stages[i].Parallel.SequenceParallel && t.MicroBatchSize*t.SeqLength%tp == 0
	f, err := model.Measure(now.weights, rank, g.Function, sequence, model.ParamOptions{DType: p.dtype},
		model.Options{MicroBatch: t.MicroBatchSize, SeqLength: t.SeqLength, Inference: true})
	return int64(f.Activations), err
}

func (g *Growth) add(kind string, m growth.Moved) {
	g.Moves = append(g.Moves, Moved{Kind: kind, Bytes: m.Bytes, LowerBound: m.LowerBound})
	g.BytesMoved += m.Bytes
	g.LowerBound += m.LowerBound
}
