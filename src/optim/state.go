package optim

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/layout"
	"cambium/src/tensor"
)

// The kinds of a Piece: the master weight, and the running means of the gradient and of its square, named as in PyTorch's
// state.
const (
	Weight   = "weight"
	ExpAvg   = "exp_avg"
	ExpAvgSq = "exp_avg_sq"
)

// Piece is a part of the state that this rank holds: a box of one tensor. Data is the memory itself, fp32 and
// contiguous: a checkpoint reads it, and writes it to resume. Weights in fp32 are their own masters: then Data is a part of
// Params.Weight.
type Piece struct {
	Tensor arch.Tensor // the global tensor of the layout
	Kind   string      // Weight, ExpAvg or ExpAvgSq
	Box    layout.Box
	Data   tensor.Tensor
}

// State is all pieces of this rank, in the order of the parameter table: three a tensor. Their boxes are those of
// layout.Optimizer. Whoever writes master weights calls PublishWeights.
func (o *Optimizer) State() []Piece {
	out := make([]Piece, 0, 3*len(o.shards))
	for i := range o.shards {
		s := &o.shards[i]
		out = append(out, Piece{s.t, Weight, s.box, s.w}, Piece{s.t, ExpAvg, s.box, s.m}, Piece{s.t, ExpAvgSq, s.box, s.v})
	}
	return out
}

// Masters tells whether the master weights have memory of their own: the model's are bf16 or fp16.
func (o *Optimizer) Masters() bool { return o.masters }

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
