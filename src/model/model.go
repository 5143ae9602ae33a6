package model

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Options are the sizes of a Model's micro-batch.
type Options struct {
	MicroBatch, SeqLength int
	Inference             bool // forward only: one layer's activations instead of all
}

// Model is a GPT bound to parameters and planned memory. All its calls enqueue work in a stream; a model is used from one
// stream at a time.
type Model struct {
	d         *dims
	backend   backend.Backend
	params    *Params
	embedding Embedding
	blocks    []*Block
	caches    []*Cache // one a block; for inference all the same
	head      Head
	scratch   Scratch
	ramp      *ramp
	trains    bool
	memory    *tensor.Memory
}

// New plans all memory of a model over p, labelled "activations". Parameters may be shared by several models, as
// training and evaluation do.
func New(b backend.Backend, m arch.Model, f arch.Function, p *Params, o Options) (*Model, error) {
	d, err := newDims(m, f, o)
	if err != nil {
		return nil, err
	}
	r := &ramp{}
	x := &Model{d: d, backend: b, params: p, ramp: r, trains: !o.Inference && p.grads != nil}
	x.embedding, x.head = newEmbedding(d, p), newHead(d, r, p)
	for l := range m.NumLayers {
		x.blocks = append(x.blocks, newBlock(d, r, p, l))
	}
	if x.memory, err = backend.Plan(b, "activations", x.plan); err != nil {
		return nil, fmt.Errorf("model: activations of %d x %d tokens: %w", o.MicroBatch, o.SeqLength, err)
	}
	return x, nil
}

// plan takes all memory. It runs twice: see backend.Plan.
func (x *Model) plan(a *backend.Arena) {
	d := x.d
	d.planTables(a)
	x.ramp.plan(a, d, len(x.blocks))
	x.caches = x.caches[:0]
	var c *Cache
	for range x.blocks {
		if c == nil || !d.inference {
			c = &Cache{}
			c.plan(a, d)
		}
		x.caches = append(x.caches, c)
	}
	x.head.plan(a, d)
	if x.trains {
		x.scratch.plan(a, d)
	}
}

// SetMask sets the state of a growth ramp for the passes that follow; the zero Mask ends it. It allocates nothing.
// Masks name heads and layers that exist: others panic.
func (x *Model) SetMask(k arch.Mask) { x.ramp.set(k) }

// Forward computes the loss of every token (see Losses). Tokens and targets are int32 [N], the sequences one after
// another; a negative target counts nothing. Without targets it stops before the logits: see Logits.
func (x *Model) Forward(s backend.Stream, tokens, targets tensor.Tensor) {
	x.hidden(s, tokens)
	if targets.Present() {
		x.head.Forward(s, targets)
	}
}

// ForwardBackward computes the losses and adds the gradient of gradScale x sum of losses to the parameters' gradients.
func (x *Model) ForwardBackward(s backend.Stream, tokens, targets tensor.Tensor, gradScale float32) {
	if !x.trains {
		panic("model: ForwardBackward of a model for inference or without gradients")
	}
	x.scratch.Accumulate = !x.params.takeRenewed()
	x.hidden(s, tokens)
	x.head.ForwardBackward(s, targets, gradScale, &x.scratch)
	for l := len(x.blocks) - 1; l >= 0; l-- {
		x.blocks[l].Backward(s, x.caches[l], &x.scratch)
	}
	x.embedding.Backward(s, tokens, x.scratch.DX)
}

// hidden runs everything up to the final norm. Each block puts its output where the next norm reads and then
// overwrites it.
func (x *Model) hidden(s backend.Stream, tokens tensor.Tensor) {
	x.d.fillTables(s)
	x.ramp.refresh(s)
	stream := Residual{X: x.head.X}
	if len(x.caches) > 0 {
		stream.X = x.caches[0].X1
	}
	x.embedding.Forward(s, tokens, stream.X)
	for l, b := range x.blocks {
		out := x.head.Y
		if l+1 < len(x.blocks) {
			out = x.caches[l+1].Y1
		}
		stream = b.Forward(s, stream, x.caches[l], out)
	}
	x.head.Hidden(s, stream)
}

// Losses is the loss of every token of the last pass, in nats: fp32 [N].
func (x *Model) Losses() tensor.Tensor { return x.head.Losses }

// Logits computes the logits of the tokens [lo, hi) of the last Forward: fp32 [hi-lo, padded vocabulary], of which the
// first VocabSize columns mean something. They stay until the next call of any method. At most MaxLogits rows.
func (x *Model) Logits(s backend.Stream, lo, hi int) tensor.Tensor { return x.head.Project(s, lo, hi) }

// MaxLogits is the number of rows that Logits gives at most.
func (x *Model) MaxLogits() int { return x.head.Logits.Dim(0) }

// Tokens is the number of tokens of a micro-batch, SeqLength that of one sequence.
func (x *Model) Tokens() int { return x.d.tokens }

// SeqLength is the number of tokens of one sequence.
func (x *Model) SeqLength() int { return x.d.seq }

// VocabSize is the number of real entries of the vocabulary.
func (x *Model) VocabSize() int { return x.d.vocab }

// ActivationBytes is the memory that New planned.
func (x *Model) ActivationBytes() int { return x.memory.Bytes }

// Close frees the model's memory, not the parameters. No operation that uses it may be in flight.
func (x *Model) Close() {
	if x.memory != nil {
		x.backend.Free(x.memory)
		x.memory = nil
	}
}
