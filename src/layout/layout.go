package layout

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/grid"
)

// Layout says which part of which tensor each rank holds.
type Layout struct {
	Model arch.Model
	Grid  grid.Grid
	// Tensors are the global tensors in the order of the parameter table. The vocabulary is padded for the grid:
	// Model.PaddedVocab(Grid.TP) rows; padding rows are zero and stay zero.
	Tensors []arch.Tensor

	parts [][]Part
	index map[string]int
}

// Part is a box of a tensor and the ranks that hold it, in ascending order: one or more replicas.
type Part struct {
	Box   Box
	Ranks []int
}

// Shard is what one rank holds of one tensor.
type Shard struct {
	Tensor   int // index in Layout.Tensors
	Box      Box
	Rank     int
	Replica  int // 0 to Replicas-1 among the ranks that hold the same box
	Replicas int
}

// Weights is the layout of the weights (and of their gradients) of a model on a grid: tensor-parallel along SplitAxis,
// whole layers along virtual stages with the embedding on the first and the final norm and output layer on the last,
// replicated over dp. A tied embedding table lives on the last stage too.
func Weights(m arch.Model, g grid.Grid) (Layout, error) { return build(m, g, false) }

// Optimizer is the layout of a distributed optimizer's state: Weights with the rows of each rank's box divided once more
// among the dp ranks, as evenly as can be.
func Optimizer(m arch.Model, g grid.Grid) (Layout, error) { return build(m, g, true) }

func build(m arch.Model, g grid.Grid, sharded bool) (Layout, error) {
	if err := checkSplit(m, g); err != nil {
		return Layout{}, err
	}
	l := Layout{Model: m, Grid: g, Tensors: m.Tensors(), index: map[string]int{}}
	l.parts = make([][]Part, len(l.Tensors))
	for i := range l.Tensors {
		t := &l.Tensors[i]
		for d, a := range t.Axes {
			if a == arch.Vocab {
				t.Shape[d] = m.PaddedVocab(g.TP)
			}
		}
		l.index[t.Name] = i
		l.parts[i] = partsOf(m, g, *t, sharded)
	}
	return l, nil
}

// checkSplit tells whether tensor parallelism can cut a model: every tp rank needs whole heads and key/value groups.
func checkSplit(m arch.Model, g grid.Grid) error {
	for _, c := range []struct {
		key   string
		value int
	}{
		{"num_attention_heads", m.NumAttentionHeads},
		{"num_query_groups", m.NumQueryGroups},
		{"ffn_hidden_size", m.FFNHiddenSize},
	} {
		if g.TP < 1 || c.value%g.TP != 0 {
			return fmt.Errorf("layout: %s %d cannot be split by tensor_model_parallel_size %d: want a multiple of it", c.key, c.value, g.TP)
		}
	}
	if g.PP > max(m.NumLayers, 1) {
		return fmt.Errorf("layout: pipeline_model_parallel_size %d is more than num_layers %d: want at least one layer a stage", g.PP, m.NumLayers)
	}
	if v := g.VirtualStages(); v > max(m.NumLayers, 1) {
		return fmt.Errorf("layout: %d virtual stages on each of %d pipeline stages are more than num_layers %d: want at least one layer each", g.Chunks, g.PP, m.NumLayers)
	}
	if !g.Deals(m.NumLayers) && m.NumLayers > 0 {
		return fmt.Errorf("layout: num_layers %d cannot be dealt out over %v: want a layer on every virtual stage, and none left over", m.NumLayers, g)
	}
	return nil
}

// partsOf cuts one tensor: along SplitAxis by tp, and with sharded along rows by dp.
func partsOf(m arch.Model, g grid.Grid, t arch.Tensor, sharded bool) []Part {
	stages := stagesOf(m, g, t)
	tps, dps := 1, 1
	if t.SplitAxis >= 0 {
		tps = g.TP
	}
	if sharded {
		dps = g.DP
	}
	parts := make([]Part, 0, tps*dps)
	for tp := range tps {
		box := Whole(t.Shape)
		if t.SplitAxis >= 0 {
			n := t.Shape[t.SplitAxis] / g.TP
			box = box.Narrow(t.SplitAxis, tp*n, (tp+1)*n)
		}
		for dp := range dps {
			lo, rows := box.Lo[0], box.Hi[0]-box.Lo[0]
			p := Part{Box: box.Narrow(0, lo+rows*dp/dps, lo+rows*(dp+1)/dps)}
			if p.Box.Empty() {
				continue
			}
			p.Ranks = holders(g, stages, tp, tps, dp, dps)
			parts = append(parts, p)
		}
	}
	return parts
}

// stagesOf are the pipeline stages that hold a tensor.
func stagesOf(m arch.Model, g grid.Grid, t arch.Tensor) []int {
	switch {
	case t.Layer == arch.LayerFinal:
		return []int{g.PP - 1}
	case t.Layer >= 0:
		return []int{g.StageOf(t.Layer, m.NumLayers)}
	case t.Name == arch.WordEmbeddings && !m.UntieOutput && g.PP > 1:
		return []int{0, g.PP - 1}
	}
	return []int{0}
}

// holders are the ranks of the stages at tp of tps and dp of dps, where a dimension of 1 stands for all of its ranks.
func holders(g grid.Grid, stages []int, tp, tps, dp, dps int) []int {
	var ranks []int
	for _, pp := range stages {
		for d := range g.DP {
			for t := range g.TP {
				if (tps == 1 || t == tp) && (dps == 1 || d == dp) {
					ranks = append(ranks, g.Rank(grid.Coord{TP: t, PP: pp, DP: d}))
				}
			}
		}
	}
	return ranks
}

// Index is the place of a tensor in Tensors.
func (l Layout) Index(name string) (int, bool) {
	i, ok := l.index[name]
	return i, ok
}

// Parts are the parts of tensor number i: disjoint boxes that cover it.
func (l Layout) Parts(i int) []Part { return l.parts[i] }

// Local is what a rank holds, in the order of Tensors. A tensor of which it holds nothing is not listed.
func (l Layout) Local(rank int) []Shard {
	var out []Shard
	for i := range l.parts {
		for _, p := range l.parts[i] {
			for r, holder := range p.Ranks {
				if holder == rank {
					out = append(out, Shard{Tensor: i, Box: p.Box, Rank: rank, Replica: r, Replicas: len(p.Ranks)})
				}
			}
		}
	}
	return out
}

// Owned is Local without what another rank is to save: of every part exactly one replica owns it, in turn from tensor
// to tensor, so that the bytes spread over the replicas.
func (l Layout) Owned(rank int) []Shard {
	var out []Shard
	for _, s := range l.Local(rank) {
		if s.Tensor%s.Replicas == s.Replica {
			out = append(out, s)
		}
	}
	return out
}

// Len is the number of elements that a rank holds.
func (l Layout) Len(rank int) int {
	n := 0
	for _, s := range l.Local(rank) {
		n += s.Box.Volume()
	}
	return n
}

// Single is Weights of one rank that holds everything.
func Single(m arch.Model) Layout {
	l, err := Weights(m, grid.Grid{TP: 1, PP: 1, DP: 1, Chunks: 1})
	if err != nil { // one rank splits nothing
		panic(err)
	}
	return l
}
