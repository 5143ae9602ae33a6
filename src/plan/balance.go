package plan

import (
	"fmt"

	"cambium/src/config"
	"cambium/src/pipeline"
)

// Balance is a division of layers among pipeline stages that keeps them busier than equal parts do: the last one also has the
// output layer, and first and last one can have fewer layers for it.
type Balance struct {
	First        int     `json:"decoder_first_pipeline_num_layers"` // 0: as many as the stages between
	Last         int     `json:"decoder_last_pipeline_num_layers"`
	LoadedBubble float64 `json:"bubble_loaded"`
}

const (
	worthAChange  = 0.01 // share of the time that another division must save
	layersAround  = 4    // how far from equal parts divisions are tried
	mostScheduled = 1 << 16
)

// balance is the best division that lists can run with, nil where none saves much, or the configuration has chosen one.
func balance(s *config.Stage, g Grid, lists pipeline.Schedule, now float64) (*Balance, error) {
	micro := 0
	for _, list := range lists {
		micro += len(list)
	}
	if g.PP == 1 || g.grid.First+g.grid.Last > 0 || micro > mostScheduled {
		return nil, nil
	}
	var best *Balance
	even := s.Model.NumLayers / g.PP
	for last := max(even-layersAround, 1); last <= even; last++ {
		for _, first := range firsts(even) {
			other := g
			other.grid = g.grid.Uneven(first, last)
			if !other.grid.Deals(s.Model.NumLayers) {
				continue
			}
			line, err := pipeline.Simulate(lists, costs(s, other)...)
			if err != nil {
				return nil, err
			}
			b := line.BubbleShare()
			if b <= now-worthAChange && (best == nil || b < best.LoadedBubble-1e-9) {
				best = &Balance{First: first, Last: last, LoadedBubble: b}
			}
		}
	}
	return best, nil
}

// firsts are sizes of the first stage that are tried: first of all that of the stages between.
func firsts(even int) []int {
	out := []int{0}
	for n := even + 1; n >= max(even-layersAround, 1); n-- {
		out = append(out, n)
	}
	return out
}

// String is the keys to set.
func (b *Balance) String() string {
	text := fmt.Sprintf("decoder_last_pipeline_num_layers: %d", b.Last)
	if b.First > 0 {
		text = fmt.Sprintf("decoder_first_pipeline_num_layers: %d, ", b.First) + text
	}
	return text
}
