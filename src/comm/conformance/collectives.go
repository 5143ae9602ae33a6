package conformance

import (
	"fmt"
	"math"
	"math/rand/v2"

	"cambium/src/comm"
	"cambium/src/tensor"
)

// lengths are odd on purpose: empty, shorter than the number of ranks, around powers of two, longer than any block.
var lengths = []int{0, 1, 5, 64, 1023, 4097}

func sumOver(n int, f func(rank int) float64) float64 {
	s := f(0)
	for q := 1; q < n; q++ {
		s += f(q)
	}
	return s
}

func allReduceTypes(r *rank) {
	for _, d := range types {
		var parts []tensor.Tensor
		for p, n := range lengths {
			parts = append(parts, r.tensor(d, func(i int) float64 { return value(r.me, p, i) }, n))
		}
		r.Comm.AllReduce(r.stream, fmt.Sprint("sum ", d), comm.Sum, parts...)
		for p := range lengths {
			r.want(parts[p], func(i int) float64 { return sumOver(r.n, func(q int) float64 { return value(q, p, i) }) })
		}
	}
	r.Comm.AllReduce(r.stream, "nothing", comm.Sum)
}

// allReduceStrided reduces columns 3 to 7 of a matrix whose row distance differs from rank to rank.
func allReduceStrided(r *rank) {
	const rows, lo, hi = 37, 3, 8
	for _, d := range types {
		cols := 10 + r.me
		whole := r.tensor(d, func(i int) float64 { return value(r.me, i/cols, i%cols) }, rows, cols)
		r.Comm.AllReduce(r.stream, fmt.Sprint("columns ", d), comm.Sum, whole.Columns(lo, hi))
		r.want(whole, func(i int) float64 {
			row, col := i/cols, i%cols
			if col < lo || col >= hi {
				return value(r.me, row, col)
			}
			return sumOver(r.n, func(q int) float64 { return value(q, row, col) })
		})
	}
}

func allReduceMax(r *rank) {
	for _, d := range types {
		at := func(q, i int) float64 {
			if d != tensor.I32 && i == 3 && q == r.n/2 {
				return math.NaN()
			}
			return value(q, 0, i)
		}
		x := r.tensor(d, func(i int) float64 { return at(r.me, i) }, 100)
		r.Comm.AllReduce(r.stream, "max", comm.Max, x)
		r.want(x, func(i int) float64 {
			m := at(0, i)
			for q := 1; q < r.n; q++ {
				m = math.Max(m, at(q, i)) // NaN if either is
			}
			return m
		})
	}
}

// owned is how many parts, and how long ones, rank q owns: ranks differ.
func owned(q int) []int { return []int{100 + q, 3 * q, 257}[:1+q%3] }

func reduceScatter(r *rank) {
	for _, d := range types {
		send := make([][]tensor.Tensor, r.n)
		for q := range send {
			for p, n := range owned(q) {
				send[q] = append(send[q], r.tensor(d, func(i int) float64 { return value(r.me, q+p, i) }, n))
			}
		}
		var recv []tensor.Tensor
		for _, n := range owned(r.me) {
			recv = append(recv, r.tensor(d, func(int) float64 { return 0 }, n))
		}
		r.Comm.ReduceScatter(r.stream, "scatter", send, recv)
		for p := range recv {
			r.want(recv[p], func(i int) float64 {
				return sumOver(r.n, func(q int) float64 { return value(q, r.me+p, i) })
			})
		}
		for q := range send { // what is sent stays
			r.want(send[q][0], func(i int) float64 { return value(r.me, q, i) })
		}
	}
}

// reduceScatterAliased reduces rows of one matrix in place, as a sharded optimizer does with its gradients.
func reduceScatterAliased(r *rank) {
	const rows, cols = 5, 129
	whole := r.tensor(tensor.F32, func(i int) float64 { return value(r.me, i/cols, i) }, rows*r.n, cols)
	send := make([][]tensor.Tensor, r.n)
	for q := range send {
		send[q] = []tensor.Tensor{whole.Slice(q*rows, (q+1)*rows)}
	}
	r.Comm.ReduceScatter(r.stream, "in place", send, send[r.me])
	r.want(whole, func(i int) float64 {
		if i/cols/rows == r.me {
			return sumOver(r.n, func(q int) float64 { return value(q, i/cols, i) })
		}
		return value(r.me, i/cols, i)
	})
}

func allGather(r *rank) {
	for _, d := range types {
		var send []tensor.Tensor
		for p, n := range owned(r.me) {
			send = append(send, r.tensor(d, func(i int) float64 { return value(r.me, p, i) }, n))
		}
		recv := make([][]tensor.Tensor, r.n)
		for q := range recv {
			for _, n := range owned(q) {
				recv[q] = append(recv[q], r.tensor(d, func(int) float64 { return 0 }, n))
			}
		}
		r.Comm.AllGather(r.stream, "gather", send, recv)
		for q := range recv {
			for p := range recv[q] {
				r.want(recv[q][p], func(i int) float64 { return value(q, p, i) })
			}
		}
	}
}

