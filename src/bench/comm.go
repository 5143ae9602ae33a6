package bench

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"time"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	"cambium/src/grid"
	"cambium/src/tensor"
)

// CommOptions say which collectives are measured, in which groups, with which sizes. They are nccl-tests' flags.
type CommOptions struct {
	Grid     grid.Grid
	Groups   []string // of the grid: tp, dp, pp, or world
	Calls    []string // of Collectives
	MinBytes int
	MaxBytes int
	Factor   int // from one size to the next
	Iters    int
	Warmup   int
}

// Collectives are the names of what can be measured, as in nccl-tests.
func Collectives() []string {
	return []string{"all_reduce", "all_gather", "reduce_scatter", "alltoall", "sendrecv"}
}

// CommRow is one size of a collective; a table's line.
type CommRow struct {
	Size       int       `json:"size"`  // bytes, of the whole: what one rank gathers, or brings
	Count      int       `json:"count"` // elements, as nccl-tests counts them
	Type       string    `json:"type"`
	RedOp      string    `json:"redop"`
	Root       int       `json:"root"`
	OutOfPlace *CommTime `json:"out_of_place"` // nil where a call has no such form
	InPlace    *CommTime `json:"in_place"`
}

// CommTime is one measurement: microseconds a call, GB/s, and elements that were wrong.
type CommTime struct {
	Time  float64 `json:"time"`
	AlgBW float64 `json:"alg_bw"`
	BusBW float64 `json:"bus_bw"`
	Wrong int     `json:"nwrong"`
}

// CommTable is one collective in one kind of group.
type CommTable struct {
	Call    string      `json:"collective"`
	Group   string      `json:"group"`
	Ranks   int         `json:"ranks"`  // of a group
	Groups  int         `json:"groups"` // of that kind, all at once
	Devices []CommRank  `json:"devices"`
	Options CommOptions `json:"-"`
	Rows    []CommRow   `json:"results"`
}

// CommRank is where a rank runs.
type CommRank struct {
	Rank   int    `json:"rank"`
	Group  int    `json:"group"`
	Pid    int    `json:"pid"`
	Host   string `json:"host"`
	Device string `json:"device"`
}

// Comm measures in the ranks of world; all groups of a kind work at once, as they do in training. The process of rank 0 gets
// the tables, others nil.
func Comm(world comm.World, o CommOptions, done func(CommTable)) error {
	return world.Run(func(c comm.Communicator) error {
		r := commRank{world: c, o: o, backend: cpu.New(cpu.Options{Workers: 1})}
		defer func() { _ = r.backend.Close() }()
		r.stream = r.backend.NewStream("communication")
		var err error
		if r.mem, err = r.backend.Alloc("bench", 2*((max(o.MaxBytes, 4)+pageBytes-1)&^(pageBytes-1))); err != nil {
			return err
		}
		for _, name := range o.Groups {
			group, color, err := r.split(name)
			if err != nil {
				return err
			}
			for _, call := range o.Calls {
				if group.Size() == 1 {
					continue
				}
				t, err := r.table(call, name, group, color)
				if err != nil {
					return err
				}
				if c.Rank() == 0 {
					done(t)
				}
			}
		}
		return nil
	})
}

type commRank struct {
	world   comm.Communicator
	o       CommOptions
	backend backend.Backend
	stream  backend.Stream
	mem     *tensor.Memory // two vectors of the largest size, which all sizes use
}

const pageBytes = 4096

// split is the rank's group of a kind, and the group's number.
func (r *commRank) split(name string) (comm.Communicator, int, error) {
	if name == "world" {
		return r.world, 0, nil
	}
	for _, d := range []grid.Dim{grid.TP, grid.DP, grid.PP} {
		if d.String() == name {
			color, key := r.o.Grid.Split(d, r.world.Rank())
			g, err := r.world.Split("bench "+name, color, key)
			return g, color, err
		}
	}
	return nil, 0, fmt.Errorf("bench comm: group %q: want tp, dp, pp or world", name)
}

