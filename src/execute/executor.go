package execute

import (
	"fmt"
	"time"

	"cambium/src/backend"
	"cambium/src/comm"
	"cambium/src/model"
	"cambium/src/pipeline"
	"cambium/src/tensor"
)

// Model is the part of a model that a rank holds: *model.Model is one.
type Model interface {
	// First and Last tell whether a chunk begins with the embedding or ends with the head.
	First(chunk int) bool
	Last(chunk int) bool
	// Input is where the activations for a pass are received: [Rows, Hidden].
	Input(p model.Pass) tensor.Tensor
	ForwardPass(s backend.Stream, p model.Pass, tokens, out tensor.Tensor)
	LossPass(s backend.Stream, p model.Pass, targets tensor.Tensor)
	BackwardPass(s backend.Stream, p model.Pass, b model.Back)
	BackwardInput(s backend.Stream, p model.Pass, b model.Back)
	BackwardWeight(s backend.Stream, p model.Pass)
	Losses() tensor.Tensor
	SetHooks(model.Hooks)
}

// Shape is the size of what passes between stages, and of a micro-batch.
type Shape struct {
	Tokens       int // of a micro-batch
	Rows, Hidden int // of the activations at the border of a stage; Rows is Tokens / tp under sequence parallelism
	DType        tensor.DType
}

// Options say what an Executor runs.
type Options struct {
	Schedule pipeline.Schedule // of all stages
	Shape    Shape
	Hooks    model.Hooks // set for the passes that they are for: the first forward, the last backward pass of each chunk
	Clock    bool        // measure how long each computation takes: see Spans
}

// Fill writes the tokens and targets of a micro-batch, int32 [Tokens] each. It is called in the order of micro-batches.
type Fill func(microBatch int, tokens, targets []int32) error

// Executor runs one stage of a schedule. It is used from one goroutine at a time.
type Executor struct {
	backend backend.Backend
	group   comm.Communicator
	model   Model
	options Options
	steps   []step
	memory  *tensor.Memory
	inputs  *tensor.Memory // tokens and targets

	tokens, targets []tensor.Tensor // [micro-batch], absent on stages that do not read them
	hostTokens      [][]int32       // likewise
	hostTargets     [][]int32
	losses          [][]float32 // [micro-batch] on the last stage
	spans           []Span
}

// step is an instruction, or a group of messages, with all that it needs.
type step struct {
	pipeline.Instruction
	pass     model.Pass
	out, dx  tensor.Tensor
	fills    bool   // the first pass that reads the micro-batch
	ends     bool   // a forward pass behind which the loss is taken
	needs    bool   // the chunk's first forward pass
	ready    bool   // the last pass that adds to the chunk's gradients
	name     string // of the messages
	messages []comm.Message
	begin    func() error // with a clock
	end      func() error
}

