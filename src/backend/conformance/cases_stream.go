package conformance

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// caseStream holds what Backend, Stream and Event promise: zeroed memory, order, errors, events, usage.
func caseStream(l *lab) {
	mem, err := l.b.Alloc("stream case", 4096)
	if err != nil {
		l.Fatal(err)
	}
	x := tensor.New(mem, 0, tensor.F32, 1024)
	host := slices.Repeat([]byte{255}, 4096)
	l.s.Download(host, x)
	l.sync(nil)
	if i := slices.IndexFunc(host, func(b byte) bool { return b != 0 }); i >= 0 {
		l.Errorf("Alloc: byte %d is %d: want zeroed memory", i, host[i])
	}
	if u := l.b.Usage(); u.ByLabel["stream case"] != 4096 || u.Current < 4096 || u.Peak < u.Current {
		l.Errorf("Usage after an Alloc of 4096 bytes: %+v", u)
	}

	l.order(x)
	l.gaps(x)
	l.failure(x)
	l.events(x)

	l.b.Free(mem)
	if u := l.b.Usage(); u.ByLabel["stream case"] != 0 || u.Peak < 4096 {
		l.Errorf("Usage after Free: %+v", u)
	}
	l.peaks()
	if l.b.Name() == "" || l.b.Workers() < 1 {
		l.Errorf("Name %q, Workers %d", l.b.Name(), l.b.Workers())
	}
}

// peaks: the peak of all memory and of every label, since the last reset; labels peak at different times.
func (l *lab) peaks() {
	base := l.b.Usage().Current
	take := func(label string, bytes int) *tensor.Memory {
		m, err := l.b.Alloc(label, bytes)
		if err != nil {
			l.Fatal(err)
		}
		return m
	}
	expect := func(when string, current, peak, old, new int) {
		l.Helper()
		u := l.b.Usage()
		if u.Current != base+current || u.Peak != base+peak || u.PeakByLabel["old"] != old || u.PeakByLabel["new"] != new {
			l.Errorf("%s: %+v, want %d bytes now and %d at most beside %d, %d of old, %d of new", when, u, current, peak, base, old, new)
		}
	}
	l.b.ResetPeak()
	expect("after a reset", 0, 0, 0, 0)
	a, b := take("old", 1000), take("old", 300)
	l.b.Free(b)
	c := take("new", 200)
	expect("three blocks", 1200, 1300, 1300, 200)
	l.b.Free(a)
	d := take("new", 700)
	expect("moved", 900, 1300, 1300, 900)
	l.b.ResetPeak()
	expect("after another reset", 900, 900, 0, 900)
	l.b.Free(d)
	l.b.Free(take("old", 50))
	expect("in the end", 200, 900, 50, 900)
	l.b.Free(c)
}

func (l *lab) sync(want error) {
	l.Helper()
	if err := l.s.Sync(); !errors.Is(err, want) {
		l.Fatalf("Sync: %v, want %v", err, want)
	}
}

// gaps: host memory has a tensor's rows back to back, whatever lies between them on the device, which stays as it is.
func (l *lab) gaps(x tensor.Tensor) {
	const side, lo, hi = 32, 3, 10
	sent, back, all := make([]byte, 4*side*(hi-lo)), make([]byte, 4*side*(hi-lo)), make([]byte, 4*side*side)
	for i := range side * (hi - lo) {
		binary.LittleEndian.PutUint32(sent[4*i:], math.Float32bits(float32(i)))
	}
	part := x.Reshape(side, side).Columns(lo, hi)
	l.s.Fill(x, -1)
	l.s.Upload(part, sent)
	l.s.Download(back, part)
	l.s.Download(all, x)
	l.sync(nil)
	if !slices.Equal(sent, back) {
		l.Errorf("Upload and Download of columns [%d, %d) give something else back", lo, hi)
	}
	for i := range side * side {
		want := float32(-1)
		if c := i % side; c >= lo && c < hi {
			want = float32(i/side*(hi-lo) + c - lo)
		}
		if got := math.Float32frombits(binary.LittleEndian.Uint32(all[4*i:])); got != want {
			l.Fatalf("after an Upload into columns [%d, %d) element %d is %v, want %v", lo, hi, i, got, want)
		}
	}
}

// order: operations and host functions run one after another.
func (l *lab) order(x tensor.Tensor) {
	var seen []float32
	host := make([]byte, 4)
	one := x.Slice(5, 6)
	for i := range 20 {
		l.s.Fill(x, float32(i))
		l.s.Scale(x, 2)
		l.s.Download(host, one)
		l.s.Do("look", func() error {
			seen = append(seen, math.Float32frombits(binary.LittleEndian.Uint32(host)))
			return nil
		})
	}
	l.sync(nil)
	for i, v := range seen {
		if v != float32(2*i) {
			l.Fatalf("order: step %d saw %v, want %v", i, v, 2*i)
		}
	}
	if len(seen) != 20 {
		l.Fatalf("order: %d of 20 host functions ran", len(seen))
	}
}

// failure: an error of Do skips what follows and is told once.
func (l *lab) failure(x tensor.Tensor) {
	broken := errors.New("broken on purpose")
	l.s.Fill(x, 1)
	l.s.Do("break", func() error { return broken })
	ran := false
	l.s.Fill(x, 2)
	l.s.Do("after", func() error { ran = true; return nil })
	err := l.s.Sync()
	if !errors.Is(err, broken) && (err == nil || !strings.Contains(err.Error(), broken.Error())) {
		l.Fatalf("Sync after a failed Do: %v", err)
	}
	l.sync(nil)
	host := make([]byte, 4)
	l.s.Download(host, x.Slice(0, 1))
	l.sync(nil)
	if v := math.Float32frombits(binary.LittleEndian.Uint32(host)); v != 1 || ran {
		l.Errorf("what follows a failed Do ran: x is %v, host function ran: %v", v, ran)
	}
}

// events: a stream that waits for an event sees what was enqueued before it was recorded.
func (l *lab) events(x tensor.Tensor) {
	other := l.b.NewStream("other")
	host := make([]byte, 4*x.Len())
	for i := range 10 {
		there, back := l.b.NewEvent(), l.b.NewEvent()
		l.s.Fill(x, float32(i))
		l.s.Record(there)
		other.Wait(there)
		other.Scale(x, 3)
		other.Record(back)
		l.s.Wait(back)
		l.s.Download(host, x)
		l.sync(nil)
		for j := 0; j < len(host); j += 4 {
			if v := math.Float32frombits(binary.LittleEndian.Uint32(host[j:])); v != float32(3*i) {
				l.Fatalf("events: round %d: element %d is %v, want %v", i, j/4, v, 3*i)
			}
		}
	}
	if err := other.Sync(); err != nil {
		l.Error(err)
	}
	other.Wait(l.b.NewEvent()) // never recorded: marks nothing
	if err := other.Sync(); err != nil {
		l.Error(err)
	}
	var _ backend.Event = l.b.NewEvent()
}
