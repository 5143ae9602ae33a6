package layout

import "cambium/src/arch"

// Fill is a box of a tensor of the new layout that no transfer writes: an initialiser must.
type Fill struct {
	Tensor int // index in Layout.Tensors
	Rank   int
	Box    Box
	// Padding: the box lies beyond the real vocabulary and must be zero. No training step changes it: its gradient is
	// zero, and weight decay keeps a zero.
	Padding bool
}

// Uncovered lists what Plan leaves for the initialiser, on every rank that holds it: disjoint boxes that together with Plan's
// destinations cover layout `to`. With the zero Layout as `from` it lists everything: a new model.
func Uncovered(from, to Layout, e Embedding) ([]Fill, error) {
	var out []Fill
	err := eachMapped(from, to, e, func(src, dst int, axes [][]Piece) {
		if src < 0 {
			axes = make([][]Piece, len(axes))
		}
		t := to.Tensors[dst]
		for _, part := range to.parts[dst] {
			for _, b := range holes(part.Box, axes) {
				for _, f := range padded(t, b, to.Model.VocabSize) {
					f.Tensor = dst
					for _, f.Rank = range part.Ranks {
						out = append(out, f)
					}
				}
			}
		}
	})
	return out, err
}

// holes is box without the product of the pieces' new ranges A0 x A1 x ...: the disjoint union over i of
// A0 x ... x A(i-1) x (complement of Ai) x (everything).
func holes(box Box, axes [][]Piece) []Box {
	var out []Box
	prefix := []Box{box}
	for d, pieces := range axes {
		var next []Box
		for _, b := range prefix {
			at := b.Lo[d]
			for _, p := range pieces {
				lo, hi := max(p.New, at), min(p.New+p.Len, b.Hi[d])
				if lo >= hi {
					continue
				}
				if at < lo {
					out = append(out, b.Narrow(d, at, lo))
				}
				next = append(next, b.Narrow(d, lo, hi))
				at = hi
			}
			if at < b.Hi[d] {
				out = append(out, b.Narrow(d, at, b.Hi[d]))
			}
		}
		prefix = next
	}
	return out
}

// padded divides a box at the end of the real vocabulary.
func padded(t arch.Tensor, b Box, vocab int) []Fill {
	for d, a := range t.Axes {
		if a != arch.Vocab || b.Hi[d] <= vocab {
			continue
		}
		cut := max(b.Lo[d], vocab)
		out := []Fill{{Box: b.Narrow(d, cut, b.Hi[d]), Padding: true}}
		if b.Lo[d] < cut {
			out = append(out, Fill{Box: b.Narrow(d, b.Lo[d], cut)})
		}
		return out
	}
	return []Fill{{Box: b}}
}

// BytesMoved is what the transfers of a plan send between different ranks, with elements of the given size.
func BytesMoved(plan []Transfer, size int) int64 {
	n := int64(0)
	for _, t := range plan {
		if !t.Local() {
			n += int64(t.Src.Volume()) * int64(size)
		}
	}
	return n
}

// LowerBound is the number of bytes that no plan can save: for every rank, the elements that have a source which it does
// not hold itself.
func LowerBound(from, to Layout, e Embedding, size int) (int64, error) {
	return LowerBoundOf(from, to, e, size, func(arch.Tensor) bool { return true })
}

// LowerBoundOf is LowerBound of the parameters of the new layout that keep wants.
func LowerBoundOf(from, to Layout, e Embedding, size int, keep func(arch.Tensor) bool) (int64, error) {
	n := int64(0)
	err := eachMapped(from, to, e, func(src, dst int, axes [][]Piece) {
		if src < 0 || !keep(to.Tensors[dst]) {
			return
		}
		for _, d := range to.parts[dst] {
			mapped(d.Box, axes, func(_, want Box) {
				n += int64(want.Volume()) * int64(len(d.Ranks))
				for _, s := range from.parts[src] {
					if want.Overlaps(s.Box) {
						n -= int64(want.Intersect(s.Box).Volume()) * int64(common(d.Ranks, s.Ranks))
					}
				}
			})
		}
	})
	return n * int64(size), err
}

// common is the number of ranks in both ascending lists.
func common(a, b []int) int {
	n := 0
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			a = a[1:]
		case a[0] > b[0]:
			b = b[1:]
		default:
			n, a, b = n+1, a[1:], b[1:]
		}
	}
	return n
}
