package train

import (
	"errors"
	"fmt"
	"time"

	"cambium/src/comm"
	"cambium/src/eval"
)

// defaultTimeout is how long a run may stand still.
const defaultTimeout = 10 * time.Minute

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
			hung = hang(world, timeout)
			world.Abort(hung)
			since = time.Now()
		}
	}
}

// hang is the report of a run that stands still.
func hang(world comm.World, timeout time.Duration) error {
	text := fmt.Sprintf("no progress for %v", timeout)
	pending := world.Pending()
	for _, p := range pending {
		text += "; " + p.String()
	}
	if len(pending) == 0 {
		text += "; no rank waits for another: all are in operations of their own"
	}
	return errors.New(text)
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
