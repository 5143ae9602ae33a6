package grid

// Dim is a kind of process group.
type Dim uint8

// The kinds. Embedding joins the first and the last pipeline stage of a (tp, dp) pair, which both hold a tied embedding table; it has
// one member when there is one stage, and ranks of the stages between belong to none. Model joins all ranks that hold
// one replica of the model (every tp and pp of a dp).
const (
	TP Dim = iota
	DP
	PP
	Embedding
	Model
)

// String is "tp", "dp", "pp", "embedding" or "model".
func (d Dim) String() string { return [...]string{"tp", "dp", "pp", "embedding", "model"}[d] }

// NoGroup is the color of ranks that belong to no group of a kind. Communicator.Split needs some color from every rank:
// such ranks form a group that nobody uses.
const NoGroup = -1

// Group is rank's group of a kind: its ranks in order. It is nil when the rank belongs to none.
func (g Grid) Group(d Dim, rank int) []int {
	c := g.Coord(rank)
	var out []int
	add := func(c Coord) { out = append(out, g.Rank(c)) }
	switch d {
	case TP:
		for i := range g.TP {
			add(Coord{TP: i, PP: c.PP, DP: c.DP})
		}
	case DP:
		for i := range g.DP {
			add(Coord{TP: c.TP, PP: c.PP, DP: i})
		}
	case PP:
		for i := range g.PP {
			add(Coord{TP: c.TP, PP: i, DP: c.DP})
		}
	case Embedding:
		if !g.FirstStage(rank) && !g.LastStage(rank) {
			return nil
		}
		add(Coord{TP: c.TP, PP: 0, DP: c.DP})
		if g.PP > 1 {
			add(Coord{TP: c.TP, PP: g.PP - 1, DP: c.DP})
		}
	case Model:
		for p := range g.PP {
			for t := range g.TP {
				add(Coord{TP: t, PP: p, DP: c.DP})
			}
		}
	}
	return out
}

// Split is the color and key of a rank with which Communicator.Split makes the groups of a kind. The color is the
// group's lowest rank, or NoGroup; the key is the rank's place in the group.
func (g Grid) Split(d Dim, rank int) (color, key int) {
	group := g.Group(d, rank)
	for i, r := range group {
		if r == rank {
			return group[0], i
		}
	}
	return NoGroup, 0
}

// Groups are all groups of a kind, ordered by their lowest rank.
func (g Grid) Groups(d Dim) [][]int {
	var out [][]int
	for r := range g.World() {
		if color, _ := g.Split(d, r); color == r {
			out = append(out, g.Group(d, r))
		}
	}
	return out
}

// FirstStage tells whether a rank is on the first pipeline stage, LastStage on the last.
func (g Grid) FirstStage(rank int) bool { return g.Coord(rank).PP == 0 }

// LastStage tells whether a rank is on the last pipeline stage.
func (g Grid) LastStage(rank int) bool { return g.Coord(rank).PP == g.PP-1 }
