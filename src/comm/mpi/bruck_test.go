//go:build mpi

package mpi

import (
	"fmt"
	"testing"

	"cambium/src/comm"
	"cambium/src/mpi"
)

// TestLargeGroupsGoInLogarithmicSteps has every group count as large.
func TestLargeGroupsGoInLogarithmicSteps(t *testing.T) {
	c, err := mpi.World()
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWorld(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.few = 0
	n, me := w.Size(), c.Rank()
	for round := range 20 {
		x := []float64{float64(me), float64(round), 1}
		if err := w.Comm().Reduce(fmt.Sprint("round ", round), comm.Sum, x); err != nil {
			t.Fatal(err)
		}
		if x[0] != float64(n*(n-1)/2) || x[1] != float64(n*round) || x[2] != float64(n) {
			t.Fatalf("round %d: %v", round, x)
		}
		all, err := w.Comm().Gather("names", fmt.Appendf(nil, "rank %d", me))
		if err != nil {
			t.Fatal(err)
		}
		for q, text := range all {
			if string(text) != fmt.Sprint("rank ", q) {
				t.Fatalf("%d is %q", q, text)
			}
		}
	}
}

// TestMessagesAreCutAlikeOnBothSides: as many pieces as there are slots for, also of nothing, with and without a network.
func TestMessagesAreCutAlikeOnBothSides(t *testing.T) {
	for _, z := range []sizes{{piece: messageBytes}, {atOnce, 4 << 10}, {atOnce, 16 << 10}} {
		for _, n := range []int{0, 1, atOnce, atOnce + 1, 4 << 10, 16 << 10, 16<<10 + 1, messageBytes} {
			posted := 1
			for rest := n; rest > z.of(n); rest -= z.of(n) {
				posted++
			}
			if posted > z.pieces(n) {
				t.Errorf("%+v: %d bytes go in %d pieces, with slots for %d", z, n, posted, z.pieces(n))
			}
		}
	}
}
