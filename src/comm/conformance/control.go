package conformance

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"cambium/src/comm"
	"cambium/src/tensor"
)

func reduceHost(r *rank) {
	x := []float64{float64(r.me), 1, math.Inf(-1)}
	r.must(r.Comm.Reduce("sum", comm.Sum, x))
	if x[0] != float64(r.n*(r.n-1)/2) || x[1] != float64(r.n) || !math.IsInf(x[2], -1) {
		r.errorf("sum is %v", x)
	}
	x = []float64{float64(r.me), -float64(r.me), 0}
	if r.me == r.n-1 {
		x[2] = math.NaN()
	}
	r.must(r.Comm.Reduce("max", comm.Max, x))
	if x[0] != float64(r.n-1) || x[1] != 0 || !math.IsNaN(x[2]) {
		r.errorf("max is %v", x)
	}
	r.must(r.Comm.Reduce("nothing", comm.Sum, nil))
}

func gatherHost(r *rank) {
	text := func(q int) string { return strings.Repeat(fmt.Sprint(q, " "), q*q) }
	mine := []byte(text(r.me))
	all, err := r.Comm.Gather("texts", mine)
	r.must(err)
	clear(mine)
	if len(all) != r.n {
		r.errorf("%d texts of %d", len(all), r.n)
	}
	for q := range all {
		if string(all[q]) != text(q) {
			r.errorf("text %d is %q", q, all[q])
		}
		clear(all[q]) // ours alone
	}
}

// barrier compares the time at which each rank left with those at which the others came; one of them comes late.
func barrier(r *rank) {
	for k := range 2 * r.n {
		if r.me == k%r.n {
			time.Sleep(time.Millisecond)
		}
		came := time.Now().UnixNano()
		r.must(r.Comm.Barrier("meet"))
		left := time.Now().UnixNano()
		all, err := r.Comm.Gather("times", strconv.AppendInt(nil, came, 10))
		r.must(err)
		for q, text := range all {
			other, err := strconv.ParseInt(string(text), 10, 64)
			r.must(err)
			if other > left {
				r.errorf("round %d: left %d ns before rank %d came", k, other-left, q)
			}
		}
	}
}

func splitOrder(r *rank) {
	sub, err := r.Comm.Split("reversed", 0, -r.me)
	r.must(err)
	if sub.Rank() != r.n-1-r.me || sub.Size() != r.n {
		r.errorf("reversed: rank %d of %d", sub.Rank(), sub.Size())
	}
	sub, err = r.Comm.Split("thirds", r.me%3, 0)
	r.must(err)
	if sub.Rank() != r.me/3 || sub.Size() != (r.n-r.me%3+2)/3 {
		r.errorf("thirds: rank %d of %d", sub.Rank(), sub.Size())
	}
}

// splitWork sums in rows and columns of a grid of ranks, the two kinds of groups in turn, and in the world between.
func splitWork(r *rank) {
	const width = 2
	row, err := r.Comm.Split("rows", r.me/width, r.me)
	r.must(err)
	col, err := r.Comm.Split("columns", r.me%width, r.me)
	r.must(err)
	one := func(int) float64 { return float64(r.me + 1) }
	a, b, c := r.tensor(tensor.F32, one, 77), r.tensor(tensor.F32, one, 77), r.tensor(tensor.F32, one, 77)
	for range 3 {
		r.set(a, one)
		r.set(b, one)
		r.set(c, one)
		row.AllReduce(r.stream, "row", comm.Sum, a)
		r.Comm.AllReduce(r.stream, "all", comm.Sum, c)
		col.AllReduce(r.stream, "column", comm.Sum, b)
		var wantRow, wantCol float64
		for q := range r.n {
			if q/width == r.me/width {
				wantRow += float64(q + 1)
			}
			if q%width == r.me%width {
				wantCol += float64(q + 1)
			}
		}
		r.want(a, func(int) float64 { return wantRow })
		r.want(b, func(int) float64 { return wantCol })
		r.want(c, func(int) float64 { return float64(r.n * (r.n + 1) / 2) })
	}
}

var errTest = errors.New("the disk is full")

// abort lets every rank but the last wait, in a stream or in the control plane; the last one gives up.
func abort(t *testing.T, s Suite) {
	for _, host := range []bool{false, true} {
		for _, n := range sizes[1:] {
			t.Run(fmt.Sprintf("%d,host=%v", n, host), func(t *testing.T) {
				ranks := s.Open(t, n)
				if len(ranks) == 0 {
					t.Skipf("%d ranks cannot be had here", n)
				}
				inRanks(t, ranks, func(r *rank) { giveUp(r, host) })
			})
		}
	}
}

func giveUp(r *rank, host bool) {
	x := r.tensor(tensor.F32, value0, 10)
	switch {
	case r.me == r.n-1:
		r.Comm.Abort(errTest)
	case host:
		r.released(r.Comm.Barrier("never"))
	default:
		r.Comm.AllReduce(r.stream, "never", comm.Sum, x)
		r.released(r.stream.Sync())
	}
	r.released(r.Comm.Barrier("later"))
	r.Comm.Broadcast(r.stream, "later", 0, x)
	r.released(r.stream.Sync())
}

func (r *rank) released(err error) {
	if err == nil || !strings.Contains(err.Error(), errTest.Error()) {
		r.errorf("after Abort the call gave %v, want %q in it", err, errTest)
	}
}
