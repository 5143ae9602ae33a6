package plan

import (
	"slices"

	"cambium/src/growth"
	"cambium/src/layout"
)

// Growth is what a growth moves, and what it needs while both models are alive.
type Growth struct {
	From       string  `json:"from"`
	To         string  `json:"to"`
	Operator   string  `json:"operator"`
	Moves      []Moved `json:"moves"`
	BytesMoved int64   `json:"bytes_moved"`
	LowerBound int64   `json:"bytes_lower_bound"`
	// PeakBytes is old and new weights, gradients and optimizer state of the rank that has most of both. Staging is beside it.
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
	weights, err := moved(old.weights, now.weights, g.Weights)
	if err != nil {
		return err
	}
	optimizer, err := moved(old.optimizer, now.optimizer, g.State)
	if err != nil {
		return err
	}
	masters := optimizer
	if !slices.Equal(g.State.Layers, g.Weights.Layers) { // copied layers have old weights and no old moments
		if masters, err = moved(old.optimizer, now.optimizer, g.Weights); err != nil {
			return err
		}
	}
	out.add("weights", weights, int64(now.dtype.Size()))
	if now.masters() > 0 {
		out.add("masters", masters, now.masters())
	}
	out.add("moments", optimizer, moments)
	for r := range now.held {
		if n := old.bytes(r) + now.bytes(r); n > out.PeakBytes {
			out.PeakBytes, out.PeakRank = n, r
		}
	}
	p.plan.PeakBytes = max(p.plan.PeakBytes, out.PeakBytes)
	p.plan.Growths = append(p.plan.Growths, out)
	return nil
}

// traffic is what a redistribution moves, and the least that any could, in elements.
type traffic struct{ moved, bound int64 }

func moved(from, to layout.Layout, e layout.Embedding) (traffic, error) {
	plan, err := layout.Plan(from, to, e)
	if err != nil {
		return traffic{}, err
	}
	bound, err := layout.LowerBound(from, to, e, 1)
	return traffic{layout.BytesMoved(plan, 1), bound}, err
}

func (g *Growth) add(kind string, t traffic, size int64) {
	m := Moved{Kind: kind, Bytes: t.moved * size, LowerBound: t.bound * size}
	g.Moves = append(g.Moves, m)
	g.BytesMoved += m.Bytes
	g.LowerBound += m.LowerBound
}
