//go:build mpi

package mpi

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestMain starts MPI: these tests run under mpirun, in all ranks alike. See launch_test.go.
func TestMain(m *testing.M) {
	env, err := InitThread(Serialized)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if code := m.Run(); code != 0 {
		Abort(code)
	}
	if err := env.Finalize(); err != nil || Initialized() {
		fmt.Fprintln(os.Stderr, "after Finalize:", err, Initialized())
		os.Exit(1)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T Type](t *testing.T, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func begin(t *testing.T) (c Comm, me, n int) {
	t.Helper()
	c, err := World()
	must(t, err)
	return c, c.Rank(), c.Size()
}

func TestTheLibraryIsKnown(t *testing.T) {
	if text := Library(); !strings.HasPrefix(text, "Open MPI ") && !strings.HasPrefix(text, "MPICH ") {
		t.Errorf("library %q", text)
	}
	if a := Wtime(); Wtime() < a || !Initialized() || TagLimit() < 32767 {
		t.Errorf("clock, state or tags up to %d", TagLimit())
	}
}

// collect is Allreduce of one number of a type: the types' codes are right.
func collect[T Type](t *testing.T, c Comm) {
	t.Helper()
	x := []T{T(c.Rank() + 1), 2}
	must(t, Allreduce(c, x, Sum))
	equal(t, x, T(c.Size()*(c.Size()+1)/2), T(2*c.Size()))
	x = []T{T(c.Rank() + 1)}
	must(t, Allreduce(c, x, Max))
	equal(t, x, T(c.Size()))
	must(t, Allreduce(c, x, Min))
	equal(t, x, T(c.Size()))
}

func TestCollectives(t *testing.T) {
	c, me, n := begin(t)
	must(t, c.Barrier())
	collect[uint16](t, c)
	collect[int32](t, c)
	collect[int64](t, c)
	collect[float32](t, c)
	collect[float64](t, c)
	b := []byte{byte(me), 7}
	must(t, Bcast(c, b, n-1))
	equal(t, b, byte(n-1), 7)

	all := make([]int32, n)
	must(t, Allgather(c, []int32{int32(10 * me)}, all))
	in, total := make([]int32, n), make([]int32, 1)
	for q := range n {
		if all[q] != int32(10*q) {
			t.Fatalf("gathered %v", all)
		}
		in[q] = int32(me + 100*q)
	}
	must(t, ReduceScatter(c, in, total, Sum))
	equal(t, total, int32(n*(n-1)/2+100*me*n))

	// rank q gives q + 1 elements
	counts, whole := make([]int, n), 0
	for q := range counts {
		counts[q] = q + 1
		whole += q + 1
	}
	mine, out := make([]float64, me+1), make([]float64, whole)
	for i := range mine {
		mine[i] = float64(me)
	}
	must(t, Allgatherv(c, mine, out, counts))
	at := 0
	for q := range n {
		for range q + 1 {
			if out[at] != float64(q) {
				t.Fatalf("gathered %v", out)
			}
			at++
		}
	}

	// every rank sends q + 1 elements to rank q
	send, recv, same := make([]int64, whole), make([]int64, n*(me+1)), make([]int, n)
	for i := range send {
		send[i] = int64(me)
	}
	for q := range same {
		same[q] = me + 1
	}
	must(t, Alltoallv(c, send, counts, recv, same))
	for i, x := range recv {
		if x != int64(i/(me+1)) {
			t.Fatalf("exchanged %v", recv)
		}
	}

	var root []uint16
	if me == 0 {
		root = make([]uint16, n)
	}
	must(t, Gather(c, []uint16{uint16(me)}, root, 0))
	for q, x := range root {
		if x != uint16(q) {
			t.Fatalf("gathered %v", root)
		}
	}
}

func TestMessages(t *testing.T) {
	c, me, n := begin(t)
	next, before := (me+1)%n, (me+n-1)%n
	in := make([]float32, 3)
	s, err := Sendrecv(c, []float32{float32(me), 1, 2}, next, 5, in, before, 5)
	must(t, err)
	equal(t, in, float32(before), 1, 2)
	if s.Source != before || s.Tag != 5 || s.Bytes != 12 {
		t.Errorf("status %+v", s)
	}
	r, err := Irecv(c, in, Any, Any)
	must(t, err)
	w, err := Isend(c, []float32{9, float32(me)}, next, 6)
	must(t, err)
	if s, err = r.Wait(); err != nil || s.Source != before || s.Tag != 6 || s.Bytes != 8 || in[1] != float32(before) {
		t.Errorf("%+v, %v, %v", s, err, in)
	}
	for done := false; !done; {
		_, done, err = w.Test()
		must(t, err)
	}
	never, err := Irecv(c, in, before, 77)
	must(t, err)
	if _, done, err := never.Test(); done || err != nil {
		t.Errorf("a receive that nobody sends to: %v, %v", done, err)
	}
	must(t, never.Cancel())
	if n == 1 {
		return
	}
	if me == 0 {
		must(t, Send(c, []byte("hello"), 1, 8))
	}
	if me == 1 {
		var found bool
		for !found {
			s, found, err = Iprobe(c, 0, Any)
			must(t, err)
		}
		text := make([]byte, s.Bytes)
		_, err = Recv(c, text, 0, s.Tag)
		must(t, err)
		if string(text) != "hello" {
			t.Errorf("received %q", text)
		}
	}
	must(t, c.Barrier())
}

func TestSplitOrdersByKey(t *testing.T) {
	c, me, n := begin(t)
	back, err := c.Split(0, -me)
	must(t, err)
	if back.Rank() != n-1-me || back.Size() != n {
		t.Errorf("rank %d of %d", back.Rank(), back.Size())
	}
	must(t, back.Free())
	color := -1
	if me == 0 {
		color = 0
	}
	alone, err := c.Split(color, 0)
	must(t, err)
	if (me == 0) != (alone.Size() == 1) || me > 0 && alone != (Comm{}) {
		t.Errorf("rank %d has a group of %d", me, alone.Size())
	}
	node, err := c.SplitNode()
	must(t, err)
	if node.Size() != n {
		t.Errorf("%d ranks on this node, want %d", node.Size(), n)
	}
	must(t, node.Free())
}

func TestErrorsNameCallAndPeer(t *testing.T) {
	c, me, n := begin(t)
	says := func(err error, words ...string) {
		t.Helper()
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, w)
			}
		}
	}
	says(Send(c, []byte{1}, n+41, 0), "MPI_Send", fmt.Sprint("rank ", n+41))
	_, err := Irecv(c, []byte{1}, n+1, 0)
	says(err, "MPI_Irecv", fmt.Sprint("rank ", n+1))
	says(Bcast(c, []byte{1}, n), "MPI_Bcast", fmt.Sprint("rank ", n))
	says(Allgather(c, []byte{1}, make([]byte, n+1)), "MPI_Allgather", fmt.Sprintf("%d elements for %d ranks", n+1, n))
	says(Alltoallv(c, []byte{1}, []int{1, 2, 3, 4, 5, 6, 7, 8, 9}, nil, nil), "MPI_Alltoallv")
	// a message that is too long for its receiver
	w, err := Isend(c, make([]int32, 4), me, 3)
	must(t, err)
	_, err = Recv(c, make([]int32, 2), me, 3)
	says(err, "MPI_Recv", fmt.Sprint("rank ", me))
	_, _ = w.Wait()
}