// New plans a stage's run over group, the ranks of a pipeline in the order of its stages. The model's slots must be those
// of pipeline.Slots for the list. Memory is labelled "messages" and "batch".
func New(b backend.Backend, group comm.Communicator, m Model, o Options) (*Executor, error) {
	if len(o.Schedule) != group.Size() {
		return nil, fmt.Errorf("execute: the schedule has %d stages, the group %d ranks", len(o.Schedule), group.Size())
	}
	if _, err := pipeline.Simulate(o.Schedule, pipeline.Costs{}); err != nil { // a message out of order would bring wrong numbers
		return nil, err
	}
	e := &Executor{backend: b, group: group, model: m, options: o}
	if err := e.plan(); err != nil {
		return nil, err
	}
	if err := e.planBatch(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// planBatch takes the memory for tokens and targets of all micro-batches: a micro-batch's are read again in its backward
// pass, and a batch is small beside one micro-batch's activations.
func (e *Executor) planBatch() (err error) {
	n, micro := e.options.Shape.Tokens, e.options.Schedule.MicroBatches()
	reads := func(of func(int) bool) bool {
		for c := range e.options.Schedule.Chunks() {
			if of(c) {
				return true
			}
		}
		return false
	}
	first, last := reads(e.model.First), reads(e.model.Last)
	e.tokens, e.targets = make([]tensor.Tensor, micro), make([]tensor.Tensor, micro)
	e.hostTokens, e.hostTargets = make([][]int32, micro), make([][]int32, micro)
	e.losses = make([][]float32, micro)
	if !first && !last {
		return nil
	}
	e.inputs, err = backend.Plan(e.backend, "batch", func(a *backend.Arena) {
		for i := range micro {
			if first {
				e.tokens[i] = a.Tensor(tensor.I32, n)
			}
			if last {
				e.targets[i] = a.Tensor(tensor.I32, n)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("execute: tokens of %d micro-batches: %w", micro, err)
	}
	for i := range micro {
		e.hostTokens[i], e.hostTargets[i] = make([]int32, n), make([]int32, n)
		if last {
			e.losses[i] = make([]float32, n)
		}
	}
	return nil
}

// Reads tells whether this stage reads tokens or targets: Run calls fill on such stages only.
func (e *Executor) Reads() bool { return e.inputs != nil }

// Losses are the losses of all micro-batches after Run and a Sync, [micro-batch][Tokens]; nil entries on stages without
// the head.
func (e *Executor) Losses() [][]float32 { return e.losses }

// Close frees the memory. No operation that uses it may be in flight.
func (e *Executor) Close() {
	for _, m := range []*tensor.Memory{e.memory, e.inputs} {
		if m != nil {
			e.backend.Free(m)
		}
	}
	e.memory, e.inputs = nil, nil
}

// Run enqueues the whole list. Gradients are those of gradScale x sum of all losses. A schedule without backward passes
// computes losses alone. The host's memory of tokens and losses is in use until the stream has passed.
func (e *Executor) Run(s backend.Stream, gradScale float32, fill Fill) error {
	return e.run(s, gradScale, true, fill)
}

// RunHidden is Run of a schedule without backward passes that stops before the losses: for logits.
func (e *Executor) RunHidden(s backend.Stream, fill Fill) error { return e.run(s, 0, false, fill) }

func (e *Executor) run(s backend.Stream, gradScale float32, losses bool, fill Fill) error {
	for i := range e.steps {
		x := &e.steps[i]
		if x.messages != nil {
			e.group.Exchange(s, x.name, x.messages...)
			continue
		}
		if x.fills {
			if err := e.fill(s, x.MicroBatch, fill); err != nil {
				return err
			}
		}
		if x.begin != nil {
			s.Do("clock", x.begin)
		}
		e.compute(s, x, gradScale, losses)
		if x.end != nil {
			s.Do("clock", x.end)
		}
	}
	return nil
}

// fill reads a micro-batch and sends the stage's part of it to the device.
func (e *Executor) fill(s backend.Stream, micro int, fill Fill) error {
	if err := fill(micro, e.hostTokens[micro], e.hostTargets[micro]); err != nil {
		return err
	}
	if t := e.tokens[micro]; t.Present() {
		s.Upload(t, tensor.HostBytes(e.hostTokens[micro]))
	}
	if t := e.targets[micro]; t.Present() {
		s.Upload(t, tensor.HostBytes(e.hostTargets[micro]))
	}
	return nil
}

// compute enqueues one pass. Hooks are set for the passes that they are for alone.
func (e *Executor) compute(s backend.Stream, x *step, gradScale float32, losses bool) {
	var h model.Hooks
	if x.needs {
		h.WeightsNeeded = e.options.Hooks.WeightsNeeded
	}
	if x.ready {
		h.GradsReady = e.options.Hooks.GradsReady
	}
	hooked := h.WeightsNeeded != nil || h.GradsReady != nil
	if hooked {
		e.model.SetHooks(h)
	}
	back := model.Back{Tokens: e.tokens[x.MicroBatch], Targets: e.targets[x.MicroBatch], GradScale: gradScale, DX: x.dx}
	loss := x.ends && losses
	backend.Gather(s)
	switch x.Op {
	case pipeline.Forward:
		e.model.ForwardPass(s, x.pass, e.tokens[x.MicroBatch], x.out)
		if loss {
			e.model.LossPass(s, x.pass, e.targets[x.MicroBatch])
		}
	case pipeline.Backward:
		e.model.BackwardPass(s, x.pass, back)
	case pipeline.BackwardInput:
		e.model.BackwardInput(s, x.pass, back)
	case pipeline.BackwardWeight:
		e.model.BackwardWeight(s, x.pass)
	}
	backend.HandOver(s)
	if hooked {
		e.model.SetHooks(model.Hooks{})
	}
	if e.model.Last(x.Chunk) && (loss || x.Op == pipeline.Backward || x.Op == pipeline.BackwardInput) {
		s.Download(tensor.HostBytes(e.losses[x.MicroBatch]), e.model.Losses())
	}
}

// Span is when one computation ran.
type Span struct {
	pipeline.Instruction
	Begin, End time.Time
}

// Spans are the computations of the last Run, when Options.Clock is set and the stream was synchronised.
func (e *Executor) Spans() []Span { return e.spans }
