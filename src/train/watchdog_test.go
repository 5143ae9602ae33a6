package train

import (
	"bytes"
	"errors"
	"testing"

	"cambium/src/comm"
)

// caught is a communicator whose device is in calls.
type caught struct {
	comm.Communicator
	calls []comm.Wait
}

func (c caught) Rank() int            { return 3 }
func (c caught) Pending() []comm.Wait { return c.calls }

// A rank that was elsewhere says so, one that the report names is quiet, as are all when a run ends for other reasons.
func TestWhoWasElsewhereSaysSo(t *testing.T) {
	const report = hangs + `2s; rank 0 waits in all-reduce "sum" (by NCCL, call 7 of its group) since 2.0 s (ranks 1 3 are in other processes)`
	for _, c := range []struct {
		err  error
		call string // "": none
		want string
	}{
		{&comm.Elsewhere{Text: report}, "", "rank 3 was in no call when another rank reported the standstill\n"},
		{&comm.Elsewhere{Text: report}, `all-reduce "sum" (by NCCL, call 6 of its group)`, "rank 3 was in all-reduce \"sum\" (by NCCL, call 6 of its group) when another rank reported the standstill\n"},
		{&comm.Elsewhere{Text: report}, `all-reduce "sum" (by NCCL, call 7 of its group)`, ""},
		{&comm.Elsewhere{Text: "rank 1: the disk is full"}, "", ""},
		{errors.New(report), "", ""},
		{nil, "", ""},
	} {
		var out bytes.Buffer
		r := &rank{job: &job{options: Options{Output: &out}}, world: caught{calls: nil}}
		if c.call != "" {
			r.world = caught{calls: []comm.Wait{{Call: c.call}}}
		}
		if r.tellWhere(c.err); out.String() != c.want {
			t.Errorf("%v, in %q: %q, want %q", c.err, c.call, out.String(), c.want)
		}
	}
}
