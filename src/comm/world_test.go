package comm_test

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"cambium/src/comm"
)

func TestWhatRanksKnowOfCallsIsMerged(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		name  string
		waits []comm.Wait
		here  []int
		want  []string
	}{
		{"nothing", nil, []int{0}, nil},
		{"one rank of several processes", []comm.Wait{{Call: "sum", Waiting: []int{2}, Unseen: []int{0, 4}, Since: ago(2 * time.Second)}}, []int{2},
			[]string{`rank 2 waits in sum since 2.0 s (ranks 0 4 are in other processes)`}},
		{"all in one process", []comm.Wait{
			{Call: "sum", Waiting: []int{2}, Unseen: []int{0, 1}, Since: ago(time.Second)},
			{Call: "sum", Waiting: []int{0}, Unseen: []int{1, 2}, Since: ago(3 * time.Second)},
		}, []int{0, 1, 2, 3}, []string{`ranks 0 2 wait for rank 1 in sum since 3.0 s`}},
		{"some are here", []comm.Wait{
			{Call: "sum", Waiting: []int{0}, Unseen: []int{1, 2, 3}, Since: ago(time.Second)},
		}, []int{0, 1}, []string{`rank 0 waits for rank 1 in sum since 1.0 s (ranks 2 3 are in other processes)`}},
		{"the same name in other groups, the oldest first", []comm.Wait{
			{Call: "sum", Waiting: []int{0}, Unseen: []int{1}, Since: ago(time.Second)},
			{Call: "sum", Waiting: []int{2}, Unseen: []int{3}, Since: ago(2 * time.Second)},
		}, []int{0, 1, 2, 3}, []string{`rank 2 waits for rank 3 in sum since 2.0 s`, `rank 0 waits for rank 1 in sum since 1.0 s`}},
		{"all have come", []comm.Wait{
			{Call: "sum", Waiting: []int{0}, Unseen: []int{1}, Since: ago(time.Second)},
			{Call: "sum", Waiting: []int{1}, Unseen: []int{0}, Since: ago(time.Second)},
		}, []int{0, 1}, []string{`ranks 0 1 wait in sum since 1.0 s`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range comm.Together(c.waits, c.here) {
				got = append(got, regexp.MustCompile(`\.\d s`).ReplaceAllString(p.String(), ".0 s"))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
