package data

import (
	"context"
	"errors"

	"cambium/src/tokenizer"
)

// TrainTokenizerOptions says what text a vocabulary is learned from.
type TrainTokenizerOptions struct {
	tokenizer.TrainOptions
	Files    []File
	TextKey  string  // of the text in a JSON line; default "text"
	Splits   []Split // documents of these are not learned from
	SkipBad  bool    // leave out documents that are no UTF-8 or no JSON
	MaxBytes int64   // stop after so much text; 0: all of it
	Progress func(done, total int64)
}

// errEnough ends the reading when MaxBytes are reached.
var errEnough = errors.New("enough text")

// TrainTokenizer learns a vocabulary from the documents that Prep would put into the training split.
func TrainTokenizer(ctx context.Context, o TrainTokenizerOptions) (*tokenizer.BPE, error) {
	if o.TextKey == "" {
		o.TextKey = "text"
	}
	if err := checkSplits(o.Splits); err != nil {
		return nil, err
	}
	t, err := tokenizer.NewTrainer(o.TrainOptions)
	if err != nil {
		return nil, err
	}
	var total, done, taken int64
	for _, f := range o.Files {
		total += f.Size
	}
	r := reader{splits: o.Splits}
	r.read = func(n int64) { done += n }
	r.emit = func(p piece) error {
		if p.split != 0 {
			return nil
		}
		text, err := p.content(o.TextKey)
		if err != nil {
			if o.SkipBad {
				return nil
			}
			return err
		}
		t.Add(text)
		if o.Progress != nil {
			o.Progress(done, total)
		}
		if taken += int64(len(text)); o.MaxBytes > 0 && taken >= o.MaxBytes {
			return errEnough
		}
		return nil
	}
	if err := r.all(ctx, o.Files); err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return t.Finish(ctx)
}
