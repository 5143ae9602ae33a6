package comm

import (
	"fmt"
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

// Wait is one call that some ranks have entered and others have not. Ranks are numbered as in the world.
type Wait struct {
	Call    string    // as in `all-reduce "dp grads"`
	Waiting []int     // ranks inside
	Missing []int     // ranks that have not arrived
	Since   time.Time // when the first one arrived
}

// String is like `ranks 0 2 wait for ranks 1 3 in all-reduce "dp grads" since 12.0 s`.
func (p Wait) String() string {
	return fmt.Sprintf("%s for %s in %s since %.1f s", ranksDo(p.Waiting, "waits", "wait"), rankList(p.Missing), p.Call,
		time.Since(p.Since).Seconds())
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
