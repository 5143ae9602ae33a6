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
// ends at the embedding). Buffer is by instruction, Unused where it touches neither: an output on the last virtual stage,
// receiving activations, BackwardWeight. Outputs and gradients are numbered apart, each from 0.
func Messages(list []Instruction) (buffer []int, outputs, gradients int) {
	sent := map[Op]map[pass]bool{SendForward: {}, SendBackward: {}}
	for _, i := range list {
		switch i.Op {
		case SendForward, SendBackward:
			sent[i.Op][i.pass()] = true
		}
	}
	var outs, grads pool
	for _, i := range list {
		key, b := i.MicroBatch*(1<<16)+i.Chunk, Unused
		switch i.Op {
		case Forward:
			if sent[SendForward][i.pass()] {
				b = outs.hold(key)
			}
		case SendForward:
			b = outs.hold(key)
			outs.release(key)
		case RecvBackward:
			b = grads.hold(key)
		case Backward, BackwardInput:
			if b = grads.hold(key); !sent[SendBackward][i.pass()] {
				grads.release(key)
			}
		case SendBackward:
			b = grads.hold(key)
			grads.release(key)
		}
		buffer = append(buffer, b)
	}
	return buffer, len(outs.users), len(grads.users)
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
