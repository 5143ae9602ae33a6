package model

import (
	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/flops"
	"cambium/src/tensor"
)

// Options are the sizes of a Model's micro-batch and what it keeps of it.
type Options struct {
	MicroBatch, SeqLength int
	Inference             bool // forward only: one layer's activations instead of all
	Recompute             Recompute
	Slots                 []int // by chunk: passes whose activations are alive at the same time; nil: one each
	SplitBackward         bool  // BackwardInput and BackwardWeight in place of BackwardPass
	LogitBytes            int   // of logits that exist at one time, counted as fp32; 0: what a processor's cache holds. Inference takes that anyway
	Hooks                 Hooks
}

// Recompute says which activations are computed again in the backward pass instead of being kept.
type Recompute = flops.Recompute

// The kinds of recomputation: flops.KeptBytes says what each keeps.
const (
	RecomputeNone      = flops.RecomputeNone
	RecomputeSelective = flops.RecomputeSelective // norms' outputs and activation functions: what costs no GEMM
	RecomputeFull      = flops.RecomputeFull      // everything but a layer's input
)

// ParseRecompute is the inverse of Recompute.String.
func ParseRecompute(name string) (Recompute, error) { return flops.ParseRecompute(name) }

// Parallel is how the ranks of a tensor-parallel group share the layers.
type Parallel struct {
	TP               comm.Communicator // nil or of size 1: none
	SequenceParallel bool              // norms and the residual stream are split along the tokens too
}

// Hooks are called while a pass is enqueued; either may be nil.
type Hooks struct {
	// WeightsNeeded comes before the first operation of a forward pass that reads a group's weights.
	WeightsNeeded func(s backend.Stream, group int)
	// GradsReady comes behind the last operation of a backward pass that adds to a group's gradients.
	GradsReady func(s backend.Stream, group int)
}

// Pass names the activations of one micro-batch in one of the rank's runs of layers.
type Pass struct{ Chunk, Slot int }

// Back is what a backward pass needs besides the activations.
type Back struct {
	Tokens    tensor.Tensor // int32 [N]: on the first virtual stage
	Targets   tensor.Tensor // int32 [N]: on the last virtual stage
	GradScale float32       // of the sum of losses: on the last virtual stage
	// DX is [rows, C], as Input: in, the gradient of the pass's output (on the last virtual stage nothing); out, that of its
	// input (on the first, scratch).
	DX tensor.Tensor
}
