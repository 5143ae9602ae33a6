package train

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"cambium/src/comm"
	"cambium/src/eval"
)

// defaultTimeout is how long a run may stand still.
const defaultTimeout = 10 * time.Minute

// othersTell is how long a process that reports a standstill goes on, so that ranks elsewhere can say where they were.
const othersTell = time.Second

// runRanks starts the ranks of this process and waits for their end. When nothing moves for the timeout, it ends the world with a report
// of who waits for whom in what; a rank that hangs in something else than a call (a dead disk) is not waited for.
func (j *job) runRanks() error {
	timeout := j.options.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	world := j.world
	ended := make(chan error, 1)
	go func() { ended <- world.Run(j.runRank) }()
	tick := time.NewTicker(timeout / 20)
	defer tick.Stop()
	last, since := j.progress.Load(), time.Now()
	var hung error
	for {
		select {
		case err := <-ended:
			if hung != nil && !j.alone() {
				time.Sleep(othersTell)
			}
			return err
		case <-tick.C:
		}
		now := j.progress.Load()
		switch idle := time.Since(since); {
		case hung != nil && idle >= min(timeout, 10*time.Second): // it had the time to end by itself
			j.lost = true
			return hung
		case hung != nil:
		case now != last:
			last, since = now, time.Now()
		case idle >= timeout:
			hung = j.hang(timeout)
			world.Abort(hung)
			since = time.Now()
		}
	}
}

// hangs begins the report of a run that stands still.
const hangs = "no progress for "

// hang is the report of a run that stands still.
func (j *job) hang(timeout time.Duration) error {
	text := fmt.Sprint(hangs, timeout)
	pending := append(j.world.Pending(), j.onDevices()...)
	for _, p := range pending {
		text += "; " + p.String()
	}
	if len(pending) == 0 {
		text += "; no rank waits for another: all are in operations of their own"
	}
	return errors.New(text)
}

// watch has the report name calls of c that the world does not see.
func (j *job) watch(c comm.Communicator) {
	if w, ok := c.(comm.Watched); ok {
		j.watching.Lock()
		defer j.watching.Unlock()
		j.watched = append(j.watched, w)
	}
}

// onDevices are the calls of this process's ranks that the world does not see.
func (j *job) onDevices() []comm.Wait {
	j.watching.Lock()
	defer j.watching.Unlock()
	var all []comm.Wait
	for _, w := range j.watched {
		all = append(all, w.Pending()...)
	}
	return comm.Together(all, j.world.Local())
}

// tellWhere says, when another process has reported that the run stands still, in which call by its device this rank was, unless the report
// names it: the rank for whom all others wait is the one that was elsewhere.
func (r *rank) tellWhere(err error) {
	heard, w := (*comm.Elsewhere)(nil), comm.Watched(nil)
	if w, _ = r.world.(comm.Watched); w == nil || r.options.Output == nil || !errors.As(err, &heard) || !strings.Contains(heard.Text, hangs) {
		return
	}
	where := "in no call"
	if pending := w.Pending(); len(pending) > 0 {
		if strings.Contains(heard.Text, pending[0].Call) {
			return
		}
		where = "in " + pending[0].Call
	}
	fmt.Fprintf(r.options.Output, "rank %d was %s when another rank reported the standstill\n", r.world.Rank(), where)
}

// lively are windows that count as progress when they are read.
type lively struct {
	eval.Windows
	j *job
}

func (l lively) Window(i int, dst []int32) error {
	l.j.progress.Add(1)
	return l.Windows.Window(i, dst)
}
