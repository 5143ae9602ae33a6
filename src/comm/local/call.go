package local

import (
	"fmt"
	"runtime/debug"
	"strings"

	"cambium/src/comm"
	"cambium/src/comm/parts"
	"cambium/src/tensor"
)

type kind uint8

const (
	allReduce kind = iota
	reduceScatter
	allGather
	allToAll
	broadcast
	send
	recv
	reduce
	gather
	barrier
	split
)

var kinds = [...]string{"all-reduce", "reduce-scatter", "all-gather", "all-to-all", "broadcast", "send", "recv", "reduce",
	"gather", "barrier", "split"}

// moves tells whether the call copies tensors; the control plane is concluded by the last rank to arrive.
func (k kind) moves() bool { return k < reduce }

// lists is a list of tensors for each rank, stored flat so that a call record is reused without allocation.
type lists struct {
	flat []tensor.Tensor
	end  []int // end[r] is where list r ends in flat
}

func (l *lists) set(of [][]tensor.Tensor) {
	l.flat, l.end = l.flat[:0], l.end[:0]
	for _, list := range of {
		l.add(list)
	}
}

func (l *lists) setOne(list []tensor.Tensor) {
	l.flat, l.end = l.flat[:0], l.end[:0]
	l.add(list)
}

func (l *lists) add(list []tensor.Tensor) {
	l.flat = append(l.flat, list...)
	l.end = append(l.end, len(l.flat))
}

func (l *lists) of(r int) []tensor.Tensor {
	lo := 0
	if r > 0 {
		lo = l.end[r-1]
	}
	return l.flat[lo:l.end[r]]
}

// call is one rank's side of a rendezvous. Records are reused: see member.call.
type call struct {
	m    *member
	kind kind
	name string
	key  key
	op   comm.Op
	root int
	bad  error // what is wrong with the arguments
	// in is what this rank gives, out what it gets. AllReduce and Broadcast have in alone; they work in place.
	in, out lists
	scratch []tensor.Tensor
	// the control plane
	values   []float64
	bytes    []byte
	color    int
	order    int
	gathered [][]byte
	made     *member
	exchange *exchange    // that the call is a part of
	run      func() error // meet and give the record back; made once
}

func (c *call) title() string { return fmt.Sprintf("%s %q", kinds[c.kind], c.name) }

// describe adds to title what must be the same on all ranks.
func (c *call) describe() string {
	var b strings.Builder
	b.WriteString(c.title())
	switch c.kind {
	case allReduce, reduce:
		fmt.Fprintf(&b, " (%s)", [...]string{comm.Sum: "sum", comm.Max: "max"}[c.op])
	case broadcast:
		fmt.Fprintf(&b, " from %d", c.root)
	}
	if c.kind == reduce {
		fmt.Fprintf(&b, " of %d values", len(c.values))
	}
	const most = 4
	for i, t := range c.shape().flat {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(c.shape().flat)-most)
			break
		}
		fmt.Fprintf(&b, " %v", t)
	}
	return b.String()
}

// shape is what every rank must give alike. All-to-all pieces differ; work compares them in pairs.
func (c *call) shape() *lists {
	switch c.kind {
	case allReduce, broadcast, reduceScatter, send:
		return &c.in
	case allGather, recv:
		return &c.out
	}
	return &lists{}
}

// mismatch compares two calls that meet.
func mismatch(a, b *call) error {
	for _, c := range []*call{a, b} {
		if c.bad != nil {
			return fmt.Errorf("comm: rank %d: %s: %w", c.m.rank, c.title(), c.bad)
		}
	}
	same := a.op == b.op && a.root == b.root && len(a.values) == len(b.values) && sameLists(a.shape(), b.shape())
	if a.key.from < 0 {
		same = same && a.kind == b.kind && a.name == b.name
	}
	if same {
		return nil
	}
	return fmt.Errorf("comm: calls do not match: rank %d makes %s, rank %d makes %s", a.m.rank, a.describe(), b.m.rank, b.describe())
}

func sameLists(a, b *lists) bool {
	if len(a.flat) != len(b.flat) || len(a.end) != len(b.end) {
		return false
	}
	for i, e := range a.end {
		if b.end[i] != e {
			return false
		}
	}
	for i, t := range a.flat {
		if !parts.SameShape(t, b.flat[i]) {
			return false
		}
	}
	return true
}

// conclude makes the result of a control-plane call; it runs in the last rank to arrive, under the world's mutex.
func (s *slot) conclude() {
	switch s.first().kind {
	case reduce:
		s.result.values = make([]float64, len(s.first().values))
		for r, c := range s.calls {
			for i, v := range c.values {
				acc := &s.result.values[i]
				switch {
				case r == 0:
					*acc = v
				case c.op == comm.Sum:
					*acc += v
				case v > *acc || v != v:
					*acc = v
				}
			}
		}
	case gather:
		s.result.bytes = make([][]byte, len(s.calls))
		for r, c := range s.calls {
			s.result.bytes[r] = append([]byte{}, c.bytes...)
		}
	case split:
		s.result.groups = s.g.split(s.calls)
	}
}

// collect takes the rank's part of a control-plane result out of the slot.
func (c *call) collect(s *slot) {
	switch c.kind {
	case reduce:
		copy(c.values, s.result.values)
	case gather:
		c.gathered = make([][]byte, len(s.result.bytes))
		for r, b := range s.result.bytes {
			c.gathered[r] = append([]byte{}, b...)
		}
	case split:
		c.made = s.result.groups[c.m.index]
	}
}

// work does this rank's share of moving tensors. A panic (memory that is not on the host) becomes an error.
func (c *call) work(s *slot) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("comm: rank %d: %s: panic: %v\n%s", c.m.rank, c.title(), p, debug.Stack())
		}
	}()
	switch c.kind {
	case allReduce:
		c.allReduceShare(s)
	case reduceScatter:
		c.reduceOwn(s)
	case allGather:
		for q, from := range s.calls {
			copyParts(c.out.of(q), from.in.of(0))
		}
	case allToAll:
		return c.pieces(s)
	case broadcast:
		if c.m.index != c.root {
			copyParts(c.in.of(0), s.calls[c.root].in.of(0))
		}
	case recv:
		copyParts(c.out.of(0), s.calls[c.key.from].in.of(0))
	}
	return nil
}
