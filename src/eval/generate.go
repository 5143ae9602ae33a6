package eval

import (
	"errors"
	"fmt"
	"io"

	"cambium/src/backend"
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
		if id < 0 || int(id) >= e.runner.VocabSize() {
			return fmt.Errorf("eval: the prompt holds token %d: the model's vocabulary has %d entries", id, e.runner.VocabSize())
		}
	}
	context := append([]int32(nil), prompt...)
	for i := range o.MaxTokens {
		context = context[max(0, len(context)-e.runner.SeqLength()):]
		id, err := e.next(s, context, o, i)
		if err != nil {
			return fmt.Errorf("eval: generation: %w", err)
		}
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

// next is token number i behind a context, on all ranks. What follows the context in the micro-batch cannot be seen from
// its last token, because attention is causal.
func (e *Evaluator) next(s backend.Stream, context []int32, o Sampling, i int) (id int32, err error) {
	clear(e.tokens)
	copy(e.tokens, context)
	logits, err := e.runner.Logits(s, e.tokens, len(context)-1)
	if err != nil {
		return 0, err
	}
	if logits != nil {
		id = o.choose(logits, o.uniform(i))
	}
	return e.runner.Tell(id)
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
