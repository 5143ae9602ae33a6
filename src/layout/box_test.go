package layout

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func sprint(v any) string { return fmt.Sprintf("%+v", v) }

func second[T any](_ T, err error) error { return err }

func drawBox(t *rapid.T, rank int, name string) Box {
	b := Whole(make([]int, rank))
	for d := range rank {
		b.Lo[d] = rapid.IntRange(0, 5).Draw(t, name+" lo")
		b.Hi[d] = rapid.IntRange(b.Lo[d], 6).Draw(t, name+" hi")
	}
	return b
}

// cells marks the elements of a box in a 6 x 6 x ... array.
func cells(b Box, count []int) {
	six := make([]int, len(b.Lo))
	for i := range six {
		six[i] = 6
	}
	Runs(Whole(six), b, func(first, n int) {
		for j := range n {
			count[first+j]++
		}
	})
}

func TestSubtractGivesTheRestInDisjointBoxes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawBox(t, 3, "a"), drawBox(t, 3, "b")
		got, want := make([]int, 216), make([]int, 216)
		for _, r := range a.Subtract(b) {
			cells(r, got)
		}
		cells(a, want)
		cells(a.Intersect(b), got)
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%v - %v = %v: element %d comes %d times, want %d", a, b, a.Subtract(b), i, got[i], want[i])
			}
		}
		if a.Overlaps(b) != !a.Intersect(b).Empty() || a.Empty() != (a.Volume() == 0) {
			t.Fatalf("%v and %v: Overlaps and Intersect disagree", a, b)
		}
	})
}

func TestCopyMovesABoxBetweenBoxes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rank, size := rapid.IntRange(1, 4).Draw(t, "rank"), rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "size")
		src, dst := Whole(make([]int, rank)), Whole(make([]int, rank))
		from, to := Whole(make([]int, rank)), Whole(make([]int, rank))
		for d := range rank {
			n := rapid.IntRange(0, 3).Draw(t, "side")
			for _, p := range []struct{ outer, inner Box }{{src, from}, {dst, to}} {
				p.outer.Lo[d] = rapid.IntRange(0, 3).Draw(t, "origin")
				p.inner.Lo[d] = p.outer.Lo[d] + rapid.IntRange(0, 2).Draw(t, "before")
				p.inner.Hi[d] = p.inner.Lo[d] + n
				p.outer.Hi[d] = p.inner.Hi[d] + rapid.IntRange(0, 2).Draw(t, "behind")
			}
		}
		in, out := make([]byte, src.Volume()*size), make([]byte, dst.Volume()*size)
		for i := range in {
			in[i] = byte(i%251) + 1
		}
		Copy(out, dst, to, in, src, from, size)
		var read, written []int
		Runs(src, from, func(first, n int) {
			for i := range n * size {
				read = append(read, first*size+i)
			}
		})
		Runs(dst, to, func(first, n int) {
			for i := range n * size {
				written = append(written, first*size+i)
			}
		})
		want := make([]byte, len(out))
		for i, x := range written {
			want[x] = in[read[i]]
		}
		if len(read) != from.Volume()*size || string(out) != string(want) {
			t.Fatalf("copy of %v in %v to %v in %v: got %v, want %v", from, src, to, dst, out, want)
		}
	})
}
