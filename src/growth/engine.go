package growth

import (
	"errors"
	"fmt"
	"time"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/layout"
	"cambium/src/model"
	"cambium/src/optim"
	"cambium/src/tensor"
)

// State is what a rank trains: its part of the weights and of the optimizer, on one grid.
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

// Job is one growth of live state, the same on every rank of the world but for Old and the groups. Where Plan keeps the
// shape it is a pure re-layout over another grid.
type Job struct {
	Plan     *Plan
	Backend  backend.Backend
	Stream   backend.Stream
	Old      State          // on any grid of the same world
	Parallel optim.Parallel // of the grown state: GridLayout is layout.Optimizer of Plan.To on its grid
	Seed     uint64         // of the run
	Growth   int            // number of this growth in the run: every one draws other initial values
	Staging  int            // bytes that a rank sends, and receives, at a time; 0: 16 MiB
}

// Grown is the larger state beside the old one. Exactly one of Commit and Abort ends it.
type Grown struct {
	State
	Stats Stats
	old   State
}

// Stats says what a growth moved between ranks, all ranks together, and what no plan could have saved: the bytes of
// weights, masters and moments that had to change their rank.
type Stats struct {
	BytesMoved, BytesLowerBound int64
	StagingBytes                int     // memory beside old and new state, this rank
	Seconds                     float64 // from the call of Grow on this rank until all have finished
}

// Commit frees the old state and then allocates the gradients of the grown one: both states' gradients are never there together.
func (g *Grown) Commit() error {
	g.old.Close()
	return g.Params.AllocateGrads()
}

// Abort frees the grown state; the old one goes on.
func (g *Grown) Abort() { g.State.Close() }

// ErrElsewhere is what a growth ends with on the ranks where nothing went wrong.
var ErrElsewhere = errors.New("another rank failed")

// Grow makes the larger state that the plan describes, on all ranks together, and waits for it. The old state is read
// only, and stays until Commit, so that a probe can be compared and training can go on with it if anything fails. So the
// peak is old state + new weights and optimizer state + staging; Commit allocates the gradients of the new state. Weights,
// master weights and moments go along the boxes of layout.Plan, tensor by tensor: what stays on a rank is copied on its
// device, the rest travels in all-to-all messages of bounded size. New entries are drawn where they will live. A failure on
// one rank fails on all.
func Grow(j Job) (*Grown, error) {
	begin := time.Now()
	if j.Staging <= 0 {
		j.Staging = defaultStaging
	}
	e := &engine{Job: j, world: j.Parallel.World, rank: j.Parallel.World.Rank(), dtype: j.Old.Params.DType(), masters: j.Old.Optimizer.Masters()}
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
	g.Stats.Seconds = time.Since(begin).Seconds()
	return g, nil
}

// defaultStaging makes messages that are large enough for any wire, and is small beside a model.
const defaultStaging = 16 << 20

type engine struct {
	Job
	world                  comm.Communicator
	rank                   int
	dtype                  tensor.DType // of the weights
	masters                bool         // master weights are apart
	new                    State
	oldW, newW, oldO, newO layout.Layout
	routes                 []*route
	fills                  []filling
	staging                *tensor.Memory
	meansOf                string
	hiddenMeans            []float32
	meansFrom              int       // index of the other axis at which they begin
	host                   []float32 // initial values on their way to the device
	traffic                Traffic
}

func (e *engine) grow() (*Grown, error) {
	err := e.plan()
	if err == nil {
		err = e.allocate()
	}
	if err = e.agree(err); err != nil {
		return nil, err
	}
	e.Old.Optimizer.Settle(e.Stream)
	e.connect()
	for _, r := range e.routes {
		e.carry(r)
	}
	e.rescale()
	if err := e.agree(e.initialise()); err != nil {
		return nil, err
	}
	if e.new.Optimizer.Masters() { // 16-bit weights that were multiplied are their rounded masters
		e.new.Optimizer.PublishSome(e.Stream, e.scaled)
	}
	steps := e.Old.Optimizer.Steps()
	counters := optim.Counters{Step: steps, Births: e.Plan.Births(e.Old.Optimizer.Births(), steps)}
	if err := e.agree(e.new.Optimizer.Restore(e.Stream, counters)); err != nil {
		return nil, err
	}
	moved := e.traffic.Total()
	s := Stats{BytesMoved: moved.Bytes, BytesLowerBound: moved.LowerBound, StagingBytes: e.stagingBytes()}
	return &Grown{State: e.new, Stats: s, old: e.Old}, nil
}

