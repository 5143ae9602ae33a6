package grid

// VirtualStages is the number of runs of layers that a model is cut into: PP x Chunks. Run number v is chunk v / PP of
// pipeline stage v mod PP, so that activations go through the stages in turn, Chunks times (arXiv 2104.04473, section 2.2).
func (g Grid) VirtualStages() int { return g.PP * max(g.Chunks, 1) }

// VirtualStage is the number of a run of layers.
func (g Grid) VirtualStage(stage, chunk int) int { return chunk*g.PP + stage }

// Layers is the block indices [lo, hi) of one chunk of a pipeline stage, of a model of the given number of layers. Virtual
// stages differ by one layer at most; the larger ones stand in the middle, because the first also holds the embedding and
// the last the output layer.
func (g Grid) Layers(stage, chunk, layers int) (lo, hi int) {
	v := g.VirtualStage(stage, chunk)
	return g.start(v, layers), g.start(v+1, layers)
}

// start is the first layer of a virtual stage.
func (g Grid) start(v, layers int) int {
	n := g.VirtualStages()
	base, extra := layers/n, layers%n
	first := (n - extra) / 2
	return v*base + min(max(v-first, 0), extra)
}

// StageOf is the pipeline stage that holds a block, ChunkOf the chunk in which it holds it.
func (g Grid) StageOf(layer, layers int) int { return g.virtualOf(layer, layers) % g.PP }

// ChunkOf is the chunk of its pipeline stage that a block belongs to.
func (g Grid) ChunkOf(layer, layers int) int { return g.virtualOf(layer, layers) / g.PP }

func (g Grid) virtualOf(layer, layers int) int {
	n := g.VirtualStages()
	for v := range n {
		if layer < g.start(v+1, layers) {
			return v
		}
	}
	return n - 1
}
