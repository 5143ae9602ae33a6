//go:build mpi

package mpi

import (
	"cambium/src/comm"
	"cambium/src/tensor"
)

// share is the bytes of f that one rank sums, or has.
type share struct {
	f      *flat
	lo, hi int
}

// part is the k-th piece of so many bytes.
func (s share) part(k, bytes int) (lo, hi int) {
	lo = min(s.lo+k*bytes, s.hi)
	return lo, min(lo+bytes, s.hi)
}

// A sum goes in pieces, so that the next one is on the way while one is added up. A rank receives pieceBytes at a time from all
// others together, twice; a piece from one rank is at least leastPiece long.
const (
	pieceBytes = 8 << 20
	leastPiece = 256 << 10
)

// piece is what one rank of n sends another at a time in a sum.
func piece(n int) int { return max(pieceBytes/n&^(align-1), leastPiece) }

// smallBytes is up to where a sum goes from all to all at once: it counts what one rank receives.
const smallBytes = 64 << 10

// generations of transfers in sums: two pieces of the reduce-scatter, two of the all-gather.
const (
	scatterGen = 0
	gatherGen  = 2
)

// allReduceWork is how in[0] is combined over all ranks, in place.
func (c *call) allReduceWork() work {
	n := c.m.Size()
	switch {
	case n == 1 || c.in[0].n == 0:
		return work{first: (*call).nothing, brief: true}
	case c.quick(c.in[0].n, c.m.w.board.limit):
		return work{(*call).allReduceQuick, (*call).addQuick, true}
	case (n-1)*c.in[0].n > smallBytes:
		return work{first: (*call).allReduceLarge}
	case n > c.m.w.few:
		return work{first: (*call).allReduceMany}
	}
	return work{(*call).allReduceSmall, (*call).addAll, true}
}

func (c *call) nothing() (*run, error) { return nil, nil }

