package grid

import "fmt"

// Grid is the shape of the grid. The zero Grid is not valid; New makes one.
type Grid struct {
	TP, PP, DP int // sizes of the tensor-parallel, pipeline and data-parallel dimensions
	// Chunks is the number of runs of layers that a pipeline stage holds, more than one for interleaved schedules; 0 means 1.
	Chunks int
	// First and Last are the layers of the first and the last pipeline stage, which also hold the embedding and the output layer;
	// 0: as many as the stages between.
	First, Last int
}

// Coord is the place of a rank in a grid.
type Coord struct{ TP, PP, DP int }

// New is the grid of world ranks with the given tensor-parallel and pipeline sizes; the data-parallel size follows.
func New(world, tp, pp int) (Grid, error) {
	if tp < 1 {
		return Grid{}, fmt.Errorf("grid: tensor_model_parallel_size is %d: want 1 or more", tp)
	}
	if pp < 1 {
		return Grid{}, fmt.Errorf("grid: pipeline_model_parallel_size is %d: want 1 or more", pp)
	}
	if world < 1 || world%(tp*pp) != 0 {
		return Grid{}, fmt.Errorf("grid: %d ranks cannot be arranged as tensor_model_parallel_size %d x pipeline_model_parallel_size %d: want a multiple of %d",
			world, tp, pp, tp*pp)
	}
	return Grid{TP: tp, PP: pp, DP: world / (tp * pp), Chunks: 1}, nil
}

// Interleaved is the grid with so many runs of layers a pipeline stage.
func (g Grid) Interleaved(chunks int) Grid {
	g.Chunks = max(chunks, 1)
	return g
}

// Uneven is the grid whose first and last pipeline stages hold so many layers, 0 for as many as the stages between.
func (g Grid) Uneven(first, last int) Grid {
	g.First, g.Last = first, last
	return g
}

// World is the number of ranks.
func (g Grid) World() int { return g.TP * g.PP * g.DP }

// Rank is the number of the rank at c.
func (g Grid) Rank(c Coord) int { return (c.PP*g.DP+c.DP)*g.TP + c.TP }

// Coord is where a rank stands.
func (g Grid) Coord(rank int) Coord {
	return Coord{TP: rank % g.TP, DP: rank / g.TP % g.DP, PP: rank / (g.TP * g.DP)}
}

// String is "tp2 pp4 dp12", or "tp2 pp4x3 dp12 first9 last6" with three runs of layers a pipeline stage, nine layers on the first and six
// on the last.
func (g Grid) String() string {
	text := fmt.Sprintf("tp%d pp%d", g.TP, g.PP)
	if g.Chunks > 1 {
		text += fmt.Sprintf("x%d", g.Chunks)
	}
	text += fmt.Sprintf(" dp%d", g.DP)
	if g.First > 0 {
		text += fmt.Sprintf(" first%d", g.First)
	}
	if g.Last > 0 {
		text += fmt.Sprintf(" last%d", g.Last)
	}
	return text
}

// Describe is how a rank names itself: "tp1/2 pp0/4 dp3/12 rank 7".
func (g Grid) Describe(rank int) string {
	c := g.Coord(rank)
	return fmt.Sprintf("tp%d/%d pp%d/%d dp%d/%d rank %d", c.TP, g.TP, c.PP, g.PP, c.DP, g.DP, rank)
}
