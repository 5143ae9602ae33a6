package pipeline

// message is one transfer between neighbouring virtual stages.
type message struct {
	forward    bool
	to         int // virtual stage
	microBatch int
}

// wire is the way from one pipeline stage to another. Its messages arrive in the order in which they are sent.
type wire struct{ from, to int }

// fifo holds what both sides of a wire have posted, in order.
type fifo struct{ sides [2][]post }

const (
	receiver = iota
	sender
)

// post is a send or a receive: the instruction and the time at which it was posted.
type post struct {
	message
	instruction Instruction
	time        int
}

// end is a posted instruction's place on its wire.
type end struct {
	wire  wire
	side  int
	index int
}

// communicate posts a group and passes it when every message of it has met its counterpart.
func (m *simulation) communicate(stage int, group []Instruction) bool {
	if m.open[stage] == nil {
		for _, i := range group {
			if !m.post(stage, i) {
				return false
			}
		}
	}
	done := m.now[stage]
	for n, e := range m.open[stage] {
		f := m.wires[e.wire]
		if e.index >= len(f.sides[1-e.side]) {
			return false
		}
		mine, other := f.sides[e.side][e.index], f.sides[1-e.side][e.index]
		if mine.message != other.message {
			peer := e.wire.from + e.wire.to - stage
			return m.fail(stage, group[n], "meets %v of stage %d", other.instruction, peer)
		}
		done = max(done, other.time)
	}
	for _, e := range m.open[stage] {
		if e.side == receiver {
			m.here[m.wires[e.wire].sides[receiver][e.index].message] = true
		}
	}
	m.open[stage] = nil
	m.now[stage] = done
	m.at[stage] += len(group)
	return true
}

// post puts one instruction on its wire.
func (m *simulation) post(stage int, i Instruction) bool {
	msg, side, ok := m.message(stage, i)
	if !ok {
		return false
	}
	p := len(m.s)
	from := msg.to - 1
	if !msg.forward {
		from = msg.to + 1
	}
	w := wire{from % p, msg.to % p}
	if m.wires[w] == nil {
		m.wires[w] = &fifo{}
	}
	f := m.wires[w]
	m.open[stage] = append(m.open[stage], end{w, side, len(f.sides[side])})
	f.sides[side] = append(f.sides[side], post{msg, i, m.now[stage]})
	return true
}

// message is the transfer that a communication instruction takes part in.
func (m *simulation) message(stage int, i Instruction) (message, int, bool) {
	v := m.virtual(stage, i)
	did := func(op Op) bool { return m.computed[computation{op, v, i.MicroBatch}] }
	switch {
	case v == 0 && (i.Op == RecvForward || i.Op == SendBackward):
		return message{}, 0, m.fail(stage, i, "has nobody before it")
	case v == m.last() && (i.Op == SendForward || i.Op == RecvBackward):
		return message{}, 0, m.fail(stage, i, "has nobody behind it")
	case i.Op == SendForward && !did(Forward):
		return message{}, 0, m.fail(stage, i, "comes before the forward pass")
	case i.Op == SendBackward && !did(BackwardInput):
		return message{}, 0, m.fail(stage, i, "comes before the backward pass")
	}
	switch i.Op {
	case RecvForward:
		return message{true, v, i.MicroBatch}, receiver, true
	case SendForward:
		return message{true, v + 1, i.MicroBatch}, sender, true
	case RecvBackward:
		return message{false, v, i.MicroBatch}, receiver, true
	}
	return message{false, v - 1, i.MicroBatch}, sender, true
}
