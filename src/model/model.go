package model

import (
	"fmt"

	"cambium/src/arch"
	"cambium/src/backend"
	"cambium/src/tensor"
)

// Model is a rank's part of a GPT, bound to parameters and planned memory: one or several runs of layers ("chunks"), the
// embedding on the first virtual stage and the head on the last. All its calls enqueue work in a stream; a model is used
// from one stream at a time, and all ranks of a tensor-parallel group make the same calls.
type Model struct {
	d         *dims
	backend   backend.Backend
	params    *Params
	hooks     Hooks
	embedding Embedding
	head      *Head // absent but on the last stage
	chunks    []chunk
	scratch   Scratch
	ramp      *ramp
	trains    bool
	final     int       // group of the final norm
	shown     HeadCache // of the last ForwardPass of the last virtual stage: see Logits
	memory    *tensor.Memory
}

// chunk is one run of layers of the rank.
type chunk struct {
	first, last bool // of all virtual stages
	blocks      []*Block
	slots       []slot
}

// New plans all memory of a model over p, labelled "activations". Parameters may be shared by several models, as
// training and evaluation do.
func New(b backend.Backend, f arch.Function, p *Params, par Parallel, o Options) (*Model, error) {
	x, err := assemble(f, p, newShares(par), o)
	if err != nil {
		return nil, err
	}
	x.backend = b
	if x.memory, err = backend.Plan(b, "activations", x.plan); err != nil {
		return nil, fmt.Errorf("model: activations of %d x %d tokens: %w", o.MicroBatch, o.SeqLength, err)
	}
	if c := x.chunks[len(x.chunks)-1]; c.last {
		x.shown = c.slots[0].head
	}
	return x, nil
}

// assemble is a model without memory.
func assemble(f arch.Function, p *Params, t *shares, o Options) (*Model, error) {
	d, err := newDims(p, f, t, o)
	if err != nil {
		return nil, err
	}
	x := &Model{d: d, params: p, hooks: o.Hooks, ramp: &ramp{}, trains: !o.Inference && p.grads != nil,
		embedding: newEmbedding(d, p), final: p.layout.Model.NumLayers + 1}
	return x, x.build(o.Slots)
}

// build makes the rank's runs of layers.
func (x *Model) build(slots []int) error {
	l := x.params.layout
	g, stage := l.Grid, l.Grid.Coord(x.params.rank).PP
	count := max(g.Chunks, 1)
	if slots != nil && len(slots) != count {
		return fmt.Errorf("model: slots for %d chunks of layers: want %d", len(slots), count)
	}
	for c := range count {
		k := chunk{first: stage == 0 && c == 0, last: stage == g.PP-1 && c == count-1, slots: make([]slot, 1)}
		if slots != nil {
			k.slots = make([]slot, max(slots[c], 1))
		}
		lo, hi := g.Layers(stage, c, l.Model.NumLayers)
		if lo == hi {
			return fmt.Errorf("model: chunk %d of pipeline stage %d has none of num_layers %d: want at least one", c, stage, l.Model.NumLayers)
		}
		for n := lo; n < hi; n++ {
			k.blocks = append(k.blocks, newBlock(x.d, x.ramp, x.params, n))
		}
		if k.last {
			x.head = newHead(x.d, x.ramp, x.params)
		}
		x.chunks = append(x.chunks, k)
	}
	return nil
}

// plan takes all memory. It runs twice: see backend.Plan.
func (x *Model) plan(a *backend.Arena) {
	d := x.d
	d.planTables(a)
	d.tp.plan(a, d)
	x.ramp.plan(a, d, x.params.layout.Model.NumLayers)
	var common Cache
	common.plan(a, d, false)
	for i := range x.chunks {
		c := &x.chunks[i]
		for j := range c.slots {
			c.slots[j].plan(a, d, common, len(c.blocks), c.last)
		}
	}
	if x.head != nil {
		x.head.plan(a)
	}
	if x.trains {
		x.scratch.plan(a, d, x.whole())
	}
}

// whole tells whether this rank has all layers in one run.
func (x *Model) whole() bool { return len(x.chunks) == 1 && x.chunks[0].first && x.chunks[0].last }

// SetMask sets the state of a growth ramp for the passes that follow; the zero Mask ends it. It allocates nothing.
// Masks name heads and layers that exist: others panic.
func (x *Model) SetMask(k arch.Mask) { x.ramp.set(k) }

// SetHooks replaces Options.Hooks.
func (x *Model) SetHooks(h Hooks) { x.hooks = h }

// Forward computes the loss of every token (see Losses) in a model whose layers are all on this rank's stage. Tokens and
// targets are int32 [N], the sequences one after another; a negative target counts nothing. Without targets it stops
// before the logits: see Logits.
func (x *Model) Forward(s backend.Stream, tokens, targets tensor.Tensor) {
	x.mustBeWhole("Forward")
	x.ForwardPass(s, Pass{}, tokens, tensor.Tensor{})
	if targets.Present() {
		x.LossPass(s, Pass{}, targets)
	}
}

// ForwardBackward computes the losses and adds the gradient of gradScale x sum of losses to the parameters' gradients, in a
// model whose layers are all on this rank's stage.
func (x *Model) ForwardBackward(s backend.Stream, tokens, targets tensor.Tensor, gradScale float32) {
	x.mustBeWhole("ForwardBackward")
	x.ForwardPass(s, Pass{}, tokens, tensor.Tensor{})
	x.BackwardPass(s, Pass{}, Back{Tokens: tokens, Targets: targets, GradScale: gradScale, DX: x.scratch.DX})
}

func (x *Model) mustBeWhole(call string) {
	if !x.whole() {
		panic("model: " + call + " of a model whose layers are on several pipeline stages")
	}
}

// Losses is the loss of every token of the last pass, in nats: fp32 [N], the same on all tensor-parallel ranks. Absent but
// on the last pipeline stage.
func (x *Model) Losses() tensor.Tensor {
	if x.head == nil {
		return tensor.Tensor{}
	}
	return x.head.Losses
}

// MaxLogits is the number of rows that Logits gives at most.
func (x *Model) MaxLogits() int { return x.head.Logits.Dim(0) }

// Tokens is the number of tokens of a micro-batch, SeqLength that of one sequence.
func (x *Model) Tokens() int { return x.d.tokens }

// SeqLength is the number of tokens of one sequence.
func (x *Model) SeqLength() int { return x.d.seq }

// VocabSize is the number of real entries of the vocabulary.
func (x *Model) VocabSize() int { return x.d.vocab }

// Params are the parameters that New was given.
func (x *Model) Params() *Params { return x.params }

// ActivationBytes is the memory that New planned.
func (x *Model) ActivationBytes() int { return x.memory.Bytes }

// Close frees the model's memory, not the parameters. No operation that uses it may be in flight.
func (x *Model) Close() {
	if x.memory != nil {
		x.backend.Free(x.memory)
		x.memory = nil
	}
}
