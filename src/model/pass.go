package model

import (
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Chunks is the number of runs of layers that this rank's pipeline stage holds.
func (x *Model) Chunks() int { return len(x.chunks) }

// First tells whether a chunk is the first virtual stage, which embeds tokens.
func (x *Model) First(chunk int) bool { return x.chunks[chunk].first }

// Last tells whether a chunk is the last virtual stage, which computes losses.
func (x *Model) Last(chunk int) bool { return x.chunks[chunk].last }

// Stream is the shape of the residual stream between virtual stages on this rank: [rows, C], rows = N, or N/tp with sequence
// parallelism, in the type of the weights.
func (x *Model) Stream() (rows, cols int, d tensor.DType) { return x.d.rows, x.d.hidden, x.d.dtype }

// Input is the memory into which the activations of a pass are to be received, [rows, C]; on the first virtual stage the pass
// itself fills it.
func (x *Model) Input(p Pass) tensor.Tensor { return x.chunks[p.Chunk].slots[p.Slot].caches[0].X1 }

// ForwardPass runs one chunk over one micro-batch and keeps in the slot what the backward pass needs. The first virtual stage
// embeds tokens, the others read Input(p). The last ends with the final norm; the others write the residual stream to out,
// [rows, C].
func (x *Model) ForwardPass(s backend.Stream, p Pass, tokens, out tensor.Tensor) {
	x.d.fillTables(s)
	x.ramp.refresh(s)
	c := &x.chunks[p.Chunk]
	slot := &c.slots[p.Slot]
	stream := Residual{X: slot.caches[0].X1}
	if c.first {
		x.needs(s, 0)
		x.embedding.Forward(s, tokens, stream.X)
	}
	for l, b := range c.blocks {
		delta := out // each block puts its output where the next norm reads and then overwrites it
		switch {
		case l+1 < len(c.blocks):
			delta = slot.caches[l+1].Y1
		case c.last:
			delta = slot.head.Y
		}
		x.needs(s, 1+b.layer)
		stream = b.Forward(s, stream, &slot.caches[l], delta)
	}
	if !c.last {
		addUp(s, stream)
		return
	}
	x.needs(s, x.final)
	x.head.Hidden(s, stream, &slot.head)
	x.shown = slot.head
}

// addUp makes the stream's Delta the whole of it.
func addUp(s backend.Stream, r Residual) {
	if r.Scale != 1 {
		s.Scale(r.Delta, r.Scale)
	}
	s.Axpy(r.Delta, r.X, 1)
}

// LossPass computes the losses of the last virtual stage, after ForwardPass, and no gradients.
func (x *Model) LossPass(s backend.Stream, p Pass, targets tensor.Tensor) {
	x.head.Forward(s, &x.chunks[p.Chunk].slots[p.Slot].head, targets)
}

// BackwardPass adds the gradients of a pass to those of the parameters: see Back.
func (x *Model) BackwardPass(s backend.Stream, p Pass, b Back) {
	if x.d.split {
		panic("model: BackwardPass of a model whose backward passes are split")
	}
	x.backward(s, p, b, true)
}

// BackwardInput is the part of a backward pass that the stage before waits for: it leaves the gradient of the pass's input in
// b.DX, and in the slot what BackwardWeight needs. It also adds the gradients of the norms, of the embedding, and of the
// output layer, whose factor, the logits' gradient, exists a chunk at a time only.
func (x *Model) BackwardInput(s backend.Stream, p Pass, b Back) {
	if !x.d.split {
		panic("model: BackwardInput of a model whose backward passes are not split")
	}
	x.backward(s, p, b, false)
}

// BackwardWeight adds the gradients that BackwardInput left out, and frees the slot.
func (x *Model) BackwardWeight(s backend.Stream, p Pass) {
	c := &x.chunks[p.Chunk]
	slot := &c.slots[p.Slot]
	if c.last {
		x.ready(s, x.final)
	}
	for l := len(c.blocks) - 1; l >= 0; l-- {
		c.blocks[l].WeightGrads(s, &slot.caches[l], slot.flows[l], &x.scratch)
		x.ready(s, 1+c.blocks[l].layer)
	}
	if c.first {
		x.ready(s, 0)
	}
}

func (x *Model) backward(s backend.Stream, p Pass, b Back, weights bool) {
	if !x.trains {
		panic("model: a backward pass of a model for inference or without gradients")
	}
	c := &x.chunks[p.Chunk]
	slot := &c.slots[p.Slot]
	x.enter(s, c, slot, b, weights)
	for l := len(c.blocks) - 1; l >= 0; l-- {
		f := flow{out: b.DX, mid: b.DX, in: b.DX, qkv: x.scratch.DQKV}
		if !weights {
			if f = slot.flows[l]; l == 0 {
				f.in = b.DX
			}
		}
		c.blocks[l].Backward(s, &slot.caches[l], f, &x.scratch, weights)
		if weights {
			x.ready(s, 1+c.blocks[l].layer)
		}
	}
	if !c.first {
		return
	}
	x.embedding.Backward(s, b.Tokens, b.DX)
	if weights {
		x.ready(s, 0)
	}
}

// enter brings the gradient of the last layer's output to where that layer's backward pass reads it.
func (x *Model) enter(s backend.Stream, c *chunk, slot *slot, b Back, weights bool) {
	dx := b.DX
	if !weights {
		dx = slot.flows[len(c.blocks)-1].out
	}
	switch {
	case c.last:
		x.head.ForwardBackward(s, &slot.head, b.Targets, b.GradScale, dx, &x.scratch)
		if weights {
			x.ready(s, x.final)
		}
	case !weights:
		s.Copy(dx, b.DX)
	}
}

func (x *Model) needs(s backend.Stream, group int) {
	if x.hooks.WeightsNeeded != nil {
		x.hooks.WeightsNeeded(s, group)
	}
}

func (x *Model) ready(s backend.Stream, group int) {
	if x.hooks.GradsReady != nil {
		x.hooks.GradsReady(s, group)
	}
}
