package growth

import (
	"cambium/src/grid"
	"cambium/src/layout"
	"cambium/src/tensor"
)

// Moved is what travels between ranks, all ranks together, and the least that had to.
type Moved struct{ Bytes, LowerBound int64 }

// Traffic is what a growth moves, by kind. Masters are those of 16-bit weights.
type Traffic struct{ Weights, Masters, Moments Moved }

// Total is the sum.
func (t Traffic) Total() Moved {
	return Moved{
		Bytes:      t.Weights.Bytes + t.Masters.Bytes + t.Moments.Bytes,
		LowerBound: t.Weights.LowerBound + t.Masters.LowerBound + t.Moments.LowerBound,
	}
}

// Measure is what Grow would move from one grid to another with weights of the given type, and the staging that one rank
// would need: the same code plans, over no memory.
func Measure(p *Plan, from, to grid.Grid, dtype tensor.DType, rank int) (t Traffic, staging int, err error) {
	e := &engine{Job: Job{Plan: p, Staging: defaultStaging}, rank: rank, dtype: dtype, masters: dtype != tensor.F32}
	if err := e.layOut(from, to); err != nil {
		return t, 0, err
	}
	if err := e.planRoutes(); err != nil {
		return t, 0, err
	}
	if err := e.planFills(); err != nil {
		return t, 0, err
	}
	return e.traffic, e.stagingBytes(), nil
}

// layOut makes the layouts of the plan's models on two grids.
func (e *engine) layOut(from, to grid.Grid) (err error) {
	if e.oldW, err = layout.Weights(e.Plan.From, from); err != nil {
		return err
	}
	if e.oldO, err = layout.Optimizer(e.Plan.From, from); err != nil {
		return err
	}
	if e.newW, err = layout.Weights(e.Plan.To, to); err != nil {
		return err
	}
	e.newO, err = layout.Optimizer(e.Plan.To, to)
	return err
}
