//go:build mpi

package mpi

// flowing makes a run for up to so many messages, and an empty list for them.
func (c *call) flowing(messages int) (*run, error) {
	each := window
	for _, list := range [2][]flat{c.in, c.out} {
		for i := range list {
			each = max(each, c.m.w.cut.pieces(list[i].n))
		}
	}
	r, err := c.begin(each * max(messages, 1))
	if err == nil {
		r.room.streams = r.room.streams[:0]
	}
	return r, err
}

func (r *run) add(send bool, peer int, l label, f *flat, lo, hi int) {
	switch {
	case lo >= hi:
	case r.m.near(peer, hi-lo):
		r.short(send, peer, l, f, lo, hi)
	default:
		z := r.w.cut
		r.room.streams = append(r.room.streams, stream{send: send, peer: peer, tag: r.w.tagOf(l), data: f, lo: lo, hi: hi, piece: z.of(hi - lo), window: z.pieces(hi - lo)})
	}
}

// short is add of a message that goes through a lane.
func (r *run) short(send bool, peer int, l label, f *flat, lo, hi int) {
	if send {
		r.call.say(peer, l, f, lo, hi-lo)
		return
	}
	if r.listed {
		r.w.mu.Lock()
		defer r.w.mu.Unlock()
	}
	r.call.expect(peer, l, f, lo, hi-lo)
	r.left[0]++
}

// flowAll carries what was added, and waits for it.
func (r *run) flowAll() error {
	r.flow(r.room.streams)
	err := r.wait(0)
	r.room.streams = r.room.streams[:0]
	return err
}

// allGather collects everyone's in[0] in out[q].
func (c *call) allGather() (*run, error) {
	me, n := c.m.index, c.m.Size()
	c.signLists(c.out)
	r, err := c.flowing(2 * (n - 1))
	if err != nil {
		return nil, err
	}
	for d := 1; d < n; d++ {
		from, to := (me+n-d)%n, (me+d)%n
		r.add(false, from, c.label(0), &c.out[from], 0, c.out[from].n)
		r.add(true, to, c.label(0), &c.in[0], 0, c.in[0].n)
	}
	c.out[me].copyFrom(&c.in[0])
	r.flow(r.room.streams)
	return r, nil
}

// allToAll sends in[q] to rank q and gets out[q] from it.
func (c *call) allToAll() (*run, error) {
	me, n := c.m.index, c.m.Size()
	r, err := c.flowing(2 * (n - 1))
	if err != nil {
		return nil, err
	}
	for d := 1; d < n; d++ {
		from, to := (me+n-d)%n, (me+d)%n
		c.sign(c.out[from].n)
		r.add(false, from, c.label(0), &c.out[from], 0, c.out[from].n)
		c.sign(c.in[to].n)
		r.add(true, to, c.label(0), &c.in[to], 0, c.in[to].n)
	}
	c.out[me].copyFrom(&c.in[me])
	r.flow(r.room.streams)
	return r, nil
}

// broadcast: short messages go down a binomial tree; of long ones root gives every rank a share, and all exchange shares.
func (c *call) broadcast() (*run, error) {
	f, me, n := &c.in[0], c.m.index, c.m.Size()
	c.sign(f.n)
	r, err := c.flowing(2 * n)
	if err != nil {
		return nil, err
	}
	defer r.end()
	if n == 2 || f.n <= 64<<10 {
		return nil, r.tree(c, f)
	}
	shares := cut(r.room.shares[:0], f, n)
	r.room.shares = shares
	for q, s := range shares {
		switch {
		case me == c.root && q != me:
			r.add(true, q, c.label(0), f, s.lo, s.hi)
		case me != c.root && q == me:
			r.add(false, c.root, c.label(0), f, s.lo, s.hi)
		}
	}
	if err := r.flowAll(); err != nil {
		return nil, err
	}
	for d := 1; d < n; d++ {
		from, to := (me+n-d)%n, (me+d)%n
		if me != c.root {
			r.add(false, from, c.label(1), f, shares[from].lo, shares[from].hi)
		}
		if to != c.root {
			r.add(true, to, c.label(1), f, shares[me].lo, shares[me].hi)
		}
	}
	return nil, r.flowAll()
}

// tree passes f on from root: in ranks counted from root, rank v gets it from v without its lowest bit.
func (r *run) tree(c *call, f *flat) error {
	n := c.m.Size()
	v := (c.m.index - c.root + n) % n
	rank := func(v int) int { return (v + c.root) % n }
	low := v & -v
	if v != 0 {
		r.add(false, rank(v-low), c.label(0), f, 0, f.n)
		if err := r.flowAll(); err != nil {
			return err
		}
	} else {
		for low = 1; low < n; {
			low *= 2
		}
	}
	for b := low / 2; b > 0; b /= 2 {
		if v+b < n {
			r.add(true, rank(v+b), c.label(0), f, 0, f.n)
		}
	}
	return r.flowAll()
}

// exchange carries all messages of the call.
func (c *call) exchange() (*run, error) {
	r, err := c.flowing(len(c.messages))
	if err != nil {
		return nil, err
	}
	for i, x := range c.messages {
		r.add(x.send, x.peer, x.label(c.in[i].n), &c.in[i], 0, c.in[i].n)
	}
	r.flow(r.room.streams)
	return r, nil
}
