package pipeline

import "fmt"

// Op is what an instruction does with its micro-batch.
type Op uint8

// The instructions. Send and receive go to and come from the neighbour that holds the layers before or behind.
const (
	Forward      Op = iota // compute the activations
	Backward               // compute the gradients of activations and weights; frees the activations
	RecvForward            // activations from the stage before
	SendForward            // activations to the stage behind
	RecvBackward           // gradients from the stage behind
	SendBackward           // gradients to the stage before
)

var opNames = [...]string{"F", "B", "RF", "SF", "RB", "SB"}

// String is F, B, RF, SF, RB or SB.
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

// Schedule is one list of instructions for every stage.
type Schedule [][]Instruction

// GPipe makes all forward passes, then all backward passes, the last micro-batch first (arXiv 1811.06965). Every
// micro-batch's activations are alive at the turn.
func GPipe(stages, microBatches int) Schedule {
	return build(stages, func(b *builder) {
		for m := range microBatches {
			b.receive(Forward, m)
			b.compute(Forward, m)
			b.send(Forward, m)
		}
		for m := microBatches - 1; m >= 0; m-- {
			b.receive(Backward, m)
			b.compute(Backward, m)
			b.send(Backward, m)
		}
	})
}

// OneFOneB is the schedule of PipeDream-flush and Megatron (arXiv 2006.09503, 2104.04473 section 2.2): after a warm-up
// of stages-1-s forward passes, stage s makes one forward and one backward pass in turn. Its time is GPipe's; no more
// than stages-s micro-batches are alive on stage s.
func OneFOneB(stages, microBatches int) Schedule {
	return build(stages, func(b *builder) {
		warm := min(stages-1-b.stage, microBatches)
		for m := range warm {
			b.receive(Forward, m)
			b.compute(Forward, m)
			b.send(Forward, m)
		}
		if warm < microBatches {
			b.receive(Forward, warm)
		}
		for m := warm; m < microBatches; m++ {
			b.compute(Forward, m)
			b.send(Forward, m) // one group with the receive: the neighbour sends in the other direction now
			b.receive(Backward, m-warm)
			b.compute(Backward, m-warm)
			b.send(Backward, m-warm)
			if m+1 < microBatches {
				b.receive(Forward, m+1)
			}
		}
		for m := microBatches - warm; m < microBatches; m++ {
			b.receive(Backward, m)
			b.compute(Backward, m)
			b.send(Backward, m)
		}
	})
}

// builder collects the list of one stage. The first and the last stage have a neighbour on one side only.
type builder struct {
	stage, stages int
	list          []Instruction
}

func build(stages int, each func(*builder)) Schedule {
	s := make(Schedule, stages)
	for i := range s {
		b := builder{stage: i, stages: stages}
		each(&b)
		s[i] = b.list
	}
	return s
}

func (b *builder) compute(op Op, m int) { b.list = append(b.list, Instruction{Op: op, MicroBatch: m}) }

func (b *builder) receive(op Op, m int) {
	switch {
	case op == Forward && b.stage > 0:
		b.compute(RecvForward, m)
	case op == Backward && b.stage < b.stages-1:
		b.compute(RecvBackward, m)
	}
}

func (b *builder) send(op Op, m int) {
	switch {
	case op == Forward && b.stage < b.stages-1:
		b.compute(SendForward, m)
	case op == Backward && b.stage > 0:
		b.compute(SendBackward, m)
	}
}

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

// PeakActivations is the largest number of passes, over one stage's list, whose activations are alive together: those
// that went forward and have not gone backward. A chunk of a micro-batch counts as one.
func PeakActivations(list []Instruction) int {
	alive, peak := 0, 0
	for _, i := range list {
		switch i.Op {
		case Forward:
			alive++
			peak = max(peak, alive)
		case Backward:
			alive--
		}
	}
	return peak
}
