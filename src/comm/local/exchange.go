package local

import (
	"fmt"
	"sync"

	"cambium/src/backend"
	"cambium/src/comm"
)

// exchange is several messages of one rank that are under way together. Records are reused.
type exchange struct {
	m     *member
	name  string
	bad   error
	cond  *sync.Cond // of the world's mutex: a slot of one of the calls has changed
	calls []*call
	slots []*slot // nil once the call has been served
	left  []*slot
	run   func() error
}

func (m *member) Exchange(s backend.Stream, name string, messages ...comm.Message) {
	x := m.exchange(name)
	for i, message := range messages {
		if err := m.checkPeer(message.Peer); err != nil {
			x.bad = fmt.Errorf("comm: rank %d: exchange %q: message %d: %w", m.rank, name, i, err)
			break
		}
		k := recv
		if message.Send {
			k = send
		}
		c := m.call(k, name, message.Peer)
		c.exchange = x
		if message.Send {
			c.in.setOne(message.Parts)
		} else {
			c.out.setOne(message.Parts)
		}
		x.calls = append(x.calls, c)
	}
	s.Do(name, x.run)
}

func (m *member) exchange(name string) *exchange {
	m.mu.Lock()
	defer m.mu.Unlock()
	var x *exchange
	if n := len(m.exchanges); n > 0 {
		x, m.exchanges = m.exchanges[n-1], m.exchanges[:n-1]
	} else {
		x = &exchange{m: m, cond: sync.NewCond(&m.g.w.mu)}
		x.run = x.start
	}
	x.name, x.bad = name, nil
	return x
}

func (x *exchange) start() error {
	if x.bad != nil {
		return x.m.fail(x.bad)
	}
	if err := x.meet(); err != nil {
		return err
	}
	for _, c := range x.calls {
		c.release()
	}
	clear(x.left)
	x.calls, x.slots, x.left = x.calls[:0], x.slots[:0], x.left[:0]
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	x.m.exchanges = append(x.m.exchanges, x)
	return nil
}

// meet posts all calls, serves each as soon as its peer is here, and leaves when all are done. A peer of one message never
// waits for the peer of another.
func (x *exchange) meet() error {
	w := x.m.g.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range x.calls {
		s, err := c.arrive()
		if err != nil {
			x.calls = x.calls[:i] // the world has ended, but peers may wait for messages that have arrived
			break
		}
		x.slots = append(x.slots, s)
		x.left = append(x.left, s)
	}
	for open := len(x.calls); open > 0; {
		served := x.serveReady()
		open -= served
		if w.err != nil && served == 0 {
			return x.leaveServed()
		}
		if open > 0 && served == 0 {
			x.cond.Wait()
		}
	}
	return x.leaveServed()
}

// serveReady works on every message whose peer is here and tells how many there were.
func (x *exchange) serveReady() int {
	n := 0
	for i, s := range x.slots {
		if s == nil || s.arrived < s.need {
			continue
		}
		x.slots[i] = nil
		x.calls[i].serve(s)
		n++
	}
	return n
}

// leaveServed waits for the peers of all messages that were served; in an aborted world the others stay open.
func (x *exchange) leaveServed() error {
	for i, s := range x.left {
		if x.slots[i] != nil {
			continue
		}
		for s.finished < s.need {
			s.cond.Wait()
		}
		x.calls[i].leave(s)
	}
	return x.m.g.w.err
}
