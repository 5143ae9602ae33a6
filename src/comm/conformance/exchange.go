package conformance

import (
	"cambium/src/comm"
	"cambium/src/tensor"
)

// ring is the values of message k from rank a.
func ring(a, k int) func(i int) float64 { return func(i int) float64 { return value(a, k, i) } }

// exchangeRing has all ranks send to both neighbours at once, several messages each. In a world of two both neighbours are
// the same rank; all messages of the pair match in the order of the lists.
func exchangeRing(r *rank) {
	if r.n == 1 {
		r.Comm.Exchange(r.stream, "nothing")
		return
	}
	next, before := (r.me+1)%r.n, (r.me+r.n-1)%r.n
	for _, d := range types {
		for _, n := range []int{1, 1000, 70000} {
			var in []tensor.Tensor
			for range 4 {
				in = append(in, r.tensor(d, value0, n))
			}
			out := func(k int) tensor.Tensor { return r.tensor(d, ring(r.me, k), n) }
			r.Comm.Exchange(r.stream, "ring",
				comm.Message{Peer: next, Send: true, Parts: []tensor.Tensor{out(0)}},
				comm.Message{Peer: before, Parts: in[:1]},
				comm.Message{Peer: next, Send: true, Parts: []tensor.Tensor{out(1)}},
				comm.Message{Peer: before, Parts: in[1:2]},
				comm.Message{Peer: before, Send: true, Parts: []tensor.Tensor{out(2), out(3)}},
				comm.Message{Peer: next, Parts: in[2:4]})
			r.want(in[0], ring(before, 0))
			r.want(in[1], ring(before, 1))
			r.want(in[2], ring(next, 2))
			r.want(in[3], ring(next, 3))
		}
	}
}

// exchangeMixed has even ranks use Exchange where odd ones use Send and Recv, and the other way round.
func exchangeMixed(r *rank) {
	peer := r.me ^ 1
	if peer >= r.n {
		return
	}
	const count = 333
	for round := range 4 {
		a, b, c := r.tensor(tensor.F32, value0, count), r.tensor(tensor.F32, value0, count), r.tensor(tensor.I32, value0, 7)
		mine := r.tensor(tensor.F32, ring(r.me, 10+round), count)
		list := []tensor.Tensor{r.tensor(tensor.F32, ring(r.me, round), count), r.tensor(tensor.I32, ring(r.me, round), 7)}
		switch {
		case (round+r.me)%2 == 0:
			r.Comm.Exchange(r.stream, "both",
				comm.Message{Peer: peer, Send: true, Parts: []tensor.Tensor{mine}},
				comm.Message{Peer: peer, Send: true, Parts: list},
				comm.Message{Peer: peer, Parts: []tensor.Tensor{a}},
				comm.Message{Peer: peer, Parts: []tensor.Tensor{b, c}})
		default: // receives first: the peer's sends do not wait for its receives
			r.Comm.Recv(r.stream, "first", peer, a)
			r.Comm.Recv(r.stream, "second", peer, b, c)
			r.Comm.Send(r.stream, "first", peer, mine)
			r.Comm.Send(r.stream, "second", peer, list...)
		}
		r.want(a, ring(peer, 10+round))
		r.want(b, ring(peer, round))
		r.want(c, ring(peer, round))
	}
}

// exchangeStrided moves blocks of columns of matrices whose row distances differ from rank to rank, and zero rows.
func exchangeStrided(r *rank) {
	if r.n == 1 {
		return
	}
	const rows, lo, hi = 301, 3, 260
	next, before := (r.me+1)%r.n, (r.me+r.n-1)%r.n
	for _, d := range types {
		cols := 262 + r.me
		in := r.tensor(d, func(int) float64 { return -7 }, rows, cols)
		out := r.tensor(d, func(i int) float64 { return value(r.me, i/cols, i%cols) }, rows, cols)
		r.Comm.Exchange(r.stream, "columns",
			comm.Message{Peer: before, Parts: []tensor.Tensor{in.Columns(lo, hi), in.Columns(lo, hi).Slice(0, 0)}},
			comm.Message{Peer: next, Send: true, Parts: []tensor.Tensor{out.Columns(lo, hi), out.Columns(lo, hi).Slice(0, 0)}})
		r.want(in, func(i int) float64 {
			row, col := i/cols, i%cols
			if col < lo || col >= hi {
				return -7
			}
			return value(before, row, col)
		})
	}
}

// exchangeChain has rank 0 exchange with 1 and 2 together, while rank 1 comes to it only after rank 2 has been served.
func exchangeChain(r *rank) {
	if r.n < 3 || r.me > 2 {
		return
	}
	x := func(from, to int) tensor.Tensor { return r.tensor(tensor.F32, ring(from, to), 50000) }
	empty := func() tensor.Tensor { return r.tensor(tensor.F32, value0, 50000) }
	switch r.me {
	case 0:
		a, b := empty(), empty()
		r.Comm.Exchange(r.stream, "centre",
			comm.Message{Peer: 1, Parts: []tensor.Tensor{a}},
			comm.Message{Peer: 1, Send: true, Parts: []tensor.Tensor{x(0, 1)}},
			comm.Message{Peer: 2, Parts: []tensor.Tensor{b}})
		r.want(a, ring(1, 0))
		r.want(b, ring(2, 0))
	case 1:
		token, a := empty(), empty()
		r.Comm.Recv(r.stream, "token", 2, token)
		r.Comm.Send(r.stream, "late", 0, x(1, 0))
		r.Comm.Recv(r.stream, "late", 0, a)
		r.want(token, ring(2, 1))
		r.want(a, ring(0, 1))
	case 2:
		r.Comm.Send(r.stream, "served", 0, x(2, 0))
		r.Comm.Send(r.stream, "token", 1, x(2, 1))
	}
}
