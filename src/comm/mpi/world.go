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
	board       *board
	idle        idling

	mu      sync.Mutex  // MPI is called under it, and it guards what follows
	err     error       // why the world was aborted; nil while it lives
	runs    int         // calls under way
	running []*run      // those of them that have waited for a while
	rooms   []*room     // free ones
	members []*member   // all groups
	groups  uint64      // contexts given
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

// Options are for tests, and for whom memory shared by ranks gives trouble; the zero Options are the usual.
type Options struct {
	// Neighbours is how many ranks of a node share memory, those with the numbers kn to kn+n-1; 1 is none, 0 all of a node.
	Neighbours int
}

// NewWorld makes the world of the ranks of c, all of which call it. No other goroutine uses MPI meanwhile, nor until Close
// unless through the world.
func NewWorld(c mpi.Comm, o Options) (*World, error) {
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
	ranks := make([]int, c.Size())
	for r := range ranks {
		ranks[r] = r
	}
	if err := w.openBoard(node, o.Neighbours); err != nil {
		return nil, err
	}
	if err := node.Free(); err != nil {
		return nil, err
	}
	w.marks = max(mpi.TagLimit()/tagMarks, 1)
	w.root = newMember(w, w.base, ranks, 0)
	w.inbox, w.letter = mpi.NewBatch(1), make([]byte, letterSize)
	w.inbox.Use(w.notes)
	w.listen()
	w.watcher.Go(w.watch)
	return w, nil
}

// openBoard makes the board of the ranks of node, or of so many neighbours among them.
func (w *World) openBoard(node mpi.Comm, neighbours int) error {
	near := node
	if neighbours > 0 {
		var err error
		if near, err = node.Split(w.base.Rank()/neighbours, node.Rank()); err != nil {
			return err
		}
		defer func() { _ = near.Free() }()
	}
	ranks := make([]int32, near.Size())
	if err := mpi.Allgather(near, []int32{int32(w.base.Rank())}, ranks); err != nil {
		return err
	}
	var err error
	w.board, err = newBoard(near, ranks, w.base.Size())
	return err
}

// nextContext is a context for a group whose first rank is this one; 0 is the world's.
func (w *World) nextContext() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.groups++
	return uint64(w.base.Rank()%mostRanks)*contextsEach + 1 + (w.groups-1)%(contextsEach-1)
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

// Close ends the world's own use of MPI. Calls must not be under way. Where nothing went wrong all ranks call it, and it gives
// communicators and memory back; else ranks may still be in calls, and both go with the process.
func (w *World) Close() {
	if w.over.Swap(true) {
		return
	}
	close(w.stop)
	w.watcher.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.inbox.Cancel() // MPI may have ended by now; nothing depends on it
	if w.err == nil && w.quiet() && mpi.Initialized() {
		w.free()
	}
}

// free gives back what the world has of the system's. It needs w.mu.
func (w *World) free() {
	for _, m := range w.members {
		_ = m.comm.Free()
		m.comm = mpi.Comm{}
	}
	w.members = nil
	_ = w.notes.Free()
	w.board.close()
}

// quiet tells whether no call of this rank is under way. It needs w.mu.
func (w *World) quiet() bool {
	return !slices.ContainsFunc(w.members, func(m *member) bool { return !m.idle() })
}

// Groups is how many communicators of MPI's the world holds.
func (w *World) Groups() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.members) + 1 // and the one for news
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
		if p.Missing = r.waitsFor(); len(p.Missing) > 0 {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b comm.Wait) int { return a.Since.Compare(b.Since) })
	return all
}

// waitsFor are the ranks of the world that r waits for. It needs w.mu.
func (r *run) waitsFor() (ranks []int) {
	for _, s := range r.slots {
		if s.busy {
			ranks = append(ranks, r.m.ranks[s.peer])
		}
	}
	for i := range r.call.arrivals {
		if a := &r.call.arrivals[i]; !a.come {
			ranks = append(ranks, r.m.ranks[a.peer])
		}
	}
	slices.Sort(ranks)
	return slices.Compact(ranks)
}

// idling says how often a rank that waits polls in earnest, then polls and yields, before it naps between polls.
type idling struct {
	spins, yields int
	looks         int // at the lanes, before a call waits as those without lanes do
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
		return idling{looks: 200, spins: 2, yields: 2000, long: 50, short: 12, shortest: 20 * time.Microsecond}
	}
	return idling{looks: 4, spins: 0, yields: 30, long: 2, short: 2, shortest: 20 * time.Microsecond}
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
