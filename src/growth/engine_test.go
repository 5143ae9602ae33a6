package growth_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/grid"
	"cambium/src/growth"
	"cambium/src/optim"
	"cambium/src/tensor"
)

// poor is a device that has memory for a few more blocks only.
type poor struct {
	backend.Backend
	left int
}

func (p *poor) Alloc(label string, bytes int) (*tensor.Memory, error) {
	if p.left--; p.left < 0 {
		return nil, errors.New("out of memory")
	}
	return p.Backend.Alloc(label, bytes)
}

// all is weights and own moments.
func (r *rig) all() []float32 {
	var out []float32
	for _, x := range r.state.Params.Shards() {
		out = append(out, r.state.Params.Weight(x.Name).F32()...)
	}
	for _, p := range r.state.Optimizer.State() {
		out = append(out, p.Data.F32()...)
	}
	return out
}

// Memory ends on one rank of two, at every allocation in turn: growth fails on both, nothing leaks, the old state is
// untouched and training goes on exactly as without the attempt.
func TestAFailureOnOneRankLeavesTheOldStateOnAll(t *testing.T) {
	from, to := llama(2, 24, 3, 40), llama(3, 40, 5, 50)
	err := local.NewWorld(2).Run(func(dp comm.Communicator) error {
		r := newRig(dp, from)
		defer r.close()
		other := newRig(dp, from) // never disturbed
		defer other.close()
		r.train(0, 4, 5e-3, nil, 0, 0)
		other.train(0, 4, 5e-3, nil, 0, 0)
		plan, err := growth.NewPlan(from, r.f, to, growth.Options{})
		if err != nil {
			return err
		}
		used, worked := r.b.Usage().Current, false
		for left := range 10 {
			if err := dp.Barrier(fmt.Sprintf("attempt %d", left)); err != nil {
				return err
			}
			b := backend.Backend(r.b)
			if dp.Rank() == 1 {
				b = &poor{r.b, left}
			}
			g, err := growth.Grow(growth.Job{Plan: plan, Backend: b, Stream: r.s, Parallel: r.parallel(to), Old: r.state, Seed: 1})
			if err == nil {
				worked = true
				g.Abort()
			} else if want := []string{"another rank failed", "out of memory"}[dp.Rank()]; !strings.Contains(err.Error(), want) {
				return fmt.Errorf("%d blocks left: rank %d: %v, want %q", left, dp.Rank(), err, want)
			}
			if now := r.b.Usage().Current; now != used {
				return fmt.Errorf("%d blocks left: rank %d: %d bytes in use, %d before", left, dp.Rank(), now, used)
			}
			if worked {
				break
			}
			if left == 0 && err == nil {
				return errors.New("growth needs no memory")
			}
		}
		if !worked {
			return errors.New("growth failed with memory for 9 blocks")
		}
		r.train(4, 6, 5e-3, nil, 0, 0)
		other.train(4, 6, 5e-3, nil, 0, 0)
		if !slices.Equal(r.all(), other.all()) {
			return errors.New("training after a failed growth went another way")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// From (tp 2, pp 1, dp 4) to (tp 2, pp 4) with messages of a kilobyte: the peak is old state + new weights, moments and
// masters + staging by the allocator's own count, staging is two messages (a row, where that is longer), and the bytes moved are those that had to move.
func TestThePeakIsOldPlusNewPlusStaging(t *testing.T) {
	from, to := llama(4, 64, 8, 128), llama(6, 96, 12, 192)
	a, err := grid.New(8, 2, 1)
	must(err)
	b, err := grid.New(8, 2, 4)
	must(err)
	for _, dtype := range []tensor.DType{tensor.F32, tensor.BF16} {
		err := everywhere(8, func(world comm.Communicator, sent *atomic.Int64) error {
			r := newPlace(world, from, a, dtype, sent)
			defer r.b.Close()
			plan, err := growth.NewPlan(from, r.f, to, growth.Options{})
			if err != nil {
				return err
			}
			next, _ := groupsOf(world, to, b, sent)
			old := r.b.Usage()
			g, err := growth.Grow(growth.Job{Plan: plan, Backend: r.b, Stream: r.s, Old: r.state, Parallel: next, Staging: 1000})
			if err != nil {
				return err
			}
			now := r.b.Usage()
			s, grown := g.Stats, now.Current-old.Current
			if old.Peak != old.Current || now.Peak != old.Current+grown+s.StagingBytes {
				return fmt.Errorf("%v: peak %d, before %d; old state %d, new state %d, staging %d", dtype, now.Peak, old.Peak, old.Current, grown, s.StagingBytes)
			}
			if s.StagingBytes == 0 || s.StagingBytes > 2*max(1000, 4*192) {
				return fmt.Errorf("%v: staging of %d bytes", dtype, s.StagingBytes)
			}
			if s.BytesMoved < s.BytesLowerBound || float64(s.BytesMoved) > 1.1*float64(s.BytesLowerBound) {
				return fmt.Errorf("%v: %d bytes moved, %d had to", dtype, s.BytesMoved, s.BytesLowerBound)
			}
			if err := g.Commit(); err != nil {
				return err
			}
			gradients := g.Params.FlatGrads().Bytes()
			if now = r.b.Usage(); now.Current != grown+gradients || now.Peak > max(old.Current+grown+s.StagingBytes, now.Current) {
				return fmt.Errorf("%v: after Commit %d bytes are in use, at most %d were; the new state has %d and gradients of %d", dtype, now.Current, now.Peak, grown, gradients)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Messages of any size carry the same state.
func TestSmallMessagesCarryTheSameState(t *testing.T) {
	err := local.NewWorld(3).Run(func(dp comm.Communicator) error {
		var states [][]float32
		for _, staging := range []int{0, 1, 40, 300} {
			r := newRig(dp, llama(2, 24, 3, 40))
			r.staging = staging
			r.train(0, 3, 5e-3, nil, 0, 0)
			if _, _, err := r.grow(llama(3, 37, 5, 61), growth.Options{Operator: growth.Mask}, 1); err != nil {
				return err
			}
			states = append(states, r.all())
			r.close()
			if !slices.Equal(states[0], states[len(states)-1]) {
				return fmt.Errorf("messages of %d elements: another state", staging)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Stack copies layers in order and does not preserve the loss; their moments start anew.
func TestStackCopiesLayersWhole(t *testing.T) {
	from, to := llama(2, 24, 3, 40), llama(5, 24, 3, 40)
	r := alone(from)
	defer r.close()
	r.train(0, 4, 5e-3, nil, 0, 0)
	before := r.loss(arch.Mask{})
	old := map[string][]float32{}
	for _, x := range from.Tensors() {
		old[x.Name] = slices.Clone(r.state.Params.Weight(x.Name).F32())
	}
	plan, _, err := r.grow(to, growth.Options{Operator: growth.Stack}, 1)
	must(err)
	for _, x := range to.Tensors() {
		source := x.Name
		if x.Layer >= 0 {
			source = strings.Replace(x.Name, fmt.Sprintf("layers.%d.", x.Layer), fmt.Sprintf("layers.%d.", x.Layer%2), 1)
		}
		if !slices.Equal(r.state.Params.Weight(x.Name).F32(), old[source]) {
			t.Errorf("%s is not a copy of %s", x.Name, source)
		}
	}
	for _, p := range r.state.Optimizer.State() {
		if top := largest(p.Data.F32()); p.Kind != optim.Weight && (top == 0) != (p.Tensor.Layer >= 2) {
			t.Errorf("%s of %s: up to %g", p.Kind, p.Tensor.Name, top)
		}
	}
	if b := r.state.Optimizer.Births(); !slices.Equal(b.Layers, []int32{0, 0, 4, 4, 4}) {
		t.Errorf("births of layers %v", b.Layers)
	}
	after := r.loss(plan.MaskAt(0))
	if change, err := plan.CheckProbe(before, after, 1e-5); err != nil || change < 1e-4 {
		t.Errorf("loss %g to %g (%v): want a jump that is reported and allowed", before, after, err)
	}
}

// A stage that changes no size (another batch, another learning rate) carries everything over as it is.
func TestAStageOfTheSameSizeChangesNothing(t *testing.T) {
	err := local.NewWorld(2).Run(func(dp comm.Communicator) error {
		r := newRig(dp, llama(2, 24, 3, 40))
		defer r.close()
		r.train(0, 3, 5e-3, nil, 0, 0)
		before, f := r.all(), r.f
		_, stats, err := r.grow(r.arch, growth.Options{Operator: growth.Mask}, 1)
		if err != nil {
			return err
		}
		if !slices.Equal(before, r.all()) || r.f != f || stats.BytesMoved != 0 || r.state.Optimizer.Steps() != 3 {
			return fmt.Errorf("something changed: %+v, %+v", r.f, stats)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
