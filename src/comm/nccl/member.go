//go:build cuda

package nccl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"cambium/src/backend"
	"cambium/src/backend/cuda"
	"cambium/src/comm"
	"cambium/src/tensor"
)

// member is one rank of a communicator.
type member struct {
	w       *world
	host    comm.Communicator
	staged  comm.Communicator // for what NCCL has no call for
	ranks   []int             // member -> rank in the world
	turn    turn
	flights flights
	inside  sync.Mutex // a call into NCCL with raw
	raw     handle     // nil after an abort
}

var _ interface {
	comm.Communicator
	comm.Watched
	comm.Freer
} = (*member)(nil)

func (m *member) Rank() int { return m.host.Rank() }
func (m *member) Size() int { return m.host.Size() }

// AllReduce with Max goes through host memory: NCCL's maximum drops NaN.
func (m *member) AllReduce(s backend.Stream, name string, op comm.Op, parts ...tensor.Tensor) {
	if op == comm.Max {
		m.staged.AllReduce(s, name, op, parts...)
		return
	}
	d := m.open(s, "all-reduce", name)
	for _, t := range parts {
		if t.Len() > 0 {
			flat := d.both(t)
			d.call(allReduce, 0, t.Len(), flat, flat, t.DType())
		}
	}
	d.close()
}

// ReduceScatter is NCCL's where all ranks own the same sizes, else a Reduce to every owner.
func (m *member) ReduceScatter(s backend.Stream, name string, from [][]tensor.Tensor, to []tensor.Tensor) {
	d := m.open(s, "reduce-scatter", name)
	if equal(from) {
		for i, t := range to {
			if t.Len() > 0 {
				d.call(reduceScatter, 0, t.Len(), d.adjacent(from, i, true, false), d.out(t), t.DType())
			}
		}
	} else {
		for q, list := range from {
			for i, t := range list {
				if t.Len() == 0 {
					continue
				}
				var result tensor.Tensor
				if q == m.Rank() {
					result = d.out(to[i])
				}
				d.call(reduce, q, t.Len(), d.in(t), result, t.DType())
			}
		}
	}
	d.close()
}

// AllGather is NCCL's where all ranks give the same sizes, else a Broadcast from every owner.
func (m *member) AllGather(s backend.Stream, name string, from []tensor.Tensor, to [][]tensor.Tensor) {
	d := m.open(s, "all-gather", name)
	if equal(to) {
		for i, t := range from {
			if t.Len() > 0 {
				d.call(allGather, 0, t.Len(), d.in(t), d.adjacent(to, i, false, true), t.DType())
			}
		}
	} else {
		for q, list := range to {
			for i, t := range list {
				if t.Len() == 0 {
					continue
				}
				out := d.out(t)
				source := out
				if q == m.Rank() {
					source = d.in(from[i])
				}
				d.call(broadcast, q, t.Len(), source, out, t.DType())
			}
		}
	}
	d.close()
}

func (m *member) AllToAll(s backend.Stream, name string, from, to []tensor.Tensor) {
	d := m.open(s, "all-to-all", name)
	for q := range from {
		d.send(q, from[q])
		d.recv(q, to[q])
	}
	d.close()
}

func (m *member) Broadcast(s backend.Stream, name string, root int, parts ...tensor.Tensor) {
	d := m.open(s, "broadcast", name)
	for _, t := range parts {
		if t.Len() == 0 {
			continue
		}
		flat := tensor.Tensor{}
		if root == m.Rank() {
			flat = d.in(t)
		} else {
			flat = d.out(t)
		}
		d.call(broadcast, root, t.Len(), flat, flat, t.DType())
	}
	d.close()
}

func (m *member) Send(s backend.Stream, name string, to int, parts ...tensor.Tensor) {
	m.Exchange(s, name, comm.Message{Peer: to, Send: true, Parts: parts})
}

func (m *member) Recv(s backend.Stream, name string, from int, parts ...tensor.Tensor) {
	m.Exchange(s, name, comm.Message{Peer: from, Parts: parts})
}

func (m *member) Exchange(s backend.Stream, name string, messages ...comm.Message) {
	d := m.open(s, "exchange", name)
	d.peers = make([]int, 0, len(messages))
	for _, x := range messages {
		d.peers = append(d.peers, x.Peer)
		for _, t := range x.Parts {
			if x.Send {
				d.send(x.Peer, t)
			} else {
				d.recv(x.Peer, t)
			}
		}
	}
	d.close()
}

func (m *member) Reduce(name string, op comm.Op, values []float64) error {
	return m.host.Reduce(name, op, values)
}
func (m *member) Gather(name string, mine []byte) ([][]byte, error) { return m.host.Gather(name, mine) }
func (m *member) Barrier(name string) error                         { return m.host.Barrier(name) }

// Split makes a group in the host communicator and the same in NCCL. NCCL wants no calls under way meanwhile: a caller whose streams
// are busy waits for them first.
func (m *member) Split(name string, color, key int) (comm.Communicator, error) {
	group, err := m.host.Split(name, color, key)
	if err != nil {
		return nil, err
	}
	mine := binary.LittleEndian.AppendUint32(nil, uint32(m.Rank()))
	all, err := group.Gather(name, mine)
	if err != nil {
		return nil, err
	}
	first := int(binary.LittleEndian.Uint32(all[0])) // its number is the group's color
	ranks := make([]int, len(all))
	for i, b := range all {
		ranks[i] = m.ranks[binary.LittleEndian.Uint32(b)]
	}
	m.turn.order.Lock()
	n := m.turn.take()
	m.turn.order.Unlock()
	var raw handle
	err = m.inTurn(n, func(parent handle) error {
		return cuda.OnDevice(m.w.b, func() (err error) {
			raw, err = m.w.lib.split(parent, first, group.Rank())
			return err
		})
	})
	if err := agree(m.host, name, err); err != nil {
		return nil, fmt.Errorf("nccl: split %q: %w", name, err)
	}
	return m.w.member(group, raw, ranks), nil
}

// Free waits for the group's calls, on this rank's device, and gives NCCL's communicator and the host's back.
func (m *member) Free() error {
	m.turn.order.Lock()
	n := m.turn.take()
	m.turn.order.Unlock()
	if err := m.inTurn(n, m.destroy); err != nil {
		return err
	}
	m.w.forget(m)
	return comm.Free(m.host)
}

// destroy needs inside. What comes too late finds no communicator.
func (m *member) destroy(raw handle) error {
	return cuda.OnDevice(m.w.b, func() error {
		for under := true; under; time.Sleep(patience / 1000) {
			under = m.flights.first() != nil
			// In this order: what went wrong in the last call is known when it has ended, and to nobody behind destroy.
			if err := errors.Join(m.w.watched(), m.w.lib.asyncError(raw)); err != nil {
				return err
			}
		}
		m.flights.free()
		m.raw = nil
		return m.w.lib.destroy(raw)
	})
}

// Abort tells the other ranks through the host communicator; they see it when they wait for their devices.
func (m *member) Abort(err error) {
	m.host.Abort(err)
	m.w.breakOff(err)
}
