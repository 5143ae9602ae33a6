package snapshot

import (
	"context"
	"fmt"
	"time"

	"cambium/src/config"
	"cambium/src/data"
	"cambium/src/eval"
)

// Score is how well a model predicts a text.
type Score struct {
	Loss         float64 `json:"lm_loss"` // nats a token
	Perplexity   float64 `json:"perplexity"`
	BitsPerByte  float64 `json:"bits_per_byte,omitempty"` // 0: the corpus does not say how long its text was
	Tokens       int     `json:"tokens"`
	Windows      int     `json:"windows"`
	SeqLength    int     `json:"seq_length"`
	TokensPerSec float64 `json:"tokens_per_sec"`
}

// ScoreOptions say on what a model is measured.
type ScoreOptions struct {
	Corpora    config.Corpora
	Windows    int // spread evenly over the corpora; 0: all
	SeqLength  int
	MicroBatch int
	Threads    int
}

// windows are samples of a dataset as they lie one behind the other, spread evenly.
type windows struct {
	d *data.Dataset
	n int
}

func (w windows) Len() int { return w.n }

func (w windows) Window(i int, dst []int32) error {
	return w.d.Sequential(uint64(i)*w.d.NumSamples()/uint64(w.n), dst)
}

// Score measures the model's loss. The number does not depend on threads or micro-batch.
func (s *Snapshot) Score(ctx context.Context, o ScoreOptions) (*Score, error) {
	var specs []data.Corpus
	for _, c := range o.Corpora {
		specs = append(specs, data.Corpus{Path: c.Path, Weight: c.Weight})
	}
	if len(specs) == 0 {
		return nil, fmt.Errorf("%s names no validation corpus: give --data-path", s.Path)
	}
	d, err := data.Open(specs, o.SeqLength, 0)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := d.CheckVocab(s.Model.PaddedVocab(1)); err != nil {
		return nil, err
	}
	w := windows{d, int(min(d.NumSamples(), 1<<31-1))}
	if o.Windows > 0 {
		w.n = min(o.Windows, w.n)
	}
	if w.n == 0 {
		return nil, fmt.Errorf("%s: the corpus has %d tokens, less than one window of %d", o.Corpora, d.Tokens(), o.SeqLength+1)
	}
	live, err := s.Load(o.Threads, o.MicroBatch, o.SeqLength)
	if err != nil {
		return nil, err
	}
	sum, took, err := live.sum(ctx, w, o.MicroBatch)
	if closeErr := live.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	score := &Score{Loss: sum.Mean(), Perplexity: sum.Perplexity(), Tokens: sum.Tokens, Windows: w.n, SeqLength: o.SeqLength, TokensPerSec: float64(sum.Tokens) / took.Seconds()}
	if b := d.BytesPerToken(); b > 0 {
		score.BitsPerByte = sum.BitsPerByte(b)
	}
	return score, nil
}

// sum adds up the loss some windows at a time, so that it can be interrupted.
func (l *Live) sum(ctx context.Context, w windows, microBatch int) (total eval.Sum, took time.Duration, err error) {
	begin := time.Now()
	for lo := 0; lo < w.n; lo += 4 * microBatch {
		if err := ctx.Err(); err != nil {
			return total, 0, err
		}
		part, err := l.Loss(l.Stream, w, lo, min(lo+4*microBatch, w.n))
		if err != nil {
			return total, 0, err
		}
		total = total.Add(part)
	}
	return total, time.Since(begin), nil
}
