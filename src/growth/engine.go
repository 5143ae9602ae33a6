package growth

import (
	"errors"
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/optim"
	"cambium/src/tensor"
)

// State is what a rank trains.
type State struct {
	Params    *model.Params
	Optimizer *optim.Optimizer
}

// Close frees the memory. No operation that uses it may be in flight.
func (s State) Close() {
	if s.Optimizer != nil {
		s.Optimizer.Close()
	}
	if s.Params != nil {
		s.Params.Close()
	}
}

// Job is one growth of live state, the same on every rank but for Old.
type Job struct {
	Plan    *Plan
	Backend backend.Backend
	Stream  backend.Stream
	DP      comm.Communicator // the ranks: each holds all weights and its rows of the moments
	Old     State
	Seed    uint64 // of the run
	Growth  int    // number of this growth in the run: every one draws other initial values
	Staging int    // elements of a message between ranks, and of the host's buffer of initial values; 0: 1<<18
}

// Grown is the larger state beside the old one. Exactly one of Commit and Abort ends it.
type Grown struct {
	State
	Stats Stats
	old   State
}

// Stats says what a growth moved between ranks, all ranks together, and what no plan could have saved.
type Stats struct {
	BytesMoved, BytesLowerBound int64
	StagingBytes                int // memory beside old and new state, this rank
}

// Commit frees the old state.
func (g *Grown) Commit() { g.old.Close() }

// Abort frees the grown state; the old one goes on.
func (g *Grown) Abort() { g.State.Close() }

// Grow makes the larger state that the plan describes, on all ranks together, and waits for it. The old state is read
// only, and stays until Commit, so that a probe can be compared and training can go on with it if anything fails. So the
// peak is old state + new state + staging. Weights and moments are copied on the device, tensor by tensor, along
// the boxes of layout.Plan; only rows of moments whose owner changes travel. A failure on one rank fails on all.
func Grow(j Job) (*Grown, error) {
	if j.Staging <= 0 {
		j.Staging = defaultStaging
	}
	e := &engine{Job: j}
	g, err := e.grow()
	if e.staging != nil {
		j.Backend.Free(e.staging)
	}
	if err != nil {
		if syncErr := j.Stream.Sync(); syncErr != nil && !errors.Is(err, syncErr) {
			err = errors.Join(err, syncErr)
		}
		e.new.Close()
		return nil, fmt.Errorf("growth: %w", err)
	}
	return g, nil
}

type engine struct {
	Job
	new                       State
	oldW, newW, oldO, newO    layout.Layout
	weightMoves, momentMoves  []layout.Transfer
	fills                     []layout.Fill
	staging                   *tensor.Memory
	half                      int // elements of each half of staging: what goes out, what comes in
	exchangedOut, exchangedIn []int
	oldPieces, newPieces      map[pieceKey]optim.Piece
	meansOf                   string
	hiddenMeans, hostStaging  []float32
	movedBytes, lowerBound    int64
}

type pieceKey struct{ tensor, kind string }

func (e *engine) grow() (*Grown, error) {
	if err := e.plan(); err != nil {
		return nil, err
	}
	err := e.allocate()
	if err == nil {
		err = e.initialise()
	}
	if err = e.agree(err); err != nil {
		return nil, err
	}
	e.moveWeights()
	if err := e.moveMoments(); err != nil {
		return nil, err
	}
	steps := e.Old.Optimizer.Steps()
	counters := optim.Counters{Step: steps, Births: e.Plan.Births(e.Old.Optimizer.Births(), steps)}
	if err := e.agree(e.new.Optimizer.Restore(e.Stream, counters)); err != nil {
		return nil, err
	}
	s := Stats{BytesMoved: e.movedBytes, BytesLowerBound: e.lowerBound, StagingBytes: e.stagingBytes()}
	return &Grown{State: e.new, Stats: s, old: e.Old}, nil
}

// plan asks layout where everything goes.
func (e *engine) plan() error {
	p, rank := e.Plan, e.DP.Rank()
	g, err := grid.New(e.DP.Size(), 1, 1)
	if err != nil {
		return err
	}
	for _, l := range []struct {
		to    *layout.Layout
		model arch.Model
		make  func(arch.Model, grid.Grid) (layout.Layout, error)
	}{
		{&e.oldW, p.From, layout.Weights}, {&e.newW, p.To, layout.Weights},
		{&e.oldO, p.From, layout.Optimizer}, {&e.newO, p.To, layout.Optimizer},
	} {
		if *l.to, err = l.make(l.model, g); err != nil {
			return err
		}
	}
	if e.weightMoves, err = layout.Plan(e.oldW, e.newW, p.Weights); err != nil {
		return err
	}
	if e.momentMoves, err = layout.Plan(e.oldO, e.newO, p.State); err != nil {
		return err
	}
	fills, err := layout.Uncovered(e.oldW, e.newW, p.Weights)
	for _, f := range fills {
		if f.Rank == rank && !f.Padding {
			e.fills = append(e.fills, f)
		}
	}
	if err != nil {
		return err
	}
	const moments = 2
	size := moments * tensor.F32.Size()
	e.movedBytes = layout.BytesMoved(e.momentMoves, size)
	e.lowerBound, err = layout.LowerBound(e.oldO, e.newO, p.State, size)
	return err
}