// allReduceLarge has every rank sum its share, and all exchange the sums.
func (c *call) allReduceLarge() (*run, error) {
	f, n := &c.in[0], c.m.Size()
	c.sign(f.n)
	r, err := c.begin(8 * (n - 1))
	if err != nil {
		return nil, err
	}
	defer r.end()
	shares := cut(r.room.shares[:0], f, n)
	r.room.shares = shares
	own := shares[c.m.index]
	err = r.scatter(c, shares, own, func(k int) error {
		gen := gatherGen + k%2
		if err := r.wait(gen); err != nil {
			return err
		}
		r.spread(shares, k, gen, c.tag(1))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return nil, r.wait(gatherGen, gatherGen+1)
}

// cut gives every rank a share of f, of whole cache lines.
func cut(out []share, f *flat, n int) []share {
	per := ((f.n+n-1)/n + align - 1) / align * align
	for q := range n {
		out = append(out, share{f, min(q*per, f.n), min((q+1)*per, f.n)})
	}
	return out
}

// scatter has every rank sum its share, piece by piece: own.f gets the sums of this rank's. While a piece is summed the next
// one is on the way. After each piece, also those that only other ranks have, it calls then.
func (r *run) scatter(c *call, shares []share, own share, then func(k int) error) error {
	me, count, size := r.m.index, 0, piece(r.m.Size())
	for _, s := range shares {
		count = max(count, (s.hi-s.lo+size-1)/size)
	}
	most := min(own.hi-own.lo, size)
	stride := (most + align - 1) / align * align
	stage := r.room.take(max(2*len(shares)*stride, 1))
	defer func() { r.room.give(stage) }()
	slotOf := func(gen, q, n int) []byte { return stage[(gen*len(shares)+q)*stride:][:n] }
	post := func(k int) {
		gen, n := k%2, len(shares)
		for d := 1; d < n; d++ {
			from := (me + n - d) % n
			if lo, hi := shares[me].part(k, size); lo < hi {
				r.post(slot{peer: from, gen: scatterGen + gen}, c.tag(0), slotOf(gen, from, hi-lo))
			}
		}
		for d := 1; d < n; d++ {
			to := (me + d) % n
			if lo, hi := shares[to].part(k, size); lo < hi {
				r.move(true, scatterGen+gen, to, c.tag(0), shares[to].f, lo, hi, nil)
			}
		}
	}
	post(0)
	for k := range count {
		if k+1 < count {
			post(k + 1)
		}
		if err := r.wait(scatterGen + k%2); err != nil {
			return err
		}
		if lo, hi := shares[me].part(k, size); lo < hi {
			at, _ := own.part(k, size)
			r.room.sum(c, shares[me].f, lo, own.f, at, hi-lo, func(q int) []byte { return slotOf(k%2, q, hi-lo) })
		}
		if err := then(k); err != nil {
			return err
		}
	}
	return nil
}

// spread sends the k-th piece of this rank's share to all and receives theirs.
func (r *run) spread(shares []share, k, gen, tag int) {
	me, n, size := r.m.index, len(shares), piece(len(shares))
	for d := 1; d < n; d++ {
		from := (me + n - d) % n
		if lo, hi := shares[from].part(k, size); lo < hi {
			r.move(false, gen, from, tag, shares[from].f, lo, hi, nil)
		}
	}
	for d := 1; d < n; d++ {
		to := (me + d) % n
		if lo, hi := shares[me].part(k, size); lo < hi {
			r.move(true, gen, to, tag, shares[me].f, lo, hi, nil)
		}
	}
}

// allReduceSmall has everyone send everything to everyone: one step, and all add the same numbers in the same order.
func (c *call) allReduceSmall() (*run, error) {
	f := &c.in[0]
	r, err := c.begin(2 * c.m.Size() * c.m.w.cutSums.pieces(spanBytes(f.n)))
	if err != nil {
		return nil, err
	}
	c.offer(r, f.n, f, true)
	r.direct(c)
	return r, nil
}

// addAll adds what has come.
func (c *call) addAll(r *run) error {
	if err := c.check(r); err != nil {
		return err
	}
	f := &c.in[0]
	r.room.sum(c, f, 0, f, 0, f.n, c.blocks.of)
	r.room.give(c.blocks.all)
	return nil
}

// allReduceMany is allReduceSmall in a large group.
func (c *call) allReduceMany() (*run, error) {
	f := &c.in[0]
	r, err := c.begin(2 * c.m.Size())
	if err != nil {
		return nil, err
	}
	defer r.end()
	c.offer(r, f.n, f, false)
	if err := r.bruck(c); err != nil {
		return nil, err
	}
	return nil, c.addAll(r)
}

// reduceScatterWork is how what all ranks have for this one is summed. in[q] goes to rank q.
func (c *call) reduceScatterWork() work {
	most := mostBytes(c.in)
	if c.quick(most, c.m.w.board.limit) {
		return work{(*call).reduceScatterQuick, (*call).addMineQuick, true}
	}
	if most <= min(piece(len(c.in)), messageBytes) {
		return work{(*call).reduceScatterSmall, (*call).addMine, true}
	}
	return work{first: (*call).reduceScatterLarge}
}

// reduceScatterSmall gets everyone's at once.
func (c *call) reduceScatterSmall() (*run, error) {
	me, n := c.m.index, c.m.Size()
	c.signLists(c.in)
	pieces := 1
	for i := range c.in {
		pieces = max(pieces, c.m.w.cut.pieces(c.in[i].n))
	}
	r, err := c.begin(2 * n * pieces)
	if err != nil {
		return nil, err
	}
	bytes := c.out[0].n
	b := blocks{n: bytes, stride: (bytes + align - 1) / align * align}
	b.all = r.room.take(max(n*b.stride, 1))
	c.blocks = b
	for d := 1; d < n && bytes > 0; d++ {
		from := (me + n - d) % n
		r.cutPost(r.w.cut, slot{peer: from}, c.tag(0), b.all[from*b.stride:][:bytes])
	}
	for d := 1; d < n; d++ {
		to := (me + d) % n
		f := &c.in[to]
		step := r.w.cut.of(f.n)
		for lo := 0; lo < f.n; lo += step {
			r.move(true, 0, to, c.tag(0), f, lo, min(lo+step, f.n), nil)
		}
	}
	return r, nil
}

// addMine adds what has come for this rank.
func (c *call) addMine(r *run) error {
	b := &c.blocks
	if b.n > 0 {
		r.room.sum(c, &c.in[c.m.index], 0, &c.out[0], 0, b.n, func(q int) []byte { return b.all[q*b.stride:][:b.n] })
	}
	r.room.give(b.all)
	return nil
}

// reduceScatterLarge goes in pieces.
func (c *call) reduceScatterLarge() (*run, error) {
	n := c.m.Size()
	c.signLists(c.in)
	r, err := c.begin(8 * (n - 1))
	if err != nil {
		return nil, err
	}
	defer r.end()
	shares := r.room.shares[:0]
	for q := range n {
		shares = append(shares, share{&c.in[q], 0, c.in[q].n})
	}
	r.room.shares = shares
	return nil, r.scatter(c, shares, share{&c.out[0], 0, c.out[0].n}, func(int) error { return nil })
}

// sameRuns cuts lists into runs of one element type; the k-th runs of all lists go in one call. It calls f with the type of
// list mine, fp32 where that has ended.
func sameRuns(lists [][]tensor.Tensor, mine int, f func(run [][]tensor.Tensor, d tensor.DType)) {
	if d, one := oneType(lists); one { // the commonest
		f(lists, d)
		return
	}
	rest := append([][]tensor.Tensor(nil), lists...)
	for {
		run, d, left := make([][]tensor.Tensor, len(rest)), tensor.F32, false
		for q, list := range rest {
			k := 0
			for k < len(list) && list[k].DType() == list[0].DType() {
				k++
			}
			if q == mine && k > 0 {
				d = list[0].DType()
			}
			run[q], rest[q] = list[:k], list[k:]
			left = left || len(rest[q]) > 0
		}
		f(run, d)
		if !left {
			return
		}
	}
}

// oneType tells whether all tensors have one element type, and which.
func oneType(lists [][]tensor.Tensor) (d tensor.DType, one bool) {
	for _, list := range lists {
		for i := range list {
			switch t := list[i].DType(); {
			case !one:
				d, one = t, true
			case t != d:
				return d, false
			}
		}
	}
	return d, one
}

// combineHost combines float64 values of one rank more.
func combineHost(op comm.Op, acc, x []float64, first bool) {
	for i, v := range x {
		switch {
		case first:
			acc[i] = v
		case op == comm.Sum:
			acc[i] += v
		case v > acc[i] || v != v:
			acc[i] = v
		}
	}
}
