package eval

import (
	"errors"
	"fmt"
	"io"

	"cambium/src/backend"
	"cambium/src/tensor"
)

// Tokenizer is what text generation needs of a tokenizer.
type Tokenizer interface {
	Encode(dst []int32, text []byte) []int32
	Decode(dst []byte, ids []int32) []byte
	// EOD is the id that ends a document, or -1.
	EOD() int32
}

// Generate continues a prompt and hands every new token to emit, until o.MaxTokens, o.Stop or an error of emit. When the
// context is longer than the model's sequence length, the model sees its last tokens only, counted from position 0.
func (e *Evaluator) Generate(s backend.Stream, prompt []int32, o Sampling, emit func(id int32) error) error {
	if err := o.Check(); err != nil {
		return err
	}
	if len(prompt) == 0 {
		return errors.New("eval: the prompt has no token: begin with the end-of-document token")
	}
	for _, id := range prompt {
		if id < 0 || int(id) >= e.model.VocabSize() {
			return fmt.Errorf("eval: the prompt holds token %d: the model's vocabulary has %d entries", id, e.model.VocabSize())
		}
	}
	context := append([]int32(nil), prompt...)
	for i := range o.MaxTokens {
		context = context[max(0, len(context)-e.model.SeqLength()):]
		if err := e.next(s, context); err != nil {
			return err
		}
		id := o.choose(e.logits, o.uniform(i))
		if id == o.Stop {
			return nil
		}
		if err := emit(id); err != nil {
			return err
		}
		context = append(context, id)
	}
	return nil
}

// next computes the logits behind the last token of a context. What follows it in the micro-batch cannot be seen from
// there, because attention is causal.
func (e *Evaluator) next(s backend.Stream, context []int32) error {
	clear(e.hostTokens)
	copy(e.hostTokens, context)
	s.Upload(e.tokens, tensor.HostBytes(e.hostTokens))
	e.model.Forward(s, e.tokens, tensor.Tensor{})
	row := e.model.Logits(s, len(context)-1, len(context))
	s.Download(tensor.HostBytes(e.logits), row.Columns(0, e.model.VocabSize()))
	if err := s.Sync(); err != nil {
		return fmt.Errorf("eval: generation: %w", err)
	}
	return nil
}

// Text continues a text and writes what it generates, byte by byte as it comes. An empty text begins a document.
func (e *Evaluator) Text(s backend.Stream, t Tokenizer, text string, o Sampling, w io.Writer) error {
	prompt := t.Encode(nil, []byte(text))
	if len(prompt) == 0 && t.EOD() >= 0 {
		prompt = []int32{t.EOD()}
	}
	var buf []byte
	return e.Generate(s, prompt, o, func(id int32) error {
		buf = t.Decode(buf[:0], []int32{id})
		_, err := w.Write(buf)
		return err
	})
}
