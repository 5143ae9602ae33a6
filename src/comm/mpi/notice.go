//go:build mpi

package mpi

import (
	"errors"
	"fmt"
	"time"

	"cambium/src/comm"
	"cambium/src/mpi"
)

// A letter is news of a rank to all others: its kind and a text.
const (
	letterAborted = 'A'
	letterEnded   = 'E'
	letterSize    = 8 << 10
	letterTag     = 1
)

const (
	lookEvery = 100 * time.Millisecond // how often a rank that makes no calls looks for news
	// endGrace is how long a call waits for a rank that has ended before it gives up: its last messages may be on the way.
	endGrace = 2 * time.Second
)

// listen waits for the next letter. It needs w.mu, as hear does.
func (w *World) listen() { w.inbox.Add(0, false, w.letter, mpi.Any, letterTag) }

// hear reads the letters that have come.
func (w *World) hear() {
	for w.Size() > 1 {
		done, err := w.inbox.Poll(1, false)
		if err != nil || len(done) == 0 {
			return // a broken wire shows itself in calls
		}
		if d := done[0]; d.Err == nil && d.Bytes > 0 {
			w.read(w.letter[:d.Bytes], d.Peer)
		}
		w.listen()
	}
}

func (w *World) read(letter []byte, from int) {
	switch letter[0] {
	case letterEnded:
		w.ended[from] = time.Now()
	case letterAborted:
		if w.err == nil {
			w.err = &comm.Elsewhere{Text: string(letter[1:])}
			w.failed.Store(true)
		}
	}
}

// watch looks for news while the rank makes no calls.
func (w *World) watch() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			w.mu.Lock()
			w.hear()
			w.mu.Unlock()
		}
	}
}

// tell sends a letter to all other ranks and waits until MPI has taken it or the time is up.
func (w *World) tell(kind byte, text string, limit time.Duration) {
	n, me := w.Size(), w.base.Rank()
	if n == 1 {
		return
	}
	letter := append([]byte{kind}, text[:min(len(text), letterSize-1)]...)
	b := mpi.NewBatch(n - 1)
	b.Use(w.notes)
	for i := range n - 1 {
		b.Add(i, true, letter, (me+1+i)%n, letterTag)
	}
	var p pause
	for until := time.Now().Add(limit); b.Active() > 0 && time.Now().Before(until); w.idle.wait(&p, true) {
		w.mu.Lock()
		_, err := b.Poll(1, false)
		w.hear() // two ranks may tell each other
		w.mu.Unlock()
		if err != nil {
			break
		}
	}
	if b.Active() == 0 {
		b.Free()
	}
}

// sayEnded tells the others that this rank makes no more calls.
func (w *World) sayEnded() {
	w.mu.Lock()
	w.ended[w.base.Rank()] = time.Now()
	w.mu.Unlock()
	w.tell(letterEnded, "", time.Minute)
}

func (w *World) allEnded() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.ended {
		if t.IsZero() {
			return false
		}
	}
	return true
}

// checkEnded finds a rank that ended while r still waits for it. It needs w.mu.
func (w *World) checkEnded(r *run) error {
	for _, rank := range r.waitsFor() {
		if t := w.ended[rank]; !t.IsZero() && time.Since(t) > endGrace && time.Since(r.since) > endGrace {
			return fmt.Errorf("comm: rank %d ended, but rank %d waits for it in %s", rank, w.base.Rank(), r.title())
		}
	}
	return nil
}

// abortedBy tells whether err is why w ended already.
func (w *World) abortedBy(err error) bool {
	e := w.Err()
	return e != nil && errors.Is(err, e)
}
