package train

import (
	"fmt"

	"cambium/src/comm"
	"cambium/src/grid"
)

// groups are a rank's place in the grid of a growth stage.
type groups struct {
	grid                  grid.Grid
	at                    grid.Coord
	tp, dp, pp, embedding comm.Communicator // embedding: of the first and the last pipeline stage; for others of no use
}

// split makes the groups of a growth stage's grid. All ranks call it together. A grid that stays keeps its groups.
func (r *rank) split(stage int) (g groups, err error) {
	if g.grid, err = r.cfg.Stages[stage].Grid(r.world.Size()); err != nil {
		return g, err
	}
	if have := r.groups; have.tp != nil && sameGroups(have.grid, g.grid) {
		have.grid = g.grid
		return have, nil
	}
	g.at = g.grid.Coord(r.world.Rank())
	for _, x := range []struct {
		dim grid.Dim
		to  *comm.Communicator
	}{{grid.TP, &g.tp}, {grid.DP, &g.dp}, {grid.PP, &g.pp}, {grid.Embedding, &g.embedding}} {
		color, key := g.grid.Split(x.dim, r.world.Rank())
		if *x.to, err = r.world.Split(fmt.Sprintf("%v groups", x.dim), color, key); err != nil {
			return g, err
		}
	}
	return g, nil
}

// free gives up groups that another grid has replaced. All ranks call it together.
func (g groups) free() error {
	for _, c := range []comm.Communicator{g.tp, g.dp, g.pp, g.embedding} {
		if err := comm.Free(c); err != nil {
			return err
		}
	}
	return nil
}

// sameGroups tells whether two grids cut the ranks alike.
func sameGroups(a, b grid.Grid) bool { return a.TP == b.TP && a.PP == b.PP && a.DP == b.DP }

// last tells whether the rank is on the last pipeline stage, which holds the head.
func (g groups) last() bool { return g.at.PP == g.grid.PP-1 }
