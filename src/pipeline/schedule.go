package pipeline

import "fmt"

// Op is what an instruction does with its micro-batch.
type Op uint8

// The instructions. Send and receive go to and come from the neighbour that holds the layers before or behind.
const (
	Forward        Op = iota // compute the activations
	Backward                 // compute the gradients of activations and weights; frees the activations
	BackwardInput            // the half of Backward that the stage before waits for: gradients of activations
	BackwardWeight           // the other half: gradients of weights; frees the activations
	RecvForward              // activations from the stage before
	SendForward              // activations to the stage behind
	RecvBackward             // gradients from the stage behind
	SendBackward             // gradients to the stage before
)

var opNames = [...]string{"F", "B", "BI", "W", "RF", "SF", "RB", "SB"}

// String is F, B, BI, W, RF, SF, RB or SB.
func (o Op) String() string { return opNames[o] }

// Communicates tells whether the instruction is a send or a receive.
func (o Op) Communicates() bool { return o >= RecvForward }

// Instruction is one step of a stage. Chunk counts the runs of layers that a stage holds: chunk c of stage s is virtual
// stage c*stages + s. Schedules that give each stage one run of layers have chunk 0 alone.
type Instruction struct {
	Op         Op
	MicroBatch int
	Chunk      int
}

// String is like "F3", or "F3.1" in chunk 1.
func (i Instruction) String() string {
	if i.Chunk == 0 {
		return fmt.Sprintf("%v%d", i.Op, i.MicroBatch)
	}
	return fmt.Sprintf("%v%d.%d", i.Op, i.MicroBatch, i.Chunk)
}

func (i Instruction) pass() pass { return pass{i.Chunk, i.MicroBatch} }

// pass is one micro-batch in one chunk.
type pass struct{ chunk, microBatch int }

// Schedule is one list of instructions for every stage.
type Schedule [][]Instruction

// MicroBatches is the number of micro-batches, Chunks that of runs of layers a stage.
func (s Schedule) MicroBatches() int { return s.most(func(i Instruction) int { return i.MicroBatch }) }

// Chunks is the number of runs of layers that a stage holds.
func (s Schedule) Chunks() int { return s.most(func(i Instruction) int { return i.Chunk }) }

func (s Schedule) most(of func(Instruction) int) int {
	n := 0
	for _, list := range s {
		for _, i := range list {
			n = max(n, of(i)+1)
		}
	}
	return n
}

// Split tells whether the schedule splits its backward passes.
func (s Schedule) Split() bool {
	for _, list := range s {
		for _, i := range list {
			if i.Op == BackwardInput || i.Op == BackwardWeight {
				return true
			}
		}
	}
	return false
}
