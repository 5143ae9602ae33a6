package layout

import (
	"fmt"
	"strings"

	"cambium/src/arch"
)

// Transfer copies box Src of a tensor of the old layout, held by SrcRank, to box Dst of a tensor of the new layout, held
// by DstRank. The boxes have the same sides. It is a move over the wire only when the ranks differ.
type Transfer struct {
	SrcTensor, DstTensor int // indices in Tensors of the two layouts
	SrcRank, DstRank     int
	Src, Dst             Box
}

// Local tells whether source and destination are the same rank.
func (t Transfer) Local() bool { return t.SrcRank == t.DstRank }

// Plan lists the transfers that fill every element of layout `to` which embedding e gives a source in layout `from`,
// each exactly once on every rank that holds it. A rank that holds the source itself copies; otherwise the replica that
// has sent least so far sends. So the bytes moved are the least possible (LowerBound), and the senders share them.
//
// Transfers are ordered by destination tensor. Padding of the vocabulary never moves.
func Plan(from, to Layout, e Embedding) ([]Transfer, error) {
	p := planner{from: from, to: to, sent: make([]int, max(from.Grid.World(), to.Grid.World()))}
	err := eachMapped(from, to, e, func(src, dst int, axes [][]Piece) {
		if src >= 0 {
			p.tensor(src, dst, axes)
		}
	})
	return p.out, err
}

// eachMapped calls f for every tensor of `to` with its source tensor in `from` (-1: none) and the pieces of its axes.
func eachMapped(from, to Layout, e Embedding, f func(src, dst int, axes [][]Piece)) error {
	if len(from.Tensors) > 0 {
		var err error
		if e, err = e.Resolve(from.Model, to.Model); err != nil {
			return err
		}
	}
	for dst, t := range to.Tensors {
		src := -1
		if i, ok := from.Index(sourceName(t, e)); ok {
			src = i
			if len(from.Tensors[i].Axes) != len(t.Axes) {
				return fmt.Errorf("layout: %s has %d dimensions in the old model and %d in the new", t.Name, len(from.Tensors[i].Axes), len(t.Axes))
			}
		}
		axes := make([][]Piece, len(t.Axes))
		for d, a := range t.Axes {
			axes[d] = e.Axes[a]
		}
		f(src, dst, axes)
	}
	return nil
}

// sourceName is the old name of a new tensor: layers change their numbers.
func sourceName(t arch.Tensor, e Embedding) string {
	if t.Layer < 0 || t.Layer >= len(e.Layers) {
		return t.Name
	}
	if e.Layers[t.Layer] == Fresh {
		return ""
	}
	return arch.LayerTensor(e.Layers[t.Layer], strings.TrimPrefix(t.Name, arch.LayerTensor(t.Layer, "")))
}

type planner struct {
	from, to Layout
	sent     []int // elements, by rank
	out      []Transfer
	ints     []int // a block that boxes are cut from
}

// tensor plans one tensor.
func (p *planner) tensor(src, dst int, axes [][]Piece) {
	sources := p.from.parts[src]
	for _, d := range p.to.parts[dst] {
		mapped(d.Box, axes, func(at, want Box) {
			for i := range sources {
				if want.Overlaps(sources[i].Box) {
					p.part(Transfer{SrcTensor: src, DstTensor: dst}, sources[i], d.Ranks, at, want)
				}
			}
		})
	}
}

// part adds the transfers of what source has of box want, which goes to box at on all the given ranks.
func (p *planner) part(t Transfer, source Part, ranks []int, at, want Box) {
	t.Src, t.Dst = p.box(len(at.Lo)), p.box(len(at.Lo))
	for i := range at.Lo {
		lo, hi := max(want.Lo[i], source.Box.Lo[i]), min(want.Hi[i], source.Box.Hi[i])
		t.Src.Lo[i], t.Src.Hi[i] = lo, hi
		t.Dst.Lo[i], t.Dst.Hi[i] = lo-want.Lo[i]+at.Lo[i], hi-want.Lo[i]+at.Lo[i]
	}
	n := t.Src.Volume()
	for _, t.DstRank = range ranks {
		t.SrcRank = p.sender(source.Ranks, t.DstRank)
		if !t.Local() {
			p.sent[t.SrcRank] += n
		}
		p.out = append(p.out, t)
	}
}

// sender is the receiver itself when it has the data, otherwise the holder that has sent least.
func (p *planner) sender(holders []int, receiver int) int {
	best := holders[0]
	for _, r := range holders {
		if r == receiver {
			return r
		}
		if p.sent[r] < p.sent[best] {
			best = r
		}
	}
	return best
}

// box is a new box of the given rank.
func (p *planner) box(rank int) Box {
	if len(p.ints) < 2*rank {
		p.ints = make([]int, 1<<14)
	}
	b := Box{Lo: p.ints[:rank:rank], Hi: p.ints[rank : 2*rank : 2*rank]}
	p.ints = p.ints[2*rank:]
	return b
}

// mapped calls f for every product of pieces that meets a box of the new tensor: the part of the box and the old box
// that it comes from. The boxes are valid during the call.
func mapped(box Box, axes [][]Piece, f func(at, want Box)) {
	rank := len(axes)
	at, want := Whole(make([]int, rank)), Whole(make([]int, rank))
	var dim func(d int)
	dim = func(d int) {
		if d == rank {
			f(at, want)
			return
		}
		for _, p := range axes[d] {
			lo, hi := max(p.New, box.Lo[d]), min(p.New+p.Len, box.Hi[d])
			if lo < hi {
				at.Lo[d], at.Hi[d] = lo, hi
				want.Lo[d], want.Hi[d] = lo-p.New+p.Old, hi-p.New+p.Old
				dim(d + 1)
			}
		}
	}
	dim(0)
}
