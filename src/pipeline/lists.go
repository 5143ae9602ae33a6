package pipeline

import "fmt"

// Make is the schedule of a name (see Names). Chunks is 1 but for interleaved.
func Make(name string, stages, chunks, microBatches int) (Schedule, error) {
	switch name {
	case NameGPipe:
		return GPipe(stages, microBatches), nil
	case Name1F1B:
		return OneFOneB(stages, microBatches), nil
	case NameInterleaved:
		if microBatches%stages != 0 {
			return nil, fmt.Errorf("pipeline: %d micro-batches on %d stages: an interleaved schedule needs a multiple", microBatches, stages)
		}
		return Interleaved(stages, chunks, microBatches), nil
	case NameZeroBubble:
		return ZBH1(stages, microBatches), nil
	}
	return nil, fmt.Errorf("pipeline: unknown schedule %q: want one of %v", name, Names())
}

// GPipe makes all forward passes, then all backward passes, the last micro-batch first (arXiv 1811.06965). Every
// micro-batch's activations are alive at the turn.
func GPipe(stages, microBatches int) Schedule {
	return build(stages, 1, func(b *builder) {
		for m := range microBatches {
			b.receive(Forward, pass{microBatch: m})
			b.compute(Forward, pass{microBatch: m})
			b.send(Forward, pass{microBatch: m})
		}
		for m := microBatches - 1; m >= 0; m-- {
			b.receive(Backward, pass{microBatch: m})
			b.compute(Backward, pass{microBatch: m})
			b.send(Backward, pass{microBatch: m})
		}
	})
}

// OneFOneB is the schedule of PipeDream-flush and Megatron (arXiv 2006.09503, 2104.04473 section 2.2): after a warm-up
// of stages-1-s forward passes, stage s makes one forward and one backward pass in turn. Its time is GPipe's; no more
// than stages-s micro-batches are alive on stage s.
func OneFOneB(stages, microBatches int) Schedule {
	return build(stages, 1, func(b *builder) {
		b.oneFOneB(microBatches, Backward, func(int) {})
	})
}

// ZBH1 is the memory-saving zero-bubble schedule (arXiv 2401.10241, section 3.1 and figure 2): 1F1B with every backward pass
// split in two. The half that the stage before waits for is made at once; stage s puts the other half off by s
// micro-batches, so that it fills the time in which 1F1B waits. No more than stages micro-batches are alive on any stage, as
// on the first of 1F1B. With w no longer than f the bubble is (p-1)(f+b-w), where f, b and w are the times of a forward
// pass and of the two halves: a third of 1F1B's (p-1)(f+b+w) when they are equal.
func ZBH1(stages, microBatches int) Schedule {
	return build(stages, 1, func(b *builder) {
		done := 0
		b.oneFOneB(microBatches, BackwardInput, func(m int) {
			if m >= b.stage {
				b.compute(BackwardWeight, pass{microBatch: done})
				done++
			}
		})
		for ; done < microBatches; done++ {
			b.compute(BackwardWeight, pass{microBatch: done})
		}
	})
}

// oneFOneB is the order of 1F1B, with a deferred part of the backward pass: beside a forward pass it comes before the messages,
// which wait for that forward pass at the stage before anyway; when none is left it comes behind them, because
// the stage before waits for nothing else.
func (b *builder) oneFOneB(microBatches int, backward Op, deferred func(m int)) {
	warm := min(b.stages-1-b.stage, microBatches)
	for m := range warm {
		b.receive(Forward, pass{microBatch: m})
		b.compute(Forward, pass{microBatch: m})
		b.send(Forward, pass{microBatch: m})
	}
	if warm < microBatches {
		b.receive(Forward, pass{microBatch: warm})
	}
	for m := range microBatches {
		next := warm + m // the forward pass beside the backward pass
		if next < microBatches {
			b.compute(Forward, pass{microBatch: next})
			b.send(Forward, pass{microBatch: next}) // one group with the receive: the neighbour sends in the other direction now
		}
		b.receive(Backward, pass{microBatch: m})
		b.compute(backward, pass{microBatch: m})
		if next+1 < microBatches {
			deferred(m)
			b.send(Backward, pass{microBatch: m})
			b.receive(Forward, pass{microBatch: next + 1})
		} else {
			b.send(Backward, pass{microBatch: m})
			deferred(m)
		}
	}
}