// defaultStaging is 1 MiB of fp32: messages are large enough for any wire, and staging is small beside a model.
const defaultStaging = 1 << 18

func (e *engine) allocate() (err error) {
	if e.new.Params, err = model.NewParams(e.Backend, layout.Single(e.Plan.To), 0, model.ParamOptions{Grads: true}); err != nil {
		return err
	}
	if e.new.Optimizer, err = optim.New(e.Backend, optim.Parallel{World: e.DP, DP: e.DP, GridLayout: e.newO}, e.new.Params, e.Old.Optimizer.Config()); err != nil {
		return err
	}
	e.half = 0
	for _, t := range e.momentMoves {
		if !t.Local() {
			e.half = max(e.half, e.Staging, t.Src.Volume())
		}
	}
	e.oldPieces, e.newPieces = pieces(e.Old.Optimizer), pieces(e.new.Optimizer)
	if e.half == 0 {
		return nil
	}
	e.staging, err = e.Backend.Alloc("growth staging", e.stagingBytes())
	return err
}

func (e *engine) stagingBytes() int { return 2 * e.half * tensor.F32.Size() }

func pieces(o *optim.Optimizer) map[pieceKey]optim.Piece {
	out := map[pieceKey]optim.Piece{}
	for _, p := range o.State() {
		out[pieceKey{p.Tensor.Name, p.Kind}] = p
	}
	return out
}

// agree makes the failure of one rank a failure of all, before anything waits for it.
func (e *engine) agree(err error) error {
	failed := []float64{0}
	if err != nil {
		failed[0] = 1
	}
	if reduceErr := e.DP.Reduce("growth", comm.Max, failed); err == nil {
		err = reduceErr
	}
	if err == nil && failed[0] != 0 {
		err = errors.New("another rank failed")
	}
	return err
}

// initialise writes the values of new entries, some rows at a time.
func (e *engine) initialise() error {
	seed := initialSeed(e.Seed, e.Growth)
	for _, f := range e.fills {
		t := e.newW.Tensors[f.Tensor]
		row := f.Box.Volume() / (f.Box.Hi[0] - f.Box.Lo[0])
		rows := max(e.Staging/row, 1)
		for lo := f.Box.Lo[0]; lo < f.Box.Hi[0]; lo += rows {
			part := f.Box.Narrow(0, lo, min(lo+rows, f.Box.Hi[0]))
			n := part.Volume()
			e.hostStaging = append(e.hostStaging[:0], make([]float32, n)...)
			var meanErr error
			e.Plan.fresh(e.hostStaging, t, part, seed, func(other int) float32 {
				m, err := e.means(t)
				if err != nil {
					meanErr = err
					return 0
				}
				return m[other]
			})
			if meanErr != nil {
				return meanErr
			}
			e.Stream.Upload(view(e.new.Params.Weight(t.Name), layout.Whole(t.Shape), part), tensor.HostBytes(e.hostStaging))
			if err := e.Stream.Sync(); err != nil { // the host's buffer is used again
				return err
			}
		}
	}
	return nil
}

// means are the hidden means of the old parameter that lives on in t; those of the last one asked for are kept.
func (e *engine) means(t arch.Tensor) ([]float32, error) {
	name := e.Plan.oldTensor(t)
	if e.meansOf == name {
		return e.hiddenMeans, nil
	}
	i, ok := e.oldW.Index(name)
	if !ok {
		return nil, fmt.Errorf("%s has no parameter %s to live on from", t.Name, name)
	}
	old := e.oldW.Tensors[i]
	values := make([]float32, old.Len())
	e.Stream.Download(tensor.HostBytes(values), e.Old.Params.Weight(name))
	if err := e.Stream.Sync(); err != nil {
		return nil, err
	}
	e.meansOf, e.hiddenMeans = name, hiddenMeans(old, values)
	return e.hiddenMeans, nil
}

// moveWeights copies old weights to their new places: every rank holds all of them, so nothing travels.
func (e *engine) moveWeights() {
	for _, m := range e.weightMoves {
		if m.DstRank != e.DP.Rank() {
			continue
		}
		from, to := e.oldW.Tensors[m.SrcTensor], e.newW.Tensors[m.DstTensor]
		if e.Plan.silent(to) {
			continue
		}
		dst := view(e.new.Params.Weight(to.Name), layout.Whole(to.Shape), m.Dst)
		e.Stream.Copy(dst, view(e.Old.Params.Weight(from.Name), layout.Whole(from.Shape), m.Src))
		if c := e.Plan.Factor(to); c != 1 {
			e.Stream.Scale(dst, float32(c))
		}
	}
}

// view is the part of a tensor's local box.
func view(x tensor.Tensor, have, want layout.Box) tensor.Tensor {
	x = x.Slice(want.Lo[0]-have.Lo[0], want.Hi[0]-have.Lo[0])
	if len(want.Lo) > 1 {
		x = x.Columns(want.Lo[1]-have.Lo[1], want.Hi[1]-have.Lo[1])
	}
	return x
}
