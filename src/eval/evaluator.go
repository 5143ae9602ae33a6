package eval

import (
	"fmt"
	"math"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// Model is what evaluation needs of a model: *model.Model is one.
type Model interface {
	// Forward computes the losses of int32 [Tokens()] tokens against targets; without targets it stops before them.
	Forward(s backend.Stream, tokens, targets tensor.Tensor)
	// Losses are those of the last Forward, fp32 [Tokens()].
	Losses() tensor.Tensor
	// Logits are those of rows [lo, hi) of the last Forward.
	Logits(s backend.Stream, lo, hi int) tensor.Tensor
	Tokens() int
	SeqLength() int
	VocabSize() int
}

// Windows is a fixed set of validation samples.
type Windows interface {
	// Len is the number of windows.
	Len() int
	// Window fills dst with sequence length + 1 consecutive tokens: inputs, and one more for the last target.
	Window(i int, dst []int32) error
}

// Sum is the loss over some windows. Sums over disjoint windows add up: so ranks share the work.
type Sum struct {
	Nats   float64 // sum of the losses of all tokens
	Tokens int
}

// Add is the sum over both sets of windows.
func (a Sum) Add(b Sum) Sum { return Sum{Nats: a.Nats + b.Nats, Tokens: a.Tokens + b.Tokens} }

// Mean is the loss in nats a token.
func (a Sum) Mean() float64 { return a.Nats / float64(a.Tokens) }

// BitsPerByte is mean / ln 2 / bytesPerToken: comparable between tokenizers.
func (a Sum) BitsPerByte(bytesPerToken float64) float64 { return a.Mean() / math.Ln2 / bytesPerToken }

// Perplexity is exp of the mean loss.
func (a Sum) Perplexity() float64 { return math.Exp(a.Mean()) }

// Evaluator holds the buffers for running one model. It is used by one goroutine at a time.
type Evaluator struct {
	backend         backend.Backend
	model           Model
	memory          *tensor.Memory
	tokens, targets tensor.Tensor
	hostTokens      []int32
	hostTargets     []int32
	hostLosses      []float32
	window          []int32
	logits          []float32
}

// New allocates an evaluator's buffers.
func New(b backend.Backend, m Model) (*Evaluator, error) {
	e := &Evaluator{backend: b, model: m}
	var err error
	e.memory, err = backend.Plan(b, "evaluation", func(a *backend.Arena) {
		e.tokens, e.targets = a.Tensor(tensor.I32, m.Tokens()), a.Tensor(tensor.I32, m.Tokens())
	})
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	e.hostTokens, e.hostTargets = make([]int32, m.Tokens()), make([]int32, m.Tokens())
	e.hostLosses = make([]float32, m.Tokens())
	e.window = make([]int32, m.SeqLength()+1)
	e.logits = make([]float32, m.VocabSize())
	return e, nil
}

// Close frees the buffers on the device.
func (e *Evaluator) Close() { e.backend.Free(e.memory) }

// Loss sums the losses over windows [lo, hi). The order of the sum is fixed: it does not depend on the micro-batch.
func (e *Evaluator) Loss(s backend.Stream, w Windows, lo, hi int) (Sum, error) {
	if lo < 0 || hi > w.Len() || lo > hi {
		return Sum{}, fmt.Errorf("eval: windows %d to %d asked for: there are %d", lo, hi, w.Len())
	}
	var sum Sum
	seq := e.model.SeqLength()
	batch := e.model.Tokens() / seq
	for ; lo < hi; lo += batch {
		used := min(batch, hi-lo)
		if err := e.load(w, lo, used); err != nil {
			return Sum{}, err
		}
		s.Upload(e.tokens, tensor.HostBytes(e.hostTokens))
		s.Upload(e.targets, tensor.HostBytes(e.hostTargets))
		e.model.Forward(s, e.tokens, e.targets)
		s.Download(tensor.HostBytes(e.hostLosses), e.model.Losses())
		if err := s.Sync(); err != nil {
			return Sum{}, fmt.Errorf("eval: windows %d to %d: %w", lo, lo+used, err)
		}
		for _, l := range e.hostLosses[:used*seq] {
			sum.Nats += float64(l)
		}
		sum.Tokens += used * seq
	}
	return sum, nil
}

// load fills the host buffers with windows first to first+used; the rest of the micro-batch counts nothing.
func (e *Evaluator) load(w Windows, first, used int) error {
	seq := e.model.SeqLength()
	for i := range e.hostTargets {
		e.hostTokens[i], e.hostTargets[i] = 0, -1
	}
	for i := range used {
		if err := w.Window(first+i, e.window); err != nil {
			return fmt.Errorf("eval: window %d: %w", first+i, err)
		}
		for _, t := range e.window {
			if t < 0 || int(t) >= e.model.VocabSize() {
				return fmt.Errorf("eval: window %d holds token %d: the model's vocabulary has %d entries", first+i, t, e.model.VocabSize())
			}
		}
		copy(e.hostTokens[i*seq:], e.window[:seq])
		copy(e.hostTargets[i*seq:], e.window[1:seq+1])
	}
	return nil
}
