package model

import (
	"cambium/src/arch"
	"cambium/src/layout"
)

// Shard is a rank's part of one parameter. Group says in which order the forward pass meets parameters: 0 for the embedding,
// 1 + l for layer l, and NumLayers + 1 for what stands behind the layers: the final norm and the output layer.
type Shard struct {
	arch.Tensor            // the global parameter; its vocabulary is padded for the grid
	Box         layout.Box // what this rank holds of it
	Group       int
}

// LocalLen is the number of elements that the rank holds.
func (s Shard) LocalLen() int { return s.Box.Volume() }

// groupOf is the Shard.Group of a parameter on a pipeline stage. The last of several stages holds a tied embedding table as
// its output layer.
func groupOf(l layout.Layout, t arch.Tensor, stage int) int {
	final := l.Model.NumLayers + 1
	switch {
	case t.Layer >= 0:
		return 1 + t.Layer
	case t.Layer == arch.LayerFinal:
		return final
	case t.Name == arch.WordEmbeddings && l.Grid.PP > 1 && stage == l.Grid.PP-1:
		return final
	}
	return 0
}

// outputTable is the name of the table that the output layer multiplies by.
func outputTable(m arch.Model) string {
	if m.UntieOutput {
		return arch.OutputWeight
	}
	return arch.WordEmbeddings
}
