package execute

import (
	"fmt"
	"slices"
	"time"

	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/model"
	"cambium/src/pipeline"
	"cambium/src/tensor"
)

// plan makes the steps: every computation one, every group of messages one.
func (e *Executor) plan() error {
	list := e.options.Schedule[e.group.Rank()]
	slots, _ := pipeline.Slots(list)
	buffers, outputs, gradients := pipeline.Messages(list)
	outs, grads, err := e.planMessages(outputs, gradients)
	if err != nil {
		return err
	}
	group := -1 // the step of messages that is open
	for n, x := range list {
		p, b := model.Pass{Chunk: x.Chunk, Slot: slots[n]}, buffers[n]
		if x.Op.Communicates() {
			if group < 0 {
				group = len(e.steps)
				e.steps = append(e.steps, step{Instruction: x, name: "pipeline"})
			}
			g := &e.steps[group]
			g.name += " " + x.String()
			g.messages = append(g.messages, e.message(x, p, b, outs, grads))
			continue
		}
		group = -1
		s := step{Instruction: x, pass: p}
		switch {
		case b == pipeline.Unused:
		case x.Op == pipeline.Forward:
			s.out = outs[b]
		default:
			s.dx = grads[b]
		}
		e.steps = append(e.steps, s)
	}
	e.mark()
	return nil
}

// planMessages takes the memory of what is sent and received besides activations.
func (e *Executor) planMessages(outputs, gradients int) (outs, grads []tensor.Tensor, err error) {
	shape := e.options.Shape
	if outputs+gradients == 0 {
		return nil, nil, nil
	}
	take := func(a *backend.Arena, n int) (t []tensor.Tensor) {
		for range n {
			t = append(t, a.Tensor(shape.DType, shape.Rows, shape.Hidden))
		}
		return t
	}
	e.memory, err = backend.Plan(e.backend, "messages", func(a *backend.Arena) { outs, grads = take(a, outputs), take(a, gradients) })
	if err != nil {
		return nil, nil, fmt.Errorf("execute: %d messages between pipeline stages: %w", outputs+gradients, err)
	}
	return outs, grads, nil
}

// message is the transfer of a communication instruction. A chunk's neighbours are the virtual stages before and behind it.
func (e *Executor) message(x pipeline.Instruction, p model.Pass, buffer int, outs, grads []tensor.Tensor) comm.Message {
	n, stage := e.group.Size(), e.group.Rank()
	behind, before := (stage+1)%n, (stage+n-1)%n
	switch x.Op {
	case pipeline.SendForward:
		return comm.Message{Peer: behind, Send: true, Parts: []tensor.Tensor{outs[buffer]}}
	case pipeline.RecvForward:
		return comm.Message{Peer: before, Parts: []tensor.Tensor{e.model.Input(p)}}
	case pipeline.RecvBackward:
		return comm.Message{Peer: behind, Parts: []tensor.Tensor{grads[buffer]}}
	}
	return comm.Message{Peer: before, Send: true, Parts: []tensor.Tensor{grads[buffer]}}
}

// mark notes which passes read a micro-batch first, end in a loss, and are the first and the last of their chunks.
func (e *Executor) mark() {
	evaluates := !slices.ContainsFunc(e.steps, func(x step) bool { return x.messages == nil && x.Op != pipeline.Forward })
	read, seen := map[int]bool{}, map[int]bool{}
	last := map[int]*step{}
	for i := range e.steps {
		x := &e.steps[i]
		if x.messages != nil {
			continue
		}
		if e.options.Clock {
			e.clock(x)
		}
		c := x.Chunk
		if x.Op != pipeline.Forward {
			last[c] = x
			continue
		}
		if (e.model.First(c) || e.model.Last(c)) && !read[x.MicroBatch] {
			read[x.MicroBatch], x.fills = true, true
		}
		x.ends = e.model.Last(c) && evaluates
		x.needs = !seen[c]
		seen[c] = true
	}
	for _, x := range last {
		x.ready = true
	}
}

// clock makes a step note when it begins and ends.
func (e *Executor) clock(x *step) {
	at := len(e.spans)
	e.spans = append(e.spans, Span{Instruction: x.Instruction})
	x.begin = func() error { e.spans[at].Begin = time.Now(); return nil }
	x.end = func() error { e.spans[at].End = time.Now(); return nil }
}
