//go:build mpi

package mpi

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cambium/src/comm"
	"cambium/src/mpi"
)

// World is this process's rank among those of an MPI communicator.
type World struct {
	base, notes mpi.Comm // copies of the communicator: calls, and news of the end
	root        *member
	idle        idling

	mu      sync.Mutex  // MPI is called under it, and it guards what follows
	err     error       // why the world was aborted; nil while it lives
	runs    int         // calls under way
	running []*run      // those of them that have waited for a while
	rooms   []*room     // free ones
	ended   []time.Time // when a rank said that it makes no more calls; zero before
	inbox   *mpi.Batch
	letter  []byte

	failed  atomic.Bool // err is set
	over    atomic.Bool // Run or Close has ended
	stop    chan struct{}
	watcher sync.WaitGroup
	// few is the largest group in which short vectors go directly between all ranks, in one step and not in log2 n.
	few   int
	marks int // how many checksums fit into a tag
	// How messages are cut: of tensors that stay as they are, and of what is added up, which has just been written and is
	// better copied at once than left where it is.
	cut, cutSums sizes
}

var _ comm.World = (*World)(nil)

// NewWorld makes the world of the ranks of c, all of which call it. No other goroutine uses MPI meanwhile, nor until Close
// unless through the world.
func NewWorld(c mpi.Comm) (*World, error) {
	w := &World{ended: make([]time.Time, c.Size()), stop: make(chan struct{}), few: 16}
	var err error
	if w.base, err = c.Split(0, c.Rank()); err != nil {
		return nil, err
	}
	if w.notes, err = c.Split(0, c.Rank()); err != nil {
		return nil, err
	}
	node, err := w.base.SplitNode()
	if err != nil {
		return nil, err
	}
	w.idle = patience(node.Size())
	w.cut, w.cutSums = sizes{piece: messageBytes}, sizes{piece: messageBytes} // over a network the MPI knows best
	if node.Size() == c.Size() {
		w.cut, w.cutSums = sizes{atOnce, 4 << 10}, sizes{atOnce, 16 << 10}
	}
	if err := node.Free(); err != nil {
		return nil, err
	}
	ranks := make([]int, c.Size())
	for r := range ranks {
		ranks[r] = r
	}
	w.marks = max(mpi.TagLimit()/tagMarks, 1)
	w.root = newMember(w, w.base, ranks)
	w.inbox, w.letter = mpi.NewBatch(1), make([]byte, letterSize)
	w.inbox.Use(w.notes)
	w.listen()
	w.watcher.Go(w.watch)
	return w, nil
}

// Size is the number of ranks.
func (w *World) Size() int { return w.base.Size() }

// Local is this process's rank.
func (w *World) Local() []int { return []int{w.base.Rank()} }

// Comm is the communicator over all ranks.
func (w *World) Comm() comm.Communicator { return w.root }

// Run calls f in this process's rank and waits until f has ended in all ranks. It ends with Close.
func (w *World) Run(f func(comm.Communicator) error) error {
	defer w.Close()
	err := runRank(w.root, f)
	if err != nil {
		w.root.Abort(err)
		return w.Err()
	}
	w.sayEnded()
	var p pause
	for !w.allEnded() {
		if err := w.Err(); err != nil {
			return err
		}
		w.mu.Lock()
		w.hear()
		w.mu.Unlock()
		w.idle.wait(&p, true)
	}
	return w.Err()
}

func runRank(m *member, f func(comm.Communicator) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f(m)
}

// Close ends the world's own use of MPI. Calls must not be under way.
func (w *World) Close() {
	if w.over.Swap(true) {
		return
	}
	close(w.stop)
	w.watcher.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.inbox.Cancel() // MPI may have ended by now; nothing depends on it
}

// Err is why the world was aborted, nil while it lives.
func (w *World) Err() error {
	if !w.failed.Load() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Abort makes every pending and later call of every rank fail with err. It tells the other ranks, and returns when they
// have been told or after a second.
func (w *World) Abort(err error) {
	if err == nil {
		err = errors.New("comm: aborted")
	}
	w.mu.Lock()
	first := w.err == nil
	if first {
		w.err = err
		w.failed.Store(true)
	}
	w.mu.Unlock()
	if first {
		w.tell(letterAborted, err.Error(), time.Second)
	}
}

// Pending are the calls of this rank that wait for somebody now, the oldest first.
func (w *World) Pending() []comm.Wait {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []comm.Wait
	for _, r := range w.running {
		p := comm.Wait{Call: r.title(), Waiting: []int{w.base.Rank()}, Since: r.since}
		for _, s := range r.slots {
			if s.busy {
				p.Missing = append(p.Missing, r.m.ranks[s.peer])
			}
		}
		slices.Sort(p.Missing)
		p.Missing = slices.Compact(p.Missing)
		if len(p.Missing) > 0 {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b comm.Wait) int { return a.Since.Compare(b.Since) })
	return all
}

// idling says how often a rank that waits polls in earnest, then polls and yields, before it naps between polls.
type idling struct {
	spins, yields int
	long, short   int // tests of MPI in a poll: while it spins and nobody else calls MPI, and else
	shortest      time.Duration
}

// atOnce is what MPIs copy to a rank on the same node at once: 4 KiB, headers included. For longer messages the two ranks
// first agree, and the receiver asks the kernel to copy; up to a few times that length several short ones are faster.
const atOnce = 3968

const longestNap = time.Millisecond

// patience depends on whether each of the node's ranks has processors of its own. Polling is then free, and the answer
// comes within microseconds; else whoever polls takes time from the rank it waits for.
func patience(ranksOnNode int) idling {
	if ranksOnNode <= runtime.NumCPU() {
		return idling{spins: 2, yields: 2000, long: 50, short: 12, shortest: 20 * time.Microsecond}
	}
	return idling{spins: 0, yields: 30, long: 2, short: 2, shortest: 20 * time.Microsecond}
}

// tests is how often a poll asks MPI, after so many polls in vain, when so many calls of this rank are under way.
func (i *idling) tests(polls, runs int) int {
	if polls < i.spins && runs == 1 {
		return i.long
	}
	return i.short
}

type pause struct {
	polls int
	nap   time.Duration
}

// wait is called after a poll that found nothing. With crowd other calls of this rank are under way, and their goroutines get a
// turn; without, that would only wake a thread which looks for work in vain, on a processor that another rank may need.
func (i *idling) wait(p *pause, crowd bool) {
	if crowd {
		runtime.Gosched()
	}
	p.polls++
	switch {
	case p.polls <= i.spins:
	case p.polls <= i.spins+i.yields:
		mpi.Yield()
	default:
		p.nap = min(max(p.nap+p.nap/4, i.shortest), longestNap)
		time.Sleep(p.nap)
	}
}
