package cpu

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// program is a random sequence of operations over a few tensors, spread over streams. Events order what touches the same
// tensor on different streams, and nothing else.
type program struct {
	streams []backend.Stream
	data    []tensor.Tensor
	wrote   []mark   // the last operation that wrote a tensor
	read    [][]mark // those that read it since, one a stream
	delays  *rand.Rand
}

// mark is an operation: the stream that it ran on, and an event that was recorded behind it.
type mark struct {
	stream int
	event  backend.Event
}

func newProgram(t *testing.T, b *Backend, streams, tensors int, delays uint64) *program {
	p := &program{wrote: make([]mark, tensors), read: make([][]mark, tensors)}
	if delays != 0 {
		p.delays = rand.New(rand.NewPCG(delays, 1))
	}
	for i := range streams {
		p.streams = append(p.streams, b.NewStream(fmt.Sprint("stream ", i)))
	}
	for i := range tensors {
		mem, err := b.Alloc("program", 4*300)
		if err != nil {
			t.Fatal(err)
		}
		x := tensor.New(mem, 0, tensor.F32, 3, 100)
		p.streams[0].Fill(x, float32(i))
		p.data, p.wrote[i].event, p.read[i] = append(p.data, x), b.NewEvent(), make([]mark, streams)
		p.streams[0].Record(p.wrote[i].event)
		for s := range streams {
			p.read[i][s] = mark{s, b.NewEvent()}
		}
	}
	return p
}

// need makes stream s wait for the operations elsewhere that used tensor i before: its writer, and for a write its readers.
func (p *program) need(s, i int, write bool) {
	if p.wrote[i].stream != s {
		p.streams[s].Wait(p.wrote[i].event)
	}
	for _, m := range p.read[i] {
		if write && m.stream != s {
			p.streams[s].Wait(m.event)
		}
	}
}

// pause makes a stream late, now and then, by as much as some operations take.
func (p *program) pause(s int) {
	if p.delays == nil || p.delays.IntN(3) != 0 {
		return
	}
	d := time.Duration(p.delays.IntN(200)) * time.Microsecond
	p.streams[s].Do("late", func() error { time.Sleep(d); return nil })
}

// step is y = 0.75 y + 0.5 x, or a host function that reads x and writes y, on stream s.
func (p *program) step(s, y, x int, host bool) {
	p.pause(s)
	p.need(s, x, false)
	p.need(s, y, true)
	if st := p.streams[s]; host {
		to, from := p.data[y], p.data[x]
		st.Do("host", func() error {
			for i, v := range from.F32() {
				to.F32()[i] -= 0.25 * v
			}
			return nil
		})
	} else {
		st.Scale(p.data[y], 0.75)
		st.Axpy(p.data[y], p.data[x], 0.5)
	}
	p.streams[s].Record(p.read[x][s].event)
	p.wrote[y].stream = s
	p.streams[s].Record(p.wrote[y].event)
}

func (p *program) run(t *testing.T, seed uint64, steps int) (result []float32) {
	rng := rand.New(rand.NewPCG(seed, 2))
	for range steps {
		s, y := rng.IntN(len(p.streams)), rng.IntN(len(p.data))
		x := (y + 1 + rng.IntN(len(p.data)-1)) % len(p.data)
		p.step(s, y, x, rng.IntN(3) == 0)
	}
	for _, s := range p.streams {
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range p.data {
		result = append(result, x.F32()...)
	}
	return result
}

// TestDelaysNeverChangeResults runs random programs on streams that are late at random: a missing order would change the
// result, and the race detector would see it. Portable loops, because it cannot look into assembler.
func TestDelaysNeverChangeResults(t *testing.T) {
	programs := 12
	if testing.Short() {
		programs = 4
	}
	for workers := 1; workers <= 3; workers++ {
		for seed := range uint64(programs) {
			var want []float32
			for delays := range uint64(4) { // the first time without
				b := New(Options{Workers: workers, Level: "portable"})
				p := newProgram(t, b, 3, 6, delays)
				got := p.run(t, seed, 120)
				if delays == 0 {
					want = got
				} else if !slices.Equal(got, want) {
					t.Fatalf("%d workers, program %d: delays %d change the result", workers, seed, delays)
				}
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestWaitingCostsNoProcessorTime: streams without work, and workers that wait for one of them in a long Do, for another
// stream's event, or for room in the queue, are parked. 8 ranks with two streams of two workers each wait for 200 ms, again
// and again until they used next to nothing three times in a row: a single worker that spun would use all of it, or its share on
// a machine with other work, where parking may take long too.
func TestWaitingCostsNoProcessorTime(t *testing.T) {
	const ranks, duration, tries = 8, 200 * time.Millisecond, 25
	var streams []backend.Stream
	release := make(chan struct{})
	for range ranks {
		b, compute := open(t, 2)
		traffic, idle, e := b.NewStream("communication"), b.NewStream("idle"), b.NewEvent()
		traffic.Do("wait for a peer", func() error { <-release; return nil })
		traffic.Record(e)
		compute.Wait(e)
		compute.Do("after", func() error { return nil })
		streams = append(streams, compute, traffic, idle)
	}
	time.Sleep(20 * time.Millisecond) // until all have parked
	quiet, used := 0, duration
	for try := 0; try < tries && quiet < 3; try++ {
		before := processorTime(t)
		time.Sleep(duration)
		if used = processorTime(t) - before; used < duration/20 {
			quiet++
		} else {
			quiet = 0
		}
	}
	close(release)
	for _, s := range streams {
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if quiet < 3 {
		t.Errorf("%d ranks that only wait used %v of processor time in the last of %d times %v", ranks, used, tries, duration)
	}
}

// TestAFailedStreamStillOpensItsEvents: what waits for a stream that failed goes on, and has no error of its own.
func TestAFailedStreamStillOpensItsEvents(t *testing.T) {
	for workers := 1; workers <= 3; workers++ {
		b, first := open(t, workers)
		second, e, broken := b.NewStream("second"), b.NewEvent(), errors.New("broken on purpose")
		first.Do("fail", func() error { return broken })
		first.Record(e)
		second.Wait(e)
		ran := false
		second.Do("go on", func() error { ran = true; return nil })
		if err := second.Sync(); err != nil || !ran {
			t.Errorf("%d workers: the waiting stream: %v, ran %v", workers, err, ran)
		}
		if err := first.Sync(); !errors.Is(err, broken) {
			t.Errorf("%d workers: the failed stream: %v", workers, err)
		}
	}
}
