package optim

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/layout"
	"cambium/src/tensor"
)

// The kinds of a Piece: the running means of the gradient and of its square, named as in PyTorch's state.
const (
	ExpAvg   = "exp_avg"
	ExpAvgSq = "exp_avg_sq"
)

// Piece is a part of the state that this rank holds: the box of one tensor's moments. Data is the memory itself, fp32 and
// contiguous: a checkpoint reads it, and writes it to resume.
type Piece struct {
	Tensor arch.Tensor
	Kind   string // ExpAvg or ExpAvgSq
	Box    layout.Box
	Data   tensor.Tensor
}

// State is all pieces of this rank, in the order of the parameter table. Their boxes are those of layout.Optimizer.
func (o *Optimizer) State() []Piece {
	out := make([]Piece, 0, 2*len(o.shards))
	for i := range o.shards {
		s := &o.shards[i]
		box := layout.Whole(s.t.Shape).Narrow(0, s.lo, s.hi)
		out = append(out, Piece{s.t, ExpAvg, box, s.m}, Piece{s.t, ExpAvgSq, box, s.v})
	}
	return out
}

// Counters is the state that is the same on all ranks.
type Counters struct {
	Step   int    `json:"step"`
	Births Births `json:"births"`
}

// Counters are what a checkpoint stores beside the pieces.
func (o *Optimizer) Counters() Counters { return Counters{Step: o.step, Births: o.births} }

// Restore sets step count and births; the moments are written into the pieces of State. It waits for the stream.
func (o *Optimizer) Restore(s backend.Stream, c Counters) error {
	if c.Step < 0 {
		return fmt.Errorf("optim: step count %d: want at least 0", c.Step)
	}
	old := o.step
	o.step = c.Step
	if err := o.SetBirths(s, c.Births); err != nil {
		o.step = old
		return err
	}
	return nil
}
