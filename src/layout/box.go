package layout

import (
	"fmt"
	"slices"
	"strings"
)

// Box is the half-open range of indices Lo[i] <= x[i] < Hi[i] of a tensor. Lo and Hi have one entry a dimension.
type Box struct {
	Lo []int `json:"lo"`
	Hi []int `json:"hi"`
}

// Whole is the box of a whole tensor.
func Whole(shape []int) Box {
	return Box{Lo: make([]int, len(shape)), Hi: append([]int(nil), shape...)}
}

// Dims are the lengths of the sides.
func (b Box) Dims() []int {
	d := make([]int, len(b.Lo))
	for i := range d {
		d[i] = max(b.Hi[i]-b.Lo[i], 0)
	}
	return d
}

// Volume is the number of elements.
func (b Box) Volume() int {
	n := 1
	for i, lo := range b.Lo {
		n *= max(b.Hi[i]-lo, 0)
	}
	return n
}

// Empty tells whether the box has no element.
func (b Box) Empty() bool {
	for i, lo := range b.Lo {
		if b.Hi[i] <= lo {
			return true
		}
	}
	return false
}

// Equal tells whether two boxes have the same bounds.
func (b Box) Equal(c Box) bool { return slices.Equal(b.Lo, c.Lo) && slices.Equal(b.Hi, c.Hi) }

// Contains tells whether every element of c is one of b.
func (b Box) Contains(c Box) bool {
	if c.Empty() {
		return true
	}
	for i := range b.Lo {
		if c.Lo[i] < b.Lo[i] || c.Hi[i] > b.Hi[i] {
			return false
		}
	}
	return true
}

// Overlaps tells whether the boxes share an element.
func (b Box) Overlaps(c Box) bool {
	for i := range b.Lo {
		if min(b.Hi[i], c.Hi[i]) <= max(b.Lo[i], c.Lo[i]) {
			return false
		}
	}
	return true
}

// Intersect is the box of the common elements; it may be empty.
func (b Box) Intersect(c Box) Box {
	r := Box{Lo: make([]int, len(b.Lo)), Hi: make([]int, len(b.Lo))}
	for i := range b.Lo {
		r.Lo[i], r.Hi[i] = max(b.Lo[i], c.Lo[i]), min(b.Hi[i], c.Hi[i])
	}
	return r
}

// Narrow is b with the range of one dimension replaced.
func (b Box) Narrow(dim, lo, hi int) Box {
	r := Box{Lo: slices.Clone(b.Lo), Hi: slices.Clone(b.Hi)}
	r.Lo[dim], r.Hi[dim] = lo, hi
	return r
}

// Subtract is b without c, as disjoint boxes.
func (b Box) Subtract(c Box) []Box {
	if b.Empty() {
		return nil
	}
	if !b.Overlaps(c) {
		return []Box{b}
	}
	var out []Box
	for i := range b.Lo {
		if b.Lo[i] < c.Lo[i] {
			out = append(out, b.Narrow(i, b.Lo[i], c.Lo[i]))
		}
		if c.Hi[i] < b.Hi[i] {
			out = append(out, b.Narrow(i, c.Hi[i], b.Hi[i]))
		}
		b = b.Narrow(i, max(b.Lo[i], c.Lo[i]), min(b.Hi[i], c.Hi[i]))
	}
	return out
}

// String is "[0:4, 8:16]".
func (b Box) String() string {
	s := make([]string, len(b.Lo))
	for i := range s {
		s[i] = fmt.Sprintf("%d:%d", b.Lo[i], b.Hi[i])
	}
	return "[" + strings.Join(s, ", ") + "]"
}
