package local

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"cambium/src/comm"
)

// World is the set of all ranks of a process.
type World struct {
	mu     sync.Mutex
	err    error // why the world was aborted; nil while it lives
	ended  []bool
	groups []*group
	base   *group
}

// NewWorld makes n ranks.
func NewWorld(n int) *World {
	w := &World{ended: make([]bool, n)}
	ranks := make([]int, n)
	for r := range ranks {
		ranks[r] = r
	}
	w.base = w.newGroup(ranks)
	return w
}

var _ comm.World = (*World)(nil)

// Size is the number of ranks.
func (w *World) Size() int { return len(w.base.ranks) }

// Local are the ranks of this process: all.
func (w *World) Local() []int { return slices.Clone(w.base.ranks) }

// Comm is the communicator of one rank over the whole world.
func (w *World) Comm(rank int) comm.Communicator { return w.base.members[rank] }

// Comms are the communicators of all ranks.
func (w *World) Comms() []comm.Communicator {
	all := make([]comm.Communicator, len(w.base.members))
	for r, m := range w.base.members {
		all[r] = m
	}
	return all
}

// Run calls f once a rank, each in a goroutine of its own, and waits for all. An error or a panic of one rank aborts the
// world, so that no other waits for it; so does a rank that ends while others need it in a call. Run returns the first
// failure, which names its rank. A World runs once.
func (w *World) Run(f func(comm.Communicator) error) error {
	var wg sync.WaitGroup
	for _, m := range w.base.members {
		wg.Go(func() {
			if err := runRank(m, f); err != nil {
				m.Abort(err)
			}
			w.end(m.rank)
		})
	}
	wg.Wait()
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

// Abort releases every rank from every call, now and later, with err.
func (w *World) Abort(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.abort(err)
}

// Err is why the world was aborted, nil while it lives.
func (w *World) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// abort needs w.mu. The first error stays.
func (w *World) abort(err error) {
	if w.err != nil {
		return
	}
	if err == nil {
		err = errors.New("comm: aborted")
	}
	w.err = err
	for _, g := range w.groups {
		for _, s := range g.open {
			s.wake()
		}
	}
}

// end notes that a rank makes no more calls; whoever waits for a call that it never made is released.
func (w *World) end(rank int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended[rank] = true
	for _, g := range w.groups {
		for _, s := range g.open {
			if err := g.checkEnded(s); err != nil {
				w.abort(err)
			}
		}
	}
}

// Pending are all calls that wait for somebody now, the oldest first.
func (w *World) Pending() []comm.Wait {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []comm.Wait
	for _, g := range w.groups {
		for _, s := range g.open {
			if s.arrived == 0 || s.arrived == s.need {
				continue
			}
			p := comm.Wait{Call: s.first().title(), Since: s.since}
			for i, c := range s.calls {
				switch {
				case c != nil:
					p.Waiting = append(p.Waiting, g.ranks[i])
				case s.needs(i):
					p.Missing = append(p.Missing, g.ranks[i])
				}
			}
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b comm.Wait) int { return a.Since.Compare(b.Since) })
	return all
}
