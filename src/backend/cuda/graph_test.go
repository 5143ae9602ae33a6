//go:build cuda

package cuda

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"unsafe"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// A chain of operations over a few tensors, with a scalar that may change, and in the middle whatever the caller wants.
func chain(s backend.Stream, p *products, alpha float32, middle func()) {
	backend.Gather(s)
	s.Fill(p.c, 0.25)
	s.Gemm(backend.Gemm{C: p.c, A: p.a, B: p.b, Alpha: alpha, Accumulate: true})
	s.Scale(p.c, 0.5)
	s.Axpy(p.c, p.a, -alpha)
	if middle != nil {
		middle()
	}
	s.Gemm(backend.Gemm{C: p.c, A: p.a, B: p.b, TransB: true, Accumulate: true})
	s.Axpy(p.c, p.b, 2)
	s.Scale(p.c, 3)
	s.Axpy(p.c, p.a, alpha)
	backend.HandOver(s)
}

// Runs that come again are graphs from the third time on; whatever changes, results are those of single launches.
func TestRunsThatComeAgainAreGraphs(t *testing.T) {
	type step struct {
		alpha    float32
		parted   bool
		captured int64 // graphs after the step
		replayed int64 // launches of graphs after it
	}
	steps := []step{
		{1, false, 0, 0}, {1, false, 1, 1}, {1, false, 1, 2}, {2, false, 1, 2}, {2, false, 2, 3}, {1, false, 2, 4}, {2, false, 2, 5}, {1, true, 2, 5}, {1, true, 4, 7}, {1, false, 4, 8},
	}
	results := func(graphs bool) (out [][]byte) {
		b := opened(gemmAuto)(t).(*gpu)
		defer b.Close()
		b.graphs = graphs
		p := newProducts(t, b)
		for i, x := range steps {
			var middle func()
			calls := 0
			if x.parted {
				middle = func() { p.s.Do("count", func() error { calls++; return nil }) }
			}
			chain(p.s, p, x.alpha, middle)
			host := make([]byte, p.c.Bytes())
			p.s.Download(host, p.c)
			if err := p.s.Sync(); err != nil {
				t.Fatal(err)
			}
			if x.parted != (calls == 1) {
				t.Errorf("step %d: the host function in the middle ran %d times", i, calls)
			}
			if c := &b.counts; graphs && (c.captured.Load() != x.captured || c.replayed.Load() != x.replayed || c.refused.Load() != 0) {
				t.Errorf("step %d: %d graphs, %d launches, %d refused: want %d, %d, 0", i, c.captured.Load(), c.replayed.Load(), c.refused.Load(), x.captured, x.replayed)
			}
			out = append(out, host)
		}
		return out
	}
	want, got := results(false), results(true)
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("step %d: other bits by graphs", i)
		}
	}
}

// An error skips a run, and a stream that was synchronised goes on with its graphs.
func TestAnErrorSkipsARun(t *testing.T) {
	b := opened(gemmAuto)(t).(*gpu)
	defer b.Close()
	p := newProducts(t, b)
	result := func() []byte {
		host := make([]byte, p.c.Bytes())
		chain(p.s, p, 1, nil)
		p.s.Download(host, p.c)
		if err := p.s.Sync(); err != nil {
			t.Fatal(err)
		}
		return host
	}
	want := result()
	result()
	p.s.Fill(p.c, 7)
	failure := errors.New("on purpose")
	p.s.Do("fail", func() error { return failure })
	chain(p.s, p, 1, nil)
	if err := p.s.Sync(); !errors.Is(err, failure) {
		t.Fatalf("Sync: %v, want %v", err, failure)
	}
	host := make([]byte, p.c.Bytes())
	p.s.Download(host, p.c)
	if err := p.s.Sync(); err != nil {
		t.Fatal(err)
	}
	if host[0] != 0 || host[3] != 0x40 { // 7 is 0x40e00000
		t.Errorf("a run ran behind an error: % x", host[:4])
	}
	if got := result(); !bytes.Equal(got, want) {
		t.Error("other bits after an error")
	}
}

// A stream forgets the run that it has not met for longest.
func TestOnlySoManyRunsAreRemembered(t *testing.T) {
	b := opened(gemmOwn)(t).(*gpu)
	defer b.Close()
	s := b.NewStream("test")
	m, err := b.Alloc("test", 4096)
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.New(m, 0, tensor.F32, 16)
	run := func(value int) {
		backend.Gather(s)
		for i := range minGraph {
			s.Fill(x, float32(value+i))
		}
		backend.HandOver(s)
	}
	for v := range maxGraphs + 10 {
		run(1000 * v)
		run(0) // stays
	}
	run(1000) // forgotten by now
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if c, r := b.counts.captured.Load(), b.counts.replayed.Load(); c != 1 || r != maxGraphs+10 {
		t.Errorf("%d graphs, %d launches: want 1 and %d", c, r, maxGraphs+10)
	}
	if n := len(s.(*stream).runs.known); n != maxGraphs {
		t.Errorf("%d runs are remembered, want %d", n, maxGraphs)
	}
}

// A run is known again whatever the stack had where its arguments have no field.
func TestArgumentsHaveNoStrayBytes(t *testing.T) {
	b := opened(gemmOwn)(t).(*gpu)
	defer b.Close()
	s := b.NewStream("test").(*stream)
	var dirty, clean op
	x := classifierArgs{}
	put(s, &clean, &x)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&x)), unsafe.Sizeof(x))
	used := make([]bool, len(bytes))
	mark(reflect.TypeFor[classifierArgs](), used)
	stray := 0
	for i, u := range used {
		if !u {
			bytes[i] = 0xa5
			stray++
		}
	}
	if put(s, &dirty, &x); stray == 0 || dirty.args != clean.args {
		t.Errorf("%d bytes between fields, and they came along: % x", stray, dirty.args[:len(bytes)])
	}
}
