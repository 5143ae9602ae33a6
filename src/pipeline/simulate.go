package pipeline

import (
	"fmt"
	"strings"
)

// Costs are the durations of one pass through one chunk, in any unit. Messages take no time.
type Costs struct {
	Forward, Backward             int
	BackwardInput, BackwardWeight int // of schedules that split the backward pass
}

// Simulate runs a schedule: a stage goes through its list, a group of messages lasts until each has met its
// counterpart. Between two stages messages meet in the order in which each side posts them, as everywhere in MPI and
// NCCL. It returns an error that names stages and instructions when the schedule computes something too early, twice or not at
// all, when a message meets another than its own, or when stages wait for each other for ever.
//
// Costs hold for all virtual stages, or there is one for each.
func Simulate(s Schedule, costs ...Costs) (Timeline, error) {
	sim := newSimulation(s, costs)
	if n := sim.last() + 1; len(costs) != 1 && len(costs) != n {
		return Timeline{}, fmt.Errorf("pipeline: %d costs for %d virtual stages: want one for all, or one for each", len(costs), n)
	}
	for progress := true; progress; {
		progress = false
		for stage := range s {
			for sim.step(stage) {
				progress = true
			}
			if sim.err != nil {
				return Timeline{}, sim.err
			}
		}
	}
	if err := sim.complete(); err != nil {
		return Timeline{}, err
	}
	return sim.line, nil
}

type simulation struct {
	s        Schedule
	costs    []Costs
	chunks   int
	at, now  []int   // by stage: next instruction, clock
	open     [][]end // by stage: the posted messages of its group
	wires    map[wire]*fifo
	here     map[message]bool // arrived
	computed map[computation]bool
	line     Timeline
	err      error
}

// computation is a pass through a virtual stage. Backward counts as both of its halves.
type computation struct {
	op                  Op
	virtual, microBatch int
}

func newSimulation(s Schedule, costs []Costs) *simulation {
	chunks := max(s.Chunks(), 1)
	return &simulation{
		s: s, costs: costs, chunks: chunks, at: make([]int, len(s)), now: make([]int, len(s)), open: make([][]end, len(s)),
		wires: map[wire]*fifo{}, here: map[message]bool{}, computed: map[computation]bool{},
		line: Timeline{Spans: make([][]Span, len(s)), chunks: chunks},
	}
}

func (m *simulation) virtual(stage int, i Instruction) int { return i.Chunk*len(m.s) + stage }

func (m *simulation) last() int { return m.chunks*len(m.s) - 1 }

func (m *simulation) fail(stage int, i Instruction, why string, args ...any) bool {
	m.err = fmt.Errorf("pipeline: stage %d: %v "+why, append([]any{stage, i}, args...)...)
	return false
}

// step runs the next computation or group of messages of a stage if it can.
func (m *simulation) step(stage int) bool {
	list := m.s[stage]
	at := m.at[stage]
	if m.err != nil || at == len(list) {
		return false
	}
	if !list[at].Op.Communicates() {
		return m.compute(stage, list[at])
	}
	end := at
	for end < len(list) && list[end].Op.Communicates() {
		end++
	}
	return m.communicate(stage, list[at:end])
}

func (m *simulation) compute(stage int, i Instruction) bool {
	v := m.virtual(stage, i)
	did := func(op Op) bool { return m.computed[computation{op, v, i.MicroBatch}] }
	switch {
	case i.Op == Backward && (did(BackwardInput) || did(BackwardWeight)), did(i.Op):
		return m.fail(stage, i, "comes twice")
	case i.Op == Forward && v > 0 && !m.here[message{true, v, i.MicroBatch}]:
		return m.fail(stage, i, "comes before its activations were received")
	case i.Op != Forward && !did(Forward):
		return m.fail(stage, i, "comes before the forward pass")
	case i.Op == BackwardWeight && !did(BackwardInput):
		return m.fail(stage, i, "comes before the gradients of the activations")
	case i.Op != Forward && v < m.last() && !m.here[message{false, v, i.MicroBatch}]:
		return m.fail(stage, i, "comes before its gradients were received")
	}
	m.computed[computation{i.Op, v, i.MicroBatch}] = true
	if i.Op == Backward {
		m.computed[computation{BackwardInput, v, i.MicroBatch}] = true
		m.computed[computation{BackwardWeight, v, i.MicroBatch}] = true
	}
	span := Span{Instruction: i, Start: m.now[stage], End: m.now[stage] + m.cost(v).of(i.Op)}
	m.line.Spans[stage] = append(m.line.Spans[stage], span)
	m.line.Length = max(m.line.Length, span.End)
	m.now[stage] = span.End
	m.at[stage]++
	return true
}

func (m *simulation) cost(virtual int) Costs {
	if len(m.costs) == 1 {
		return m.costs[0]
	}
	return m.costs[virtual]
}

func (c Costs) of(o Op) int {
	return [...]int{Forward: c.Forward, Backward: c.Backward, BackwardInput: c.BackwardInput, BackwardWeight: c.BackwardWeight}[o]
}

// complete tells whether all stages came to their ends and everything was computed.
func (m *simulation) complete() error {
	var stuck []string
	for stage, at := range m.at {
		if at < len(m.s[stage]) {
			stuck = append(stuck, fmt.Sprintf("stage %d in %v", stage, m.s[stage][at]))
		}
	}
	if len(stuck) > 0 {
		return fmt.Errorf("pipeline: the stages wait for each other: %s", strings.Join(stuck, ", "))
	}
	for micro := range m.s.MicroBatches() {
		for v := range m.last() + 1 {
			did := func(op Op) bool { return m.computed[computation{op, v, micro}] }
			switch {
			case !did(Forward) || m.trains() && !did(BackwardInput):
				return fmt.Errorf("pipeline: stage %d never computes micro-batch %d forward and backward", v%len(m.s), micro)
			case m.trains() && !did(BackwardWeight):
				return fmt.Errorf("pipeline: stage %d never computes the gradients of the weights of micro-batch %d", v%len(m.s), micro)
			}
		}
	}
	return nil
}

// trains tells whether the schedule has backward passes at all.
func (m *simulation) trains() bool {
	for c := range m.computed {
		if c.op != Forward {
			return true
		}
	}
	return false
}
