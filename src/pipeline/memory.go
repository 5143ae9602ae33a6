package pipeline

// Unused stands for "no memory" where an instruction needs none.
const Unused = -1

// PeakActivations is the largest number of passes, over one stage's list, whose activations are alive together: those
// that went forward and have not gone backward. A chunk of a micro-batch counts as one.
func PeakActivations(list []Instruction) int {
	alive, peak := 0, 0
	for _, i := range list {
		switch i.Op {
		case Forward:
			alive++
			peak = max(peak, alive)
		case Backward, BackwardWeight:
			alive--
		}
	}
	return peak
}

// Slots deals out the memory of activations. A pass holds one slot of its chunk from the instruction that receives or computes its
// activations to the one that frees them: Backward, BackwardWeight, or in a list without backward passes the pass's last
// instruction. Slot is by instruction, Unused for a send of gradients behind the pass's end; perChunk is the number of slots
// of each chunk, the least possible: as many as passes of it are alive together.
func Slots(list []Instruction) (slot []int, perChunk []int) {
	chunks := Schedule{list}.Chunks()
	pools := make([]pool, chunks)
	end := map[pass]int{}
	for n, i := range list {
		if i.Op != SendBackward {
			end[i.pass()] = n
		}
	}
	for n, i := range list {
		s := Unused
		if last := end[i.pass()]; n <= last {
			s = pools[i.Chunk].hold(i.MicroBatch)
			if n == last {
				pools[i.Chunk].release(i.MicroBatch)
			}
		}
		slot = append(slot, s)
	}
	for c := range chunks {
		perChunk = append(perChunk, len(pools[c].users))
	}
	return slot, perChunk
}

// Messages deals out the memory of what is sent and received besides activations: outputs, from Forward to SendForward, and
// gradients, from RecvBackward (or the backward pass that begins with a loss) to SendBackward (or the backward pass that
// ends at the embedding). What a group of messages sends is in use until the whole group is through. Buffer is by
// instruction, Unused where it touches neither: an output on the last virtual stage, receiving activations, BackwardWeight.
// Outputs and gradients are numbered apart, each from 0.
func Messages(list []Instruction) (buffer []int, outputs, gradients int) {
	m := messages{sent: map[Op]map[pass]bool{SendForward: {}, SendBackward: {}}}
	for _, i := range list {
		if s := m.sent[i.Op]; s != nil {
			s[i.pass()] = true
		}
	}
	for n, i := range list {
		buffer = append(buffer, m.place(i))
		if n+1 == len(list) || !list[n+1].Op.Communicates() {
			m.settle()
		}
	}
	return buffer, len(m.outs.users), len(m.grads.users)
}

type messages struct {
	sent        map[Op]map[pass]bool
	outs, grads pool
	done        []func() // what the group at hand sends
}

// place is the buffer of one instruction.
func (m *messages) place(i Instruction) int {
	key := i.MicroBatch<<16 | i.Chunk
	switch i.Op {
	case Forward:
		if m.sent[SendForward][i.pass()] {
			return m.outs.hold(key)
		}
	case SendForward:
		m.done = append(m.done, func() { m.outs.release(key) })
		return m.outs.hold(key)
	case RecvBackward:
		return m.grads.hold(key)
	case Backward, BackwardInput:
		b := m.grads.hold(key)
		if !m.sent[SendBackward][i.pass()] {
			m.grads.release(key)
		}
		return b
	case SendBackward:
		m.done = append(m.done, func() { m.grads.release(key) })
		return m.grads.hold(key)
	}
	return Unused
}

// settle frees what a group has sent.
func (m *messages) settle() {
	for _, f := range m.done {
		f()
	}
	m.done = nil
}

// pool numbers things that are held for a time, the lowest free number first.
type pool struct{ users []int }

const nobody = -1

// hold is the number of a user, a new one unless it has one.
func (p *pool) hold(user int) int {
	free := len(p.users)
	for i := len(p.users) - 1; i >= 0; i-- {
		switch p.users[i] {
		case user:
			return i
		case nobody:
			free = i
		}
	}
	if free == len(p.users) {
		p.users = append(p.users, nobody)
	}
	p.users[free] = user
	return free
}

func (p *pool) release(user int) { p.users[p.hold(user)] = nobody }