// plan asks layout where everything goes.
func (e *engine) plan() (err error) {
	e.oldW, e.oldO, e.newO = e.Old.Params.Layout(), e.Old.Optimizer.Layout(), e.Parallel.GridLayout
	switch {
	case e.newO.Model != e.Plan.To || e.oldW.Model != e.Plan.From || e.oldO.Model != e.Plan.From:
		return errors.New("the layouts are not those of the plan's models")
	case e.oldW.Grid != e.oldO.Grid:
		return fmt.Errorf("weights on a grid of %v with an optimizer on %v", e.oldW.Grid, e.oldO.Grid)
	case e.newO.Grid.World() != e.world.Size() || e.oldO.Grid.World() != e.world.Size():
		return fmt.Errorf("from %v to %v among %d ranks: want grids of all of them", e.oldO.Grid, e.newO.Grid, e.world.Size())
	}
	if e.newW, err = layout.Weights(e.Plan.To, e.newO.Grid); err != nil {
		return err
	}
	if err := e.planRoutes(); err != nil {
		return err
	}
	return e.planFills()
}

func (e *engine) allocate() (err error) {
	o := model.ParamOptions{DType: e.dtype, Grads: true, Later: true}
	if e.new.Params, err = model.NewParams(e.Backend, e.newW, e.rank, o); err != nil {
		return err
	}
	if e.new.Optimizer, err = optim.New(e.Backend, e.Parallel, e.new.Params, e.Old.Optimizer.Config()); err != nil {
		return err
	}
	if n := e.stagingBytes(); n > 0 {
		e.staging, err = e.Backend.Alloc("growth staging", n)
	}
	return err
}

// stagingBytes is the memory that this rank needs beside old and new state: for the largest of its messages, and for numbers that
// change their type on the device.
func (e *engine) stagingBytes() int {
	n := 0
	for _, r := range e.routes {
		n = max(n, (r.out+r.in)*r.dtype.Size())
	}
	if e.masters {
		for _, f := range e.fills {
			n = max(n, min(f.Box.Volume(), e.chunk(f.Box))*tensor.F32.Size())
		}
		n = max(n, e.meansChunk()*tensor.F32.Size())
	}
	return n
}

// stage is staging from byte at on as a tensor.
func (e *engine) stage(at int, d tensor.DType, dims ...int) tensor.Tensor {
	return tensor.New(e.staging, at, d, dims...)
}

// agree makes the failure of one rank a failure of all, before anything waits for it.
func (e *engine) agree(err error) error {
	failed := []float64{0}
	if err != nil {
		failed[0] = 1
	}
	if reduceErr := e.world.Reduce("growth", comm.Max, failed); err == nil {
		err = reduceErr
	}
	if err == nil && failed[0] != 0 {
		err = ErrElsewhere
	}
	return err
}

// scaled tells whether old values of a parameter are multiplied.
func (e *engine) scaled(t arch.Tensor) bool { return e.Plan.Factor(t) != 1 }

// rescale multiplies weights by their factors, and divides moments by it, once or twice: the gradient with respect to c w is
// 1/c of that with respect to w. New entries are still zero, so whole pieces can be scaled.
func (e *engine) rescale() {
	for _, x := range e.new.Params.Shards() {
		if e.scaled(x.Tensor) && !e.new.Optimizer.Masters() {
			e.Stream.Scale(e.new.Params.Weight(x.Name), float32(e.Plan.Factor(x.Tensor)))
		}
	}
	for _, p := range e.new.Optimizer.State() {
		c := e.Plan.Factor(p.Tensor)
		switch {
		case c == 1:
		case p.Kind == optim.ExpAvg:
			e.Stream.Scale(p.Data, float32(1/c))
		case p.Kind == optim.ExpAvgSq:
			e.Stream.Scale(p.Data, float32(1/(c*c)))
		case e.new.Optimizer.Masters():
			e.Stream.Scale(p.Data, float32(c))
		}
	}
}