func TestABatchMovesManyMessages(t *testing.T) {
	for _, all := range []bool{false, true} {
		batchMoves(t, all)
	}
}

// batchMoves has every rank send all others, and itself, messages of several lengths.
func batchMoves(t *testing.T, all bool) {
	c, me, n := begin(t)
	const each = 5
	b := NewBatch(2 * n * each)
	defer b.Free()
	b.Use(c)
	in, out := make([][]byte, n*each), make([][]byte, n*each)
	for q := range n {
		for k := range each {
			i := q*each + k
			in[i], out[i] = make([]byte, 1+k*3000), slices.Repeat([]byte{byte(16*me + k)}, 1+k*3000)
			b.Add(2*i, false, in[i], q, k)
			b.Add(2*i+1, true, out[i], q, k)
		}
	}
	seen := make([]bool, 2*n*each)
	for b.Active() > 0 {
		done, err := b.Poll(10, all)
		must(t, err)
		if all && len(done) != 0 && len(done) != 2*n*each {
			t.Fatalf("%d of %d have ended: want none or all", len(done), 2*n*each)
		}
		for _, d := range done {
			i := d.Slot / 2
			if d.Err != nil || seen[d.Slot] || d.Slot%2 == 0 && (d.Bytes != len(in[i]) || d.Peer != i/each) {
				t.Fatalf("slot %d: %+v", d.Slot, d)
			}
			seen[d.Slot] = true
		}
	}
	for i, x := range in {
		if want := byte(16*(i/each) + i%each); x[0] != want || x[len(x)-1] != want {
			t.Errorf("message %d is of %d, want %d", i, x[0], want)
		}
	}
	b.Add(0, true, []byte{1}, n+3, 0)
	if _, err := b.Poll(1, false); err == nil || !strings.Contains(err.Error(), fmt.Sprint("MPI_Isend with rank ", n+3)) {
		t.Errorf("to nobody: %v", err)
	}
}
