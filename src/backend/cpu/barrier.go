package cpu

import "sync/atomic"

// barrier lets the workers of one stream wait for each other. The last one to arrive opens it for all.
type barrier struct {
	count   int32
	arrived atomic.Int32
	_       [cacheLine - 8]byte
	opened  gate
	broken  atomic.Bool
}

func (b *barrier) init(count int) {
	b.count = int32(count)
	b.opened.init()
}

// wait is a barrier inside a task. It panics with errAbandoned when another worker of the task panicked.
func (b *barrier) wait(w *worker) {
	turn := b.opened.value.Load()
	if b.broken.Load() { // read after turn: an abandon that comes later opens the barrier
		panic(errAbandoned)
	}
	if b.arrived.Add(1) == b.count {
		b.arrived.Store(0)
		w.stream.resetCursors()
		b.opened.advance(turn + 1)
	} else {
		b.opened.await(turn+1, spinRounds)
	}
	if b.broken.Load() {
		panic(errAbandoned)
	}
}

// abandon releases the workers that wait for one that will not come, and those that would.
func (b *barrier) abandon() {
	b.broken.Store(true)
	b.opened.mu.Lock()
	defer b.opened.mu.Unlock()
	b.opened.value.Add(1)
	b.opened.cond.Broadcast()
}

// finish is the barrier after a task. The last worker leaves everything fresh for the next task and advances done.
func (b *barrier) finish(w *worker, tasks uint64) {
	if b.arrived.Add(1) != b.count {
		b.opened.await(tasks, spinRounds)
		return
	}
	s := w.stream
	b.arrived.Store(0)
	s.resetCursors()
	if s.phase.broken.Load() {
		s.phase.broken.Store(false)
		s.phase.arrived.Store(0)
	}
	b.opened.advance(tasks)
	s.done.advance(tasks)
}

func (s *stream) resetCursors() {
	for i := range s.cursor {
		if s.cursor[i].n.Load() != 0 {
			s.cursor[i].n.Store(0)
		}
	}
}
