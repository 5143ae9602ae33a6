//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gorgonia.org/cu"
)

// tuning is how ways are timed: each runs batches, in turn, and its best round counts. Without rounds nothing is timed.
type tuning struct{ rounds, batch int }

// tuneMargin is by how much a later way must be faster than an earlier one, so that ties fall the same way every time.
const tuneMargin = 0.02

// fastest times the ways of a call on its own operands. What must not be written more than once, because it is added to or read as Pre, is
// replaced by scratch memory; other results are overwritten by the real run that follows. Ways that fail are left out; when there is no
// memory, the first one is taken.
func (s *stream) fastest(c *gemmCall, ways []way) (best way, err error) {
	trial := *c
	if c.accumulate != 0 || c.pre.data == c.c.data {
		scratch, err := s.b.Alloc("tuning", (int(c.c.rows-1)*int(c.c.ld)+int(c.c.cols))*c.out.Size())
		if err != nil {
			return ways[0], nil
		}
		defer func() {
			s.cu.Synchronize()
			s.b.Free(scratch)
		}()
		trial.c.data = scratch.Device
	}
	var events [2]cu.Event
	for i := range events {
		if events[i], err = cu.MakeEvent(cu.DefaultEvent); err != nil {
			return ways[0], err
		}
		defer cu.DestroyEvent(&events[i])
	}
	var able []way
	for _, w := range ways {
		if err := w.launch(s, &trial); err == nil { // and warm
			able = append(able, w)
		}
	}
	if len(able) == 0 {
		return ways[0], errors.New("no implementation of this GEMM runs")
	}
	able, wrong, err := s.agreeing(&trial, able)
	if err != nil {
		return ways[0], err
	}
	times, err := s.timeWays(&trial, able, events)
	if err != nil {
		return ways[0], err
	}
	at := 0
	for i, t := range times {
		if t < times[at]*(1-tuneMargin) {
			at = i
		}
	}
	s.b.note(c, able, times, at, wrong)
	return able[at], nil
}

// timeWays are milliseconds a batch.
func (s *stream) timeWays(c *gemmCall, ways []way, events [2]cu.Event) ([]float64, error) {
	times := make([]float64, len(ways))
	for i := range times {
		times[i] = math.Inf(1)
	}
	for round := range s.b.tuning.rounds {
		least := slices.Min(times)
		for i, w := range ways {
			if round > 0 && times[i] > 2*least { // nothing will come of it
				continue
			}
			if err := events[0].Record(s.cu); err != nil {
				return nil, err
			}
			for range s.b.tuning.batch {
				if err := w.launch(s, c); err != nil {
					return nil, fmt.Errorf("by %s: %w", w.name, err)
				}
			}
			if err := events[1].Record(s.cu); err != nil {
				return nil, err
			}
			if err := s.wait(); err != nil {
				return nil, err
			}
			ms, err := events[0].Elapsed(events[1])
			if err != nil {
				return nil, err
			}
			times[i] = min(times[i], ms)
		}
	}
	return times, nil
}

// note keeps what a choice was made from, for people.
func (b *gpu) note(c *gemmCall, ways []way, times []float64, at int, wrong []string) {
	var line strings.Builder
	fmt.Fprintf(&line, "GEMM %d x %d x %d %s, %s to %s", c.m, c.n, c.k, c.form(), c.in, c.out)
	for _, part := range []struct {
		present bool
		text    string
	}{{c.accumulate != 0, "adding"}, {c.bias != 0, "bias"}, {c.act == actGelu, "GELU"}, {c.act == actGeluGrad, "GELU gradient"}} {
		if part.present {
			line.WriteString(", " + part.text)
		}
	}
	separator := ": "
	for i, w := range ways {
		fmt.Fprintf(&line, "%s%s %.1f us", separator, w.name, 1e3*times[i]/float64(b.tuning.batch))
		separator = ", "
	}
	fmt.Fprintf(&line, "; taken: %s", ways[at].name)
	if len(wrong) > 0 {
		fmt.Fprintf(&line, "; WRONG RESULTS, left out: %s", strings.Join(wrong, ", "))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.choices = append(b.choices, line.String())
}
