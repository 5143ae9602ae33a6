package grid

// VirtualStages is the number of runs of layers that a model is cut into: PP x Chunks. Run number v is chunk v / PP of
// pipeline stage v mod PP, so that activations go through the stages in turn, Chunks times (arXiv 2104.04473, section 2.2).
func (g Grid) VirtualStages() int { return g.PP * max(g.Chunks, 1) }

// VirtualStage is the number of a run of layers.
func (g Grid) VirtualStage(stage, chunk int) int { return chunk*g.PP + stage }

// Layers is the block indices [lo, hi) of one chunk of a pipeline stage, of a model of the given number of layers. Virtual stages
// differ by one layer at most, and the larger ones stand in the middle; but where First or Last is given, those two pipeline
// stages hold so many layers, the stages between share the rest in the same way, and each divides its own among its chunks.
func (g Grid) Layers(stage, chunk, layers int) (lo, hi int) {
	v := g.VirtualStage(stage, chunk)
	lo = g.start(v, layers)
	return lo, lo + g.size(v, layers)
}

// Deals tells whether every layer has a place and every virtual stage a layer.
func (g Grid) Deals(layers int) bool {
	for v := range g.VirtualStages() {
		if g.size(v, layers) < 1 {
			return false
		}
	}
	return g.start(g.VirtualStages(), layers) == layers
}

// start is the first layer of a virtual stage.
func (g Grid) start(v, layers int) int {
	if g.First == 0 && g.Last == 0 {
		return dealt(v, g.VirtualStages(), layers)
	}
	at := 0
	for u := range v {
		at += g.size(u, layers)
	}
	return at
}

// size is the number of layers of a virtual stage.
func (g Grid) size(v, layers int) int {
	if g.First == 0 && g.Last == 0 {
		n := g.VirtualStages()
		return dealt(v+1, n, layers) - dealt(v, n, layers)
	}
	all, chunk, chunks := g.stageSize(v%g.PP, layers), v/g.PP, max(g.Chunks, 1)
	return all*(chunk+1)/chunks - all*chunk/chunks
}

// stageSize is the number of layers of a pipeline stage where First or Last is given.
func (g Grid) stageSize(stage, layers int) int {
	before, others := 0, g.PP
	if g.First > 0 {
		if stage == 0 {
			return g.First
		}
		before, others, layers = 1, others-1, layers-g.First
	}
	if g.Last > 0 {
		if stage == g.PP-1 {
			return g.Last
		}
		others, layers = others-1, layers-g.Last
	}
	return dealt(stage-before+1, others, max(layers, 0)) - dealt(stage-before, others, max(layers, 0))
}

// dealt is the number of layers before part v of n parts that differ by one layer at most, the larger ones in the middle.
func dealt(v, n, layers int) int {
	base, extra := layers/n, layers%n
	return v*base + min(max(v-(n-extra)/2, 0), extra)
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
