package eval

import (
	"fmt"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// Model is what evaluation needs of a model that one rank holds whole: *model.Model is one.
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

// whole runs a model on its one rank, a micro-batch at a time.
type whole struct {
	Model
	backend         backend.Backend
	memory          *tensor.Memory
	tokens, targets tensor.Tensor
	hostTokens      []int32
	hostTargets     []int32
	losses          [][]float32
	logits          []float32
}

func newWhole(b backend.Backend, m Model) (*whole, error) {
	w := &whole{Model: m, backend: b}
	var err error
	w.memory, err = backend.Plan(b, "evaluation", func(a *backend.Arena) {
		w.tokens, w.targets = a.Tensor(tensor.I32, m.Tokens()), a.Tensor(tensor.I32, m.Tokens())
	})
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	w.hostTokens, w.hostTargets = make([]int32, m.Tokens()), make([]int32, m.Tokens())
	w.losses, w.logits = [][]float32{make([]float32, m.Tokens())}, make([]float32, m.VocabSize())
	return w, nil
}

func (w *whole) close() { w.backend.Free(w.memory) }

func (w *whole) MicroBatches() int { return 1 }

func (w *whole) Losses(s backend.Stream, fill func(int, []int32, []int32) error) ([][]float32, error) {
	if err := fill(0, w.hostTokens, w.hostTargets); err != nil {
		return nil, err
	}
	s.Upload(w.tokens, tensor.HostBytes(w.hostTokens))
	s.Upload(w.targets, tensor.HostBytes(w.hostTargets))
	w.Forward(s, w.tokens, w.targets)
	s.Download(tensor.HostBytes(w.losses[0]), w.Model.Losses())
	return w.losses, s.Sync()
}

func (w *whole) Logits(s backend.Stream, tokens []int32, at int) ([]float32, error) {
	copy(w.hostTokens, tokens)
	s.Upload(w.tokens, tensor.HostBytes(w.hostTokens))
	w.Forward(s, w.tokens, tensor.Tensor{})
	row := w.Model.Logits(s, at, at+1)
	s.Download(tensor.HostBytes(w.logits), row.Columns(0, w.VocabSize()))
	return w.logits, s.Sync()
}

func (w *whole) Tell(id int32) (int32, error) { return id, nil }
