package comm

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// World is all ranks of a run, as one process sees them: comm/local has every rank in this process, comm/mpi one.
type World interface {
	// Size is the number of ranks, Local those that live in this process, in rising order.
	Size() int
	Local() []int
	// Run calls f once for every rank of this process, at the same time, and waits for all ranks of the world. An error or a
	// panic of one rank anywhere aborts the world, so that no other waits for it; so does a rank that ends while others
	// need it in a call. Run returns the first failure, which names its rank. A World runs once.
	Run(f func(Communicator) error) error
	// Abort makes every pending and later call of every rank fail with err.
	Abort(err error)
	// Pending are the calls that wait for somebody now, as far as this process knows, the oldest first.
	Pending() []Wait
}

// Mortal is a Communicator that knows, without a call, why its world was aborted; nil while the world lives.
type Mortal interface{ Err() error }

// Freer is a Communicator that holds something of the system's, of which there may not be many, until its Free, which all ranks
// of the group call when they need it no more.
type Freer interface{ Free() error }

// Free frees a group, where there is something to free. The group is not used any more.
func Free(c Communicator) error {
	if f, ok := c.(Freer); ok {
		return f.Free()
	}
	return nil
}

// Watched is a Communicator whose device calls its World does not see, as NCCL's.
type Watched interface {
	// Pending are the calls of this rank, in its group and those split off it, that the device has begun or will begin next, the
	// oldest first; after an abort those that it ended.
	Pending() []Wait
}

// Wait is one call that some ranks have entered and others have not. Ranks are numbered as in the world.
type Wait struct {
	Call    string    // as in `all-reduce "dp grads"`
	Waiting []int     // ranks inside
	Missing []int     // ranks that have not arrived
	Unseen  []int     // ranks of which this process does not know
	Since   time.Time // when the first one arrived
}

// String is like `ranks 0 2 wait for ranks 1 3 in all-reduce "dp grads" since 12.0 s`, with ` (ranks 4 5 are in other processes)`
// where some are not seen.
func (p Wait) String() string {
	who, unseen := "", ""
	if len(p.Missing) > 0 {
		who = " for " + rankList(p.Missing)
	}
	if len(p.Unseen) > 0 {
		unseen = fmt.Sprintf(" (%s in other processes)", ranksDo(p.Unseen, "is", "are"))
	}
	return fmt.Sprintf("%s%s in %s since %.1f s%s", ranksDo(p.Waiting, "waits", "wait"), who, p.Call, time.Since(p.Since).Seconds(), unseen)
}

// Together merges what ranks of this process, which are here, know of calls each for itself: a call is told by its name and ranks.
// Unseen ones that are here have not arrived. The oldest call comes first.
func Together(waits []Wait, here []int) []Wait {
	var all []Wait
	for _, p := range waits {
		i := slices.IndexFunc(all, func(x Wait) bool { return x.Call == p.Call && slices.Equal(x.ranks(), p.ranks()) })
		if i < 0 {
			all = append(all, p)
			continue
		}
		x := &all[i]
		x.Waiting = append(slices.Clone(x.Waiting), p.Waiting...)
		inside := func(r int) bool { return slices.Contains(x.Waiting, r) }
		x.Missing = slices.DeleteFunc(slices.Clone(x.Missing), inside)
		x.Unseen = slices.DeleteFunc(slices.Clone(x.Unseen), inside)
		if p.Since.Before(x.Since) {
			x.Since = p.Since
		}
	}
	for i := range all {
		x := &all[i]
		var unseen []int
		for _, r := range x.Unseen {
			if slices.Contains(here, r) {
				x.Missing = append(x.Missing, r)
			} else {
				unseen = append(unseen, r)
			}
		}
		x.Unseen = unseen
		slices.Sort(x.Waiting)
		slices.Sort(x.Missing)
	}
	slices.SortStableFunc(all, func(a, b Wait) int { return a.Since.Compare(b.Since) })
	return all
}

// ranks are all of the call, in rising order.
func (p Wait) ranks() []int {
	return slices.Sorted(slices.Values(slices.Concat(p.Waiting, p.Missing, p.Unseen)))
}

// rankList is "rank 3" or "ranks 0 2".
func rankList(ranks []int) string {
	text := strings.Trim(fmt.Sprint(ranks), "[]")
	if len(ranks) == 1 {
		return "rank " + text
	}
	return "ranks " + text
}

func ranksDo(ranks []int, one, many string) string {
	if len(ranks) == 1 {
		return rankList(ranks) + " " + one
	}
	return rankList(ranks) + " " + many
}

// Elsewhere is why a world ended that a rank of another process aborted: that rank reports it.
type Elsewhere struct{ Text string }

func (e *Elsewhere) Error() string { return e.Text }