func (r *commRank) table(call, name string, group comm.Communicator, color int) (CommTable, error) {
	t := CommTable{Call: call, Group: name, Ranks: group.Size(), Groups: r.world.Size() / group.Size(), Options: r.o}
	host, _ := os.Hostname()
	all, err := r.world.Gather("devices", fmt.Appendf(nil, "%d %d %s %s", color, os.Getpid(), host, r.backend.Name()))
	if err != nil {
		return t, err
	}
	for q, text := range all {
		d := CommRank{Rank: q}
		var rest string
		_, _ = fmt.Sscanf(string(text), "%d %d %s %s", &d.Group, &d.Pid, &d.Host, &rest)
		d.Device = r.backend.Name()
		t.Devices = append(t.Devices, d)
	}
	for size := r.o.MinBytes; size <= r.o.MaxBytes; size *= r.o.Factor {
		row, err := r.row(call, group, size)
		if err != nil {
			return t, err
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// row measures one size. Buffers of n parts, one a rank, serve both the whole and the parts.
func (r *commRank) row(call string, g comm.Communicator, size int) (CommRow, error) {
	n := g.Size()
	count := size / 4
	row := CommRow{Type: "float", RedOp: "none", Root: -1}
	if call == "all_reduce" || call == "reduce_scatter" {
		row.RedOp = "sum"
	}
	parts := call != "all_reduce" && call != "sendrecv"
	if parts { // count is of one rank's part, in whole 16 bytes where there are as many
		count /= n
		if count >= 4 {
			count &^= 3
		}
		row.Count, row.Size = count, 4*count*n
	} else {
		row.Count, row.Size = count, 4*count
	}
	half := r.mem.Bytes / 2
	b := buffers{a: tensor.New(r.mem, 0, tensor.F32, row.Size/4), b: tensor.New(r.mem, half, tensor.F32, row.Size/4), count: count, parts: parts, n: n, me: g.Rank()}
	for _, inPlace := range []bool{false, true} {
		run := b.call(call, g, r.stream, inPlace)
		if run == nil {
			continue
		}
		m, err := r.measure(&b, call, g, run, inPlace, row.Size)
		if err != nil {
			return row, err
		}
		if inPlace {
			row.InPlace = m
		} else {
			row.OutOfPlace = m
		}
	}
	return row, nil
}

// measure checks one call, then times many: the mean over all ranks of the group, and over the groups.
func (r *commRank) measure(b *buffers, call string, g comm.Communicator, run func(), inPlace bool, size int) (*CommTime, error) {
	b.fill(r.stream)
	run()
	wrong, err := b.wrong(r.stream, call, inPlace)
	if err != nil {
		return nil, err
	}
	b.clear(r.stream)
	runtime.GC() // what fill and wrong have left behind must not be collected while the clock runs
	for range r.o.Warmup {
		run()
	}
	if err := r.stream.Sync(); err != nil {
		return nil, err
	}
	for _, name := range []string{"ready", "go"} { // after the first all are awake: they leave the second together
		if err := r.world.Barrier(name); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	for range r.o.Iters {
		run()
	}
	if err := r.stream.Sync(); err != nil {
		return nil, err
	}
	x := []float64{time.Since(begin).Seconds() / float64(r.o.Iters), float64(wrong)}
	if err := r.world.Reduce("times", comm.Sum, x); err != nil {
		return nil, err
	}
	seconds := x[0] / float64(r.world.Size())
	alg := float64(size) / 1e9 / seconds
	return &CommTime{seconds * 1e6, alg, alg * BusFactor(call, g.Size()), int(x[1])}, nil
}

// BusFactor is what nccl-tests multiplies the algorithm's bandwidth with: what the slowest wire carries at least, as a share of
// the size (its doc/PERFORMANCE.md): 2(n-1)/n for an all-reduce, (n-1)/n where each rank needs all but its own part.
func BusFactor(call string, n int) float64 {
	switch call {
	case "all_reduce":
		return 2 * float64(n-1) / float64(n)
	case "sendrecv":
		return 1
	}
	return float64(n-1) / float64(n)
}

// buffers are two vectors of the whole; count elements belong to a rank when the call deals in parts.
type buffers struct {
	a, b  tensor.Tensor
	count int
	parts bool
	n, me int
}

func (b *buffers) part(t tensor.Tensor, q int) tensor.Tensor {
	return t.Slice(q*b.count, (q+1)*b.count)
}

// call is one call of the collective; nil where it has no such form. The comm package reduces and exchanges in place only, as
// training does.
func (b *buffers) call(call string, g comm.Communicator, s backend.Stream, inPlace bool) func() {
	list := func(t tensor.Tensor) [][]tensor.Tensor {
		var out [][]tensor.Tensor
		for q := range b.n {
			out = append(out, []tensor.Tensor{b.part(t, q)})
		}
		return out
	}
	switch call {
	case "all_reduce":
		if inPlace {
			return func() { g.AllReduce(s, call, comm.Sum, b.a) }
		}
	case "all_gather":
		send, recv := []tensor.Tensor{b.part(b.a, b.me)}, list(b.b)
		if inPlace {
			recv = list(b.a)
		}
		return func() { g.AllGather(s, call, send, recv) }
	case "reduce_scatter":
		send, recv := list(b.a), []tensor.Tensor{b.part(b.b, b.me)}
		if inPlace {
			recv = send[b.me]
		}
		return func() { g.ReduceScatter(s, call, send, recv) }
	case "alltoall":
		if !inPlace {
			var send, recv []tensor.Tensor
			for q := range b.n {
				send, recv = append(send, b.part(b.a, q)), append(recv, b.part(b.b, q))
			}
			return func() { g.AllToAll(s, call, send, recv) }
		}
	case "sendrecv":
		if !inPlace {
			messages := []comm.Message{{Peer: (b.me + 1) % b.n, Send: true, Parts: []tensor.Tensor{b.a}},
				{Peer: (b.me + b.n - 1) % b.n, Parts: []tensor.Tensor{b.b}}}
			return func() { g.Exchange(s, call, messages...) }
		}
	}
	return nil
}

// number is element i of rank q: small integers, whose sums are exact.
func number(q, i int) float32 { return float32((q*7+i*3)%13 - 6) }

func (b *buffers) fill(s backend.Stream) {
	raw := make([]byte, b.a.Bytes())
	for i := range b.a.Len() {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(number(b.me, i)))
	}
	s.Upload(b.a, raw)
	s.Upload(b.b, make([]byte, b.b.Bytes()))
}

// clear makes zeros, which many sums leave as they are.
func (b *buffers) clear(s backend.Stream) {
	s.Upload(b.a, make([]byte, b.a.Bytes()))
	s.Upload(b.b, make([]byte, b.b.Bytes()))
}

// wrong counts elements that are not what one call makes of fill's.
func (b *buffers) wrong(s backend.Stream, call string, inPlace bool) (int, error) {
	t := b.b
	if inPlace {
		t = b.a
	}
	raw := make([]byte, t.Bytes())
	s.Download(raw, t)
	if err := s.Sync(); err != nil {
		return 0, err
	}
	sum := func(i int) (x float32) {
		for q := range b.n {
			x += number(q, i)
		}
		return x
	}
	bad := 0
	for i := range t.Len() {
		var want float32
		switch owner := i / b.count; call {
		case "all_reduce":
			want = sum(i)
		case "all_gather":
			want = number(owner, i)
		case "reduce_scatter":
			if owner != b.me {
				continue
			}
			want = sum(i)
		case "alltoall":
			want = number(owner, b.me*b.count+i%b.count)
		case "sendrecv":
			want = number((b.me+b.n-1)%b.n, i)
		}
		if got := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])); got != want {
			bad++
		}
	}
	return bad, nil
}