// Interleaved is 1F1B over virtual stages, in Megatron's order (arXiv 2104.04473, section 2.2.2): every stage holds chunks runs
// of layers and takes stages micro-batches at a time through one chunk before the next. Stage s begins with
// 2 (stages-1-s) + (chunks-1) stages forward passes; then one forward and one backward pass go together with the messages
// of both in one group. The bubble is 1/chunks of 1F1B's, for chunks times the messages; at most
// stages x chunks + stages - 1 passes are alive on the first stage. Micro-batches come in multiples of stages: with others the
// stages would wait for each other (Make refuses them).
func Interleaved(stages, chunks, microBatches int) Schedule {
	order := chunkOrder(stages, chunks, microBatches)
	back := make([]pass, len(order))
	for i, x := range order {
		back[i] = pass{chunk: chunks - 1 - x.chunk, microBatch: x.microBatch}
	}
	return build(stages, chunks, func(b *builder) {
		total := len(order)
		warm := min(2*(stages-1-b.stage)+(chunks-1)*stages, total)
		b.receiveNext(Forward, order, 0)
		for k := range warm {
			b.compute(Forward, order[k])
			b.send(Forward, order[k])
			b.receiveNext(Forward, order, k+1)
		}
		b.receiveNext(Backward, back, 0) // with the last messages of the warm-up
		for k := range total - warm {
			b.compute(Forward, order[warm+k])
			b.compute(Backward, back[k])
			b.send(Forward, order[warm+k])
			b.send(Backward, back[k])
			b.receiveNext(Forward, order, warm+k+1)
			b.receiveNext(Backward, back, k+1)
		}
		for k := total - warm; k < total; k++ {
			b.compute(Backward, back[k])
			b.send(Backward, back[k])
			b.receiveNext(Backward, back, k+1)
		}
	})
}

// ForwardOnly makes forward passes alone, for evaluation, in the order in which Interleaved begins.
func ForwardOnly(stages, chunks, microBatches int) Schedule {
	order := chunkOrder(stages, chunks, microBatches)
	return build(stages, chunks, func(b *builder) {
		b.receiveNext(Forward, order, 0)
		for k, x := range order {
			b.compute(Forward, x)
			b.send(Forward, x)
			b.receiveNext(Forward, order, k+1)
		}
	})
}

// chunkOrder is the order in which a stage takes micro-batches through its chunks: stages of them through the first chunk,
// the same through the next, and so on.
func chunkOrder(stages, chunks, microBatches int) []pass {
	var out []pass
	for lo := 0; lo < microBatches; lo += stages {
		for c := range chunks {
			for m := lo; m < min(lo+stages, microBatches); m++ {
				out = append(out, pass{chunk: c, microBatch: m})
			}
		}
	}
	return out
}

// builder collects the list of one stage.
type builder struct {
	stage, stages, chunks int
	list                  []Instruction
}

func build(stages, chunks int, each func(*builder)) Schedule {
	s := make(Schedule, stages)
	for i := range s {
		b := builder{stage: i, stages: stages, chunks: chunks}
		each(&b)
		s[i] = b.list
	}
	return s
}

func (b *builder) compute(op Op, x pass) {
	b.list = append(b.list, Instruction{Op: op, MicroBatch: x.microBatch, Chunk: x.chunk})
}

// first tells whether a chunk has no layers before it, last whether it has none behind it: they have nobody to talk to there.
func (b *builder) first(chunk int) bool { return b.stage == 0 && chunk == 0 }
func (b *builder) last(chunk int) bool  { return b.stage == b.stages-1 && chunk == b.chunks-1 }

func (b *builder) receive(op Op, x pass) {
	switch {
	case op == Forward && !b.first(x.chunk):
		b.compute(RecvForward, x)
	case op == Backward && !b.last(x.chunk):
		b.compute(RecvBackward, x)
	}
}

// receiveNext receives for pass k of an order, if there is one.
func (b *builder) receiveNext(op Op, order []pass, k int) {
	if k < len(order) {
		b.receive(op, order[k])
	}
}

func (b *builder) send(op Op, x pass) {
	switch {
	case op == Forward && !b.last(x.chunk):
		b.compute(SendForward, x)
	case op == Backward && !b.first(x.chunk):
		b.compute(SendBackward, x)
	}
}
