package model

import (
	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/layout"
)

// ZeroGrads sets all gradients to zero.
func (p *Params) ZeroGrads(s backend.Stream) {
	clear(p.renewed)
	if p.grads != nil {
		s.Fill(p.FlatGrads(), 0)
	}
}

// renewed tells whether the next backward pass through a group overwrites gradients: those of matrices and biases, and those of norms,
// which a split pass leaves earlier.
type renewed struct{ linear, norms bool }

// RenewGrads is ZeroGrads for when a backward pass through all of the rank's layers follows, and saves a pass over the
// memory: it fills what tokens and positions embed only, and lets that pass overwrite the other gradients instead of adding to
// them. Until then those are stale.
func (p *Params) RenewGrads(s backend.Stream) {
	if p.grads == nil {
		return
	}
	for i := range p.renewed {
		p.renewed[i] = renewed{true, true}
	}
	g := p.FlatGrads()
	for _, k := range p.kept {
		s.Fill(g.Slice(k[0], k[1]), 0)
	}
}

// accumulates tells whether a backward pass adds to the gradients of a group's matrices and biases, or is the one that overwrites
// them. It is asked once a pass; so is accumulatesNorms.
func (p *Params) accumulates(group int) bool { return !taken(&p.renewed[group].linear) }

// accumulatesNorms is accumulates for gains and shifts of norms.
func (p *Params) accumulatesNorms(group int) bool { return !taken(&p.renewed[group].norms) }

// taken is what b was; then it is false.
func taken(b *bool) bool {
	was := *b
	*b = false
	return was
}

// overwrites tells whether a shard's gradient comes out of operations that may overwrite: all of blocks and norms, and the table of
// the output layer. A table that embeds tokens or positions only gets the rows of those that occur.
func overwrites(l layout.Layout, s Shard) bool {
	if s.Role == arch.Reader || s.Role == arch.Writer || s.Role == arch.Gain || s.Role == arch.Shift {
		return true
	}
	return s.Name == outputTable(l.Model) && s.Group == outputGroup(l)
}

// outputGroup is the group of the output layer's table: the embedding's, when one stage has both.
func outputGroup(l layout.Layout) int {
	if l.Grid.PP == 1 && !l.Model.UntieOutput {
		return 0
	}
	return l.Model.NumLayers + 1
}

// keep adds elements [lo, hi) to the ranges that RenewGrads fills, together with the gap since the last one.
func (p *Params) keep(lo, hi int) {
	if n := len(p.kept); n > 0 && lo-p.kept[n-1][1] < groupAlign {
		p.kept[n-1][1] = hi
		return
	}
	p.kept = append(p.kept, [2]int{lo, hi})
}
