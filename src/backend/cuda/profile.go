//go:build cuda

package cuda

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gorgonia.org/cu"

	"cambium/src/backend"
)

var _ backend.Profiler = (*gpu)(nil)

// profile holds an event before and one after every launch.
type profile struct {
	mu    sync.Mutex
	spans []span
}

// span is one launch; its Count and Total are not set.
type span struct {
	what       backend.KernelTime
	begin, end cu.Event
}

// StartProfile has streams put events around what they launch.
func (b *gpu) StartProfile() { b.profile.Store(&profile{}) }

// StopProfile needs streams that were waited for.
func (b *gpu) StopProfile() (out []backend.KernelTime, err error) {
	p := b.profile.Swap(nil)
	if p == nil {
		return nil, errors.New("cuda: StopProfile without StartProfile")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	sums := map[backend.KernelTime]*backend.KernelTime{}
	err = b.do(func() error {
		for _, s := range p.spans {
			ms, err := s.begin.Elapsed(s.end)
			if err != nil {
				return fmt.Errorf("cuda: time of %s: %w", s.what.Operation, err)
			}
			sum := sums[s.what]
			if sum == nil {
				sum = new(s.what)
				sums[s.what] = sum
			}
			sum.Count++
			sum.Total += time.Duration(ms * float64(time.Millisecond))
			if err := errors.Join(cu.DestroyEvent(&s.begin), cu.DestroyEvent(&s.end)); err != nil {
				return fmt.Errorf("cuda: events of %s: %w", s.what.Operation, err)
			}
		}
		return nil
	})
	for _, sum := range sums {
		out = append(out, *sum)
	}
	slices.SortFunc(out, func(a, b backend.KernelTime) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Kernel, b.Kernel), slices.Compare(a.Grid[:], b.Grid[:]))
	})
	return out, err
}

// around runs f, which launches o, between two events.
func (p *profile) around(s *stream, o *op, f func() error) error {
	t := span{what: backend.KernelTime{Stream: s.name, Operation: o.name}}
	var err error
	if t.begin, err = cu.MakeEvent(cu.DefaultEvent); err != nil {
		return err
	}
	if t.end, err = cu.MakeEvent(cu.DefaultEvent); err != nil {
		return err
	}
	if err = errors.Join(t.begin.Record(s.cu), f(), t.end.Record(s.cu)); err != nil {
		return err
	}
	t.what.Kernel, t.what.Grid = o.by, o.grid
	if o.kernel != nil {
		t.what.Kernel = o.kernel.name
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spans = append(p.spans, t)
	return nil
}
