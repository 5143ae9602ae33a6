package eval

import (
	"fmt"
	"math"

	"cambium/src/backend"
)

// Runner runs a model forward: a whole one (New), or one that is spread over ranks, which then make every call together
// with the same tokens.
type Runner interface {
	// Tokens is the number of tokens of a micro-batch, SeqLength that of one of its sequences.
	Tokens() int
	SeqLength() int
	VocabSize() int
	// MicroBatches is how many micro-batches Losses runs through.
	MicroBatches() int
	// Losses is the loss of every token, [micro-batch][Tokens]; nil on a rank that does not know them. Fill writes the
	// tokens and targets of a micro-batch, in order; a negative target counts nothing. A rank that needs neither calls it
	// not at all. The result is valid until the next call.
	Losses(s backend.Stream, fill func(microBatch int, tokens, targets []int32) error) ([][]float32, error)
	// Logits are those behind token number at of a micro-batch, [VocabSize]; nil on a rank that does not know them.
	Logits(s backend.Stream, tokens []int32, at int) ([]float32, error)
	// Tell gives a token to all ranks. A rank with logits has chosen it, the others give 0.
	Tell(id int32) (int32, error)
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

// Evaluator measures one model. It is used by one goroutine at a time.
type Evaluator struct {
	runner Runner
	window []int32
	tokens []int32
	close  func()
}

// New is an evaluator of a model that one rank holds whole.
func New(b backend.Backend, m Model) (*Evaluator, error) {
	w, err := newWhole(b, m)
	if err != nil {
		return nil, err
	}
	e := Over(w)
	e.close = w.close
	return e, nil
}

// Over is an evaluator of whatever r runs.
func Over(r Runner) *Evaluator {
	return &Evaluator{runner: r, window: make([]int32, r.SeqLength()+1), tokens: make([]int32, r.Tokens()), close: func() {}}
}

// Close frees what New allocated.
func (e *Evaluator) Close() { e.close() }

// Loss sums the losses over windows [lo, hi); nothing on a rank that does not know them. The order of the sum is fixed: it
// does not depend on the micro-batch.
func (e *Evaluator) Loss(s backend.Stream, w Windows, lo, hi int) (Sum, error) {
	if lo < 0 || hi > w.Len() || lo > hi {
		return Sum{}, fmt.Errorf("eval: windows %d to %d asked for: there are %d", lo, hi, w.Len())
	}
	var sum Sum
	seq := e.runner.SeqLength()
	batch := e.runner.Tokens() / seq
	for all := batch * e.runner.MicroBatches(); lo < hi; lo += all {
		end := min(lo+all, hi)
		losses, err := e.runner.Losses(s, func(micro int, tokens, targets []int32) error {
			first := lo + micro*batch
			return e.load(w, first, max(min(batch, end-first), 0), tokens, targets)
		})
		if err != nil {
			return Sum{}, fmt.Errorf("eval: windows %d to %d: %w", lo, end, err)
		}
		left := (end - lo) * seq
		for _, micro := range losses {
			for _, l := range micro[:min(left, len(micro))] {
				sum.Nats += float64(l)
				sum.Tokens++
			}
			left = max(left-len(micro), 0)
		}
	}
	return sum, nil
}

// load fills a micro-batch with windows first to first+used; the rest of it counts nothing.
func (e *Evaluator) load(w Windows, first, used int, tokens, targets []int32) error {
	seq := e.runner.SeqLength()
	for i := range targets {
		tokens[i], targets[i] = 0, -1
	}
	for i := range used {
		if err := w.Window(first+i, e.window); err != nil {
			return fmt.Errorf("eval: window %d: %w", first+i, err)
		}
		for _, t := range e.window {
			if t < 0 || int(t) >= e.runner.VocabSize() {
				return fmt.Errorf("eval: window %d holds token %d: the model's vocabulary has %d entries", first+i, t, e.runner.VocabSize())
			}
		}
		copy(tokens[i*seq:], e.window[:seq])
		copy(targets[i*seq:], e.window[1:seq+1])
	}
	return nil
}
