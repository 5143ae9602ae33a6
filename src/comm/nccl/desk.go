//go:build cuda

package nccl

import (
	"fmt"
	"unsafe"

	"cambium/src/backend"
	"cambium/src/backend/cuda"
	"cambium/src/tensor"
)

// NCCL takes addresses and counts: tensors with gaps between rows are copied together on the device, before and after. All calls of a
// stream do so in the same memory, for they run one after another; it grows to what the largest of them needs.

// roomKey is a piece of that memory: the place-th that a call needs.
type roomKey struct {
	stream backend.Stream
	place  int
}

// desk collects the calls of one group.
type desk struct {
	m      *member
	s      backend.Stream
	what   string
	name   string
	peers  []int // of messages
	places int
	calls  []call
	after  []func() // copies to where results belong
}

func (m *member) open(s backend.Stream, what, name string) *desk {
	return &desk{m: m, s: s, what: what, name: name}
}

func (d *desk) call(kind, peer, count int, from, to tensor.Tensor, t tensor.DType) {
	d.calls = append(d.calls, newCall(kind, peer, count, from, to, t))
}

// close enqueues the group and what comes after it.
func (d *desk) close() {
	d.m.issue(d)
	for _, f := range d.after {
		f()
	}
}

// room is device memory for n elements. When the device has no more, the stream fails.
func (d *desk) room(t tensor.DType, n int) tensor.Tensor {
	w, k, bytes := d.m.w, roomKey{d.s, d.places}, n*t.Size()
	d.places++
	w.mu.Lock()
	defer w.mu.Unlock()
	mem := w.rooms[k]
	if mem == nil || mem.Bytes < bytes {
		if small := mem; small != nil { // earlier calls may still be in it
			d.s.Do("free staging", func() error {
				w.b.Free(small)
				return nil
			})
			delete(w.rooms, k)
		}
		larger, err := w.b.Alloc("staging", bytes)
		if err != nil {
			cuda.OnStream(d.s, d.name, func(unsafe.Pointer) error { return fmt.Errorf("nccl: %w", err) })
			return tensor.New(&tensor.Memory{Bytes: bytes}, 0, t, n)
		}
		mem, w.rooms[k] = larger, larger
	}
	return tensor.New(mem, 0, t, n)
}

// in is t without gaps, for reading.
func (d *desk) in(t tensor.Tensor) tensor.Tensor {
	if t.Contiguous() {
		return t
	}
	flat := d.room(t.DType(), t.Len()).Reshape(t.Dims()...)
	d.s.Copy(flat, t)
	return flat
}

// out is memory without gaps whose contents come to t when the group is done.
func (d *desk) out(t tensor.Tensor) tensor.Tensor {
	if t.Contiguous() {
		return t
	}
	flat := d.room(t.DType(), t.Len()).Reshape(t.Dims()...)
	d.after = append(d.after, func() { d.s.Copy(t, flat) })
	return flat
}

// both is in and out at once.
func (d *desk) both(t tensor.Tensor) tensor.Tensor {
	flat := d.in(t)
	if !t.Contiguous() {
		d.after = append(d.after, func() { d.s.Copy(t, flat) })
	}
	return flat
}

// adjacent is part i of every rank's list, one behind the other in memory: the lists' own where they lie so.
func (d *desk) adjacent(lists [][]tensor.Tensor, i int, read, write bool) tensor.Tensor {
	first := lists[0][i]
	together := true
	for q, list := range lists {
		t := list[i]
		together = together && t.Contiguous() && t.Memory() == first.Memory() && t.Offset() == first.Offset()+q*first.Bytes()
	}
	if together {
		return first
	}
	n := first.Len()
	flat := d.room(first.DType(), n*len(lists))
	for q, list := range lists {
		piece := flat.Slice(q*n, (q+1)*n).Reshape(list[i].Dims()...)
		if read {
			d.s.Copy(piece, list[i])
		}
		if write {
			d.after = append(d.after, func() { d.s.Copy(list[i], piece) })
		}
	}
	return flat
}

// equal tells whether all lists have parts of the same sizes and types; all ranks see the same.
func equal(lists [][]tensor.Tensor) bool {
	for _, list := range lists {
		if len(list) != len(lists[0]) {
			return false
		}
		for i, t := range list {
			if t.Len() != lists[0][i].Len() || t.DType() != lists[0][i].DType() {
				return false
			}
		}
	}
	return true
}

func (d *desk) send(peer int, t tensor.Tensor) {
	if t.Present() && t.Len() > 0 {
		d.call(send, peer, t.Len(), d.in(t), tensor.Tensor{}, t.DType())
	}
}

func (d *desk) recv(peer int, t tensor.Tensor) {
	if t.Present() && t.Len() > 0 {
		d.call(recv, peer, t.Len(), tensor.Tensor{}, d.out(t), t.DType())
	}
}
