package pipeline

import (
	"fmt"
	"strings"
)

// Costs are the durations of one pass through one chunk, in any unit. Messages take no time.
type Costs struct{ Forward, Backward int }

// Span is a computation in a Timeline: it runs in [Start, End).
type Span struct {
	Instruction
	Start, End int
}

// Timeline is when each stage computes what.
type Timeline struct {
	Spans  [][]Span // by stage
	Length int      // when the last span ends
	chunks int
}

// Simulate runs a schedule: a stage goes through its list, a group of messages lasts until each has met its
// counterpart. It returns an error that names stages and instructions when the schedule computes something too early,
// twice or not at all, or when stages wait for each other for ever.
func Simulate(s Schedule, c Costs) (Timeline, error) {
	sim := newSimulation(s, c)
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

// message is one transfer between neighbouring virtual stages.
type message struct {
	forward    bool
	to         int // virtual stage
	microBatch int
}

type pass struct{ virtual, microBatch int }

type simulation struct {
	s        Schedule
	costs    Costs
	chunks   int
	at, now  []int // by stage: next instruction, clock
	posted   map[message][2]int
	here     map[message]bool // arrived
	forward  map[pass]bool
	backward map[pass]bool
	line     Timeline
	err      error
}

// posted holds the times at which receiver and sender posted, plus one; 0 is "not yet".
const (
	receiver = iota
	sender
)

func newSimulation(s Schedule, c Costs) *simulation {
	return &simulation{
		s: s, costs: c, chunks: max(s.Chunks(), 1), at: make([]int, len(s)), now: make([]int, len(s)),
		posted: map[message][2]int{}, here: map[message]bool{}, forward: map[pass]bool{}, backward: map[pass]bool{},
		line: Timeline{Spans: make([][]Span, len(s)), chunks: max(s.Chunks(), 1)},
	}
}

func (m *simulation) virtual(stage int, i Instruction) int { return i.Chunk*len(m.s) + stage }

func (m *simulation) last() int { return m.chunks*len(m.s) - 1 }

func (m *simulation) fail(stage int, i Instruction, why string) bool {
	m.err = fmt.Errorf("pipeline: stage %d: %v %s", stage, i, why)
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
	p := pass{v, i.MicroBatch}
	span := Span{Instruction: i, Start: m.now[stage]}
	switch {
	case i.Op == Forward && m.forward[p], i.Op == Backward && m.backward[p]:
		return m.fail(stage, i, "comes twice")
	case i.Op == Forward && v > 0 && !m.here[message{true, v, i.MicroBatch}]:
		return m.fail(stage, i, "comes before its activations were received")
	case i.Op == Backward && !m.forward[p]:
		return m.fail(stage, i, "comes before the forward pass")
	case i.Op == Backward && v < m.last() && !m.here[message{false, v, i.MicroBatch}]:
		return m.fail(stage, i, "comes before its gradients were received")
	case i.Op == Forward:
		m.forward[p] = true
		span.End = span.Start + m.costs.Forward
	default:
		m.backward[p] = true
		span.End = span.Start + m.costs.Backward
	}
	m.line.Spans[stage] = append(m.line.Spans[stage], span)
	m.line.Length = max(m.line.Length, span.End)
	m.now[stage] = span.End
	m.at[stage]++
	return true
}

// communicate posts a group and passes it when every message of it has met its counterpart.
func (m *simulation) communicate(stage int, group []Instruction) bool {
	done := m.now[stage]
	for _, i := range group {
		msg, side, ok := m.message(stage, i)
		if !ok {
			return false
		}
		times := m.posted[msg]
		if times[side] == 0 {
			times[side] = m.now[stage] + 1
			m.posted[msg] = times
		}
	}
	for _, i := range group {
		msg, side, _ := m.message(stage, i)
		times := m.posted[msg]
		if times[1-side] == 0 {
			return false
		}
		done = max(done, times[1-side]-1)
	}
	for _, i := range group {
		if msg, side, _ := m.message(stage, i); side == receiver {
			m.here[msg] = true
		}
	}
	m.now[stage] = done
	m.at[stage] += len(group)
	return true
}

// message is the transfer that a communication instruction takes part in.
func (m *simulation) message(stage int, i Instruction) (message, int, bool) {
	v := m.virtual(stage, i)
	p := pass{v, i.MicroBatch}
	switch i.Op {
	case RecvForward:
		if v == 0 {
			return message{}, 0, m.fail(stage, i, "has nobody before it")
		}
		return message{true, v, i.MicroBatch}, receiver, true
	case SendForward:
		if v == m.last() {
			return message{}, 0, m.fail(stage, i, "has nobody behind it")
		}
		if !m.forward[p] {
			return message{}, 0, m.fail(stage, i, "comes before the forward pass")
		}
		return message{true, v + 1, i.MicroBatch}, sender, true
	case RecvBackward:
		if v == m.last() {
			return message{}, 0, m.fail(stage, i, "has nobody behind it")
		}
		return message{false, v, i.MicroBatch}, receiver, true
	}
	if v == 0 {
		return message{}, 0, m.fail(stage, i, "has nobody before it")
	}
	if !m.backward[p] {
		return message{}, 0, m.fail(stage, i, "comes before the backward pass")
	}
	return message{false, v - 1, i.MicroBatch}, sender, true
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
			if p := (pass{v, micro}); !m.forward[p] || !m.backward[p] {
				return fmt.Errorf("pipeline: stage %d never computes micro-batch %d forward and backward", v%len(m.s), micro)
			}
		}
	}
	return nil
}