// allGatherAliased gathers column blocks of one matrix in place.
func allGatherAliased(r *rank) {
	const rows, cols = 21, 4
	whole := r.tensor(tensor.F32, func(i int) float64 { return -1 }, rows, cols*r.n)
	recv := make([][]tensor.Tensor, r.n)
	for q := range recv {
		recv[q] = []tensor.Tensor{whole.Columns(q*cols, (q+1)*cols)}
	}
	r.set(recv[r.me][0], func(i int) float64 { return value(r.me, 0, i) })
	r.Comm.AllGather(r.stream, "in place", recv[r.me], recv)
	r.want(whole, func(i int) float64 {
		row, col := i/(cols*r.n), i%(cols*r.n)
		return value(col/cols, 0, row*cols+col%cols)
	})
}

// piece is how much goes from a to b; nothing where it is 0.
func piece(a, b int) int { return (a*3 + b*5) % 4 * (100 + a) }

func allToAll(r *rank) {
	for _, d := range types {
		send, recv := make([]tensor.Tensor, r.n), make([]tensor.Tensor, r.n)
		for q := range r.n {
			if n := piece(r.me, q); n > 0 {
				send[q] = r.tensor(d, func(i int) float64 { return value(r.me, q, i) }, n)
			}
			if n := piece(q, r.me); n > 0 {
				recv[q] = r.tensor(d, func(int) float64 { return 0 }, n)
			}
		}
		r.Comm.AllToAll(r.stream, "exchange", send, recv)
		for q, t := range recv {
			if t.Present() {
				r.want(t, func(i int) float64 { return value(q, r.me, i) })
			}
		}
	}
}

func broadcast(r *rank) {
	for root := range r.n {
		for _, d := range types {
			const rows, cols = 9, 14
			a := r.tensor(d, func(i int) float64 { return value(r.me, 0, i) }, 1025)
			b := r.tensor(d, func(i int) float64 { return value(r.me, 1, i) }, rows, cols)
			r.Comm.Broadcast(r.stream, "spread", root, a, b.Columns(2, 9))
			r.want(a, func(i int) float64 { return value(root, 0, i) })
			r.want(b, func(i int) float64 {
				if col := i % cols; col < 2 || col >= 9 {
					return value(r.me, 1, i)
				}
				return value(root, 1, i)
			})
		}
	}
}

// messages sends from every rank to every other, three times; the number of the message is in its values.
func messages(r *rank) {
	for from := range r.n {
		for to := range r.n {
			if from == to {
				continue
			}
			for k := range 3 {
				at := func(i int) float64 { return value(from*r.n+to, k, i) }
				switch r.me {
				case from:
					r.Comm.Send(r.stream, "send", to, r.tensor(tensor.F32, at, 333), r.tensor(tensor.I32, at, 2, 5))
				case to:
					a, b := r.tensor(tensor.F32, value0, 333), r.tensor(tensor.I32, value0, 2, 5)
					r.Comm.Recv(r.stream, "receive", from, a, b)
					r.want(a, at)
					r.want(b, at)
				}
			}
		}
	}
}

func value0(int) float64 { return 0 }

// streamOrder enqueues everything before it waits: a fill, a sum, a copy on the host, a sum.
func streamOrder(r *rank) {
	x := r.tensor(tensor.F32, value0, 1000)
	seen := make([]byte, x.Bytes())
	ones := make([]byte, x.Bytes())
	for i := range x.Len() {
		encode(ones[4*i:], tensor.F32, 1)
	}
	r.stream.Upload(x, ones)
	r.Comm.AllReduce(r.stream, "first", comm.Sum, x)
	r.stream.Download(seen, x)
	r.Comm.AllReduce(r.stream, "second", comm.Sum, x)
	r.want(x, func(int) float64 { return float64(r.n * r.n) })
	if got := decode(seen, tensor.F32); got != float64(r.n) {
		r.errorf("between the sums the value was %v, want %d", got, r.n)
	}
}

// twoStreams has every rank enqueue calls in two streams in turn. Odd ranks hold the first stream up: calls still meet
// as they were enqueued.
func twoStreams(r *rank) {
	other := r.Backend.NewStream("other")
	a := r.tensor(tensor.F32, func(i int) float64 { return 1 }, 500)
	b := r.tensor(tensor.F32, func(i int) float64 { return 2 }, 500)
	for range 5 {
		r.Comm.AllReduce(r.stream, "a", comm.Max, a)
		r.Comm.AllReduce(other, "b", comm.Max, b)
	}
	r.compare(r.getFrom(other, b), b, func(int) float64 { return 2 })
	r.want(a, func(int) float64 { return 1 })
}

// rankOrder sums numbers whose sum depends on the order, many times, and compares bits.
func rankOrder(r *rank) {
	at := func(q, i int) float32 {
		g := rand.New(rand.NewPCG(uint64(q), uint64(i)))
		return float32(math.Exp(20*g.Float64()-10) * (g.Float64() - 0.5))
	}
	const n = 3000
	want := make([]float64, n)
	for i := range want {
		s := at(0, i)
		for q := 1; q < r.n; q++ {
			s += at(q, i)
		}
		want[i] = float64(s)
	}
	x := r.tensor(tensor.F32, value0, n)
	for range 5 {
		r.set(x, func(i int) float64 { return float64(at(r.me, i)) })
		r.Comm.AllReduce(r.stream, "ordered", comm.Sum, x)
		r.want(x, func(i int) float64 { return want[i] })
	}
}
