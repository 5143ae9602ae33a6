//go:build mpi

package mpi_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"testing"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/comm"
	commpi "cambium/src/comm/mpi"
	"cambium/src/tensor"
)

// rig is this process's rank in a fresh world, with a stream.
type rig struct {
	t      *testing.T
	w      *commpi.World
	c      comm.Communicator
	me, n  int
	b      backend.Backend
	stream backend.Stream
}

// newRig skips where one rank is alone.
func newRig(t *testing.T, o commpi.Options) *rig {
	w := world(t, o)
	r := &rig{t: t, w: w, c: w.Comm(), n: w.Size(), b: cpu.New(cpu.Options{Workers: 1})}
	r.me, r.stream = r.c.Rank(), r.b.NewStream("test")
	t.Cleanup(func() { _ = r.b.Close() })
	if r.n == 1 {
		t.Skip("one rank alone")
	}
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// numbers is a vector of int32 that counts from first on; of -1 where first is negative.
func (r *rig) numbers(n, first int) tensor.Tensor {
	mem := &tensor.Memory{Host: make([]byte, 4*n), Bytes: 4 * n}
	for i := range n {
		binary.LittleEndian.PutUint32(mem.Host[4*i:], uint32(max(first+i, -1)))
		if first < 0 {
			binary.LittleEndian.PutUint32(mem.Host[4*i:], 1<<32-1)
		}
	}
	return tensor.New(mem, 0, tensor.I32, n)
}

func (r *rig) want(x tensor.Tensor, at func(i int) int) {
	r.t.Helper()
	for i, v := range x.I32() {
		if int(v) != at(i) {
			r.t.Fatalf("rank %d: element %d of %d is %d, want %d", r.me, i, x.Len(), v, at(i))
		}
	}
}

// worlds runs a test where all ranks share memory, where pairs do, and where none do.
func worlds(t *testing.T, f func(r *rig)) {
	for _, neighbours := range []int{0, 2, 1} {
		t.Run(fmt.Sprint(neighbours), func(t *testing.T) { f(newRig(t, commpi.Options{Neighbours: neighbours})) })
	}
}

// TestMoreMessagesWaitThanALaneHasSlots has every rank send a hundred messages to the next one, which receives them when all have
// gone: what found no slot went by MPI.
func TestMoreMessagesWaitThanALaneHasSlots(t *testing.T) {
	worlds(t, func(r *rig) {
		next, before := (r.me+1)%r.n, (r.me+r.n-1)%r.n
		for k := range 100 {
			r.c.Send(r.stream, "ahead", next, r.numbers(50+k, 1000*r.me+k))
		}
		r.must(r.stream.Sync())
		r.must(r.c.Barrier("all sent"))
		var got []tensor.Tensor
		for k := range 100 {
			got = append(got, r.numbers(50+k, -1))
			r.c.Recv(r.stream, "late", before, got[k])
		}
		r.must(r.stream.Sync())
		for k, x := range got {
			r.want(x, func(i int) int { return 1000*before + k + i })
		}
	})
}

// TestSlotsAreUsedAgain makes many calls of lengths around a head's, a slot's and the longest that is only copied.
func TestSlotsAreUsedAgain(t *testing.T) {
	worlds(t, func(r *rig) {
		for round := range 200 {
			n := []int{1, 11, 12, 13, 250, 1024, 2048, 2049, 4096, 4097}[round%10]
			x := r.numbers(n, round+r.me)
			r.c.AllReduce(r.stream, "sum", comm.Sum, x)
			r.must(r.stream.Sync())
			r.want(x, func(i int) int { return r.n*(round+i) + r.n*(r.n-1)/2 })
			all := make([][]tensor.Tensor, r.n)
			for q := range all {
				all[q] = []tensor.Tensor{r.numbers(n, -1)}
			}
			r.c.AllGather(r.stream, "gather", []tensor.Tensor{r.numbers(n, round*r.me)}, all)
			r.must(r.stream.Sync())
			for q := range all {
				r.want(all[q][0], func(i int) int { return round*q + i })
			}
		}
	})
}

// unequal is how many numbers rank a sends rank b: some through a lane, some by MPI, some nothing.
func unequal(a, b, round int) int { return []int{0, 3, 700, 2048, 2049, 30000}[(a*5+b*3+round)%6] }

// TestAllToAllOfUnequalParts mixes lengths in one call, so that one rank has short parts only where another has not.
func TestAllToAllOfUnequalParts(t *testing.T) {
	worlds(t, func(r *rig) {
		for round := range 12 {
			in, out := make([]tensor.Tensor, r.n), make([]tensor.Tensor, r.n)
			for q := range r.n {
				if n := unequal(r.me, q, round); n > 0 {
					in[q] = r.numbers(n, 100*r.me+q)
				}
				if n := unequal(q, r.me, round); n > 0 {
					out[q] = r.numbers(n, -1)
				}
			}
			r.c.AllToAll(r.stream, "parts", in, out)
			r.must(r.stream.Sync())
			for q, x := range out {
				if x.Present() {
					r.want(x, func(i int) int { return 100*q + r.me + i })
				}
			}
		}
	})
}

// TestGroupsOfTheSameRanksDoNotMix has two groups of all ranks and pairs of neighbours make calls with the same numbers in two
// streams, of which one is late, another one on every second rank.
func TestGroupsOfTheSameRanksDoNotMix(t *testing.T) {
	worlds(t, func(r *rig) {
		a, err := r.c.Split("a", 0, r.me)
		r.must(err)
		b, err := r.c.Split("b", 0, -r.me)
		r.must(err)
		pair, err := r.c.Split("pair", r.me/2, r.me)
		r.must(err)
		streams := []backend.Stream{r.stream, r.b.NewStream("other")}
		late := make(chan struct{})
		streams[r.me%2].Do("late", func() error { <-late; return nil })
		var sums [3][]tensor.Tensor
		for k := range 30 {
			for g, c := range []comm.Communicator{a, b, pair} {
				x := r.numbers(20, 1000*g+k)
				sums[g] = append(sums[g], x)
				c.AllReduce(streams[(g+k)%2], "sum", comm.Sum, x)
			}
		}
		close(late)
		for _, s := range streams {
			r.must(s.Sync())
		}
		for g, list := range sums {
			size := []int{r.n, r.n, pair.Size()}[g]
			for k, x := range list {
				r.want(x, func(i int) int { return size * (1000*g + k + i) })
			}
		}
	})
}

// TestGroupsAreFreed makes more groups than an MPI has room for, and counts those that live.
func TestGroupsAreFreed(t *testing.T) {
	r := newRig(t, commpi.Options{})
	before := r.w.Groups()
	rounds := 2100 // MPICH has room for about 2000
	if r.n > 2 {
		rounds = 100
	}
	for round := range rounds {
		g, err := r.c.Split("group", (r.me+round)%2, r.me)
		r.must(err)
		x := r.numbers(5, round)
		g.AllReduce(r.stream, "sum", comm.Sum, x)
		if r.w.Groups() != before+1 {
			t.Fatalf("round %d: %d communicators live, want %d", round, r.w.Groups(), before+1)
		}
		r.must(comm.Free(g)) // waits for the sum
		r.want(x, func(i int) int { return g.Size() * (round + i) })
	}
	if after := r.w.Groups(); after != before {
		t.Errorf("%d communicators live, want %d", after, before)
	}
	r.must(comm.Free(r.c)) // the world's stays
	r.must(r.c.Barrier("still there"))
}

// TestClosedWorldsLeaveNothing counts files and mappings of shared memory.
func TestClosedWorldsLeaveNothing(t *testing.T) {
	mapped := func() int {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Skip(err)
		}
		return bytes.Count(maps, []byte("/dev/shm/cambium-"))
	}
	before := mapped()
	r := newRig(t, commpi.Options{})
	if mapped() != before+1 {
		t.Errorf("%d mappings of shared memory, want %d", mapped(), before+1)
	}
	r.must(r.c.Barrier("all are there"))
	r.must(r.c.Barrier("the first has removed the file"))
	if maps, _ := os.ReadFile("/proc/self/maps"); !regexp.MustCompile(`/dev/shm/cambium-.*\(deleted\)`).Match(maps) {
		t.Error("the file of the shared memory can still be found")
	}
	r.w.Close()
	if r.w.Groups() != 1 || mapped() != before {
		t.Errorf("after Close %d communicators live, with %d mappings: want none, and %d", r.w.Groups()-1, mapped(), before)
	}
}
