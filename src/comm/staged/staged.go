package staged

import (
	"fmt"
	"sync"

	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/tensor"
)

// New lays host memory between device tensors and a communicator of host tensors.
func New(host comm.Communicator) comm.Communicator {
	return &staged{host: host, buffers: map[key]*tensor.Memory{}}
}

type staged struct {
	host    comm.Communicator
	mu      sync.Mutex
	buffers map[key]*tensor.Memory
}

// key tells which calls may use the same host memory: those of one stream, which run one after another, with one name.
type key struct {
	stream backend.Stream
	name   string
	bytes  int
}

// desk is the host's side of one call: where its tensors lie in the buffer.
type desk struct {
	s    backend.Stream
	mem  *tensor.Memory
	used int
}

// open finds or makes the host memory for the tensors of all lists.
func (c *staged) open(s backend.Stream, name string, lists ...[]tensor.Tensor) *desk {
	bytes := 0
	for _, l := range lists {
		for _, t := range l {
			bytes += room(t)
		}
	}
	k := key{s, name, bytes}
	c.mu.Lock()
	defer c.mu.Unlock()
	mem := c.buffers[k]
	if mem == nil {
		mem = &tensor.Memory{Host: make([]byte, bytes), Bytes: bytes, Label: "staging"}
		c.buffers[k] = mem
	}
	return &desk{s: s, mem: mem}
}

// room is the bytes that a tensor takes on the desk: whole cache lines.
func room(t tensor.Tensor) int {
	if !t.Present() {
		return 0
	}
	return (t.Bytes() + 63) / 64 * 64
}

// place gives a device tensor its counterpart on the host, without gaps between rows; nothing for an absent one.
func (d *desk) place(t tensor.Tensor) tensor.Tensor {
	if !t.Present() {
		return t
	}
	h := tensor.New(d.mem, d.used, t.DType(), t.Dims()...)
	d.used += room(t)
	return h
}

func (d *desk) placeAll(list []tensor.Tensor) []tensor.Tensor {
	out := make([]tensor.Tensor, len(list))
	for i, t := range list {
		out[i] = d.place(t)
	}
	return out
}

// bytes are the host memory of a counterpart.
func bytes(h tensor.Tensor) []byte {
	return h.Memory().Host[h.Offset() : h.Offset()+h.Bytes()]
}

// fetch brings device tensors to their counterparts, deliver the other way.
func (d *desk) fetch(host, device []tensor.Tensor) {
	for i, t := range device {
		if t.Present() && t.Len() > 0 {
			d.s.Download(bytes(host[i]), t)
		}
	}
}

func (d *desk) deliver(device, host []tensor.Tensor) {
	for i, t := range device {
		if t.Present() && t.Len() > 0 {
			d.s.Upload(t, bytes(host[i]))
		}
	}
}

func (c *staged) Rank() int { return c.host.Rank() }
func (c *staged) Size() int { return c.host.Size() }

func (c *staged) AllReduce(s backend.Stream, name string, op comm.Op, parts ...tensor.Tensor) {
	d := c.open(s, name, parts)
	h := d.placeAll(parts)
	d.fetch(h, parts)
	c.host.AllReduce(s, name, op, h...)
	d.deliver(parts, h)
}

func (c *staged) ReduceScatter(s backend.Stream, name string, send [][]tensor.Tensor, recv []tensor.Tensor) {
	d := c.open(s, name, append(send[:len(send):len(send)], recv)...)
	h := make([][]tensor.Tensor, len(send))
	for r := range send {
		h[r] = d.placeAll(send[r])
		d.fetch(h[r], send[r])
	}
	out := d.placeAll(recv)
	c.host.ReduceScatter(s, name, h, out)
	d.deliver(recv, out)
}

func (c *staged) AllGather(s backend.Stream, name string, send []tensor.Tensor, recv [][]tensor.Tensor) {
	d := c.open(s, name, append(recv[:len(recv):len(recv)], send)...)
	in := d.placeAll(send)
	d.fetch(in, send)
	h := make([][]tensor.Tensor, len(recv))
	for r := range recv {
		h[r] = d.placeAll(recv[r])
	}
	c.host.AllGather(s, name, in, h)
	for r := range recv {
		d.deliver(recv[r], h[r])
	}
}

func (c *staged) AllToAll(s backend.Stream, name string, send, recv []tensor.Tensor) {
	d := c.open(s, name, send, recv)
	in, out := d.placeAll(send), d.placeAll(recv)
	d.fetch(in, send)
	c.host.AllToAll(s, name, in, out)
	d.deliver(recv, out)
}

func (c *staged) Broadcast(s backend.Stream, name string, root int, parts ...tensor.Tensor) {
	d := c.open(s, name, parts)
	h := d.placeAll(parts)
	if root == c.Rank() {
		d.fetch(h, parts)
	}
	c.host.Broadcast(s, name, root, h...)
	if root != c.Rank() {
		d.deliver(parts, h)
	}
}

func (c *staged) Send(s backend.Stream, name string, to int, parts ...tensor.Tensor) {
	d := c.open(s, name, parts)
	h := d.placeAll(parts)
	d.fetch(h, parts)
	c.host.Send(s, name, to, h...)
}

func (c *staged) Recv(s backend.Stream, name string, from int, parts ...tensor.Tensor) {
	d := c.open(s, name, parts)
	h := d.placeAll(parts)
	c.host.Recv(s, name, from, h...)
	d.deliver(parts, h)
}

func (c *staged) Exchange(s backend.Stream, name string, messages ...comm.Message) {
	lists := make([][]tensor.Tensor, len(messages))
	for i, m := range messages {
		lists[i] = m.Parts
	}
	d := c.open(s, name, lists...)
	host := make([]comm.Message, len(messages))
	for i, m := range messages {
		host[i] = comm.Message{Peer: m.Peer, Send: m.Send, Parts: d.placeAll(m.Parts)}
		if m.Send {
			d.fetch(host[i].Parts, m.Parts)
		}
	}
	c.host.Exchange(s, name, host...)
	for i, m := range messages {
		if !m.Send {
			d.deliver(m.Parts, host[i].Parts)
		}
	}
}

func (c *staged) Reduce(name string, op comm.Op, values []float64) error {
	return c.host.Reduce(name, op, values)
}
func (c *staged) Gather(name string, mine []byte) ([][]byte, error) { return c.host.Gather(name, mine) }
func (c *staged) Barrier(name string) error                         { return c.host.Barrier(name) }

func (c *staged) Split(name string, color, key int) (comm.Communicator, error) {
	group, err := c.host.Split(name, color, key)
	if err != nil {
		return nil, fmt.Errorf("staged: %w", err)
	}
	return New(group), nil
}

func (c *staged) Abort(err error) { c.host.Abort(err) }

// Free frees the communicator below.
func (c *staged) Free() error { return comm.Free(c.host) }
