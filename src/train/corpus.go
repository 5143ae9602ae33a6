package train

import (
	"errors"
	"fmt"
	"math"

	"cambium/src/config"
	"cambium/src/data"
	"cambium/src/eval"
	"cambium/src/tokenizer"
)

// corpus is where a run's tokens come from.
type corpus struct {
	tokenizer  tokenizer.Tokenizer // nil for token ids only
	prompt     string              // what the final sample continues
	training   []data.Source       // [stage]; stages of one sequence length share a source
	validation []*data.Dataset     // [stage]; nil without
	opened     []*data.Dataset
}

// samplePrompt is what the final sample continues. An empty prompt would begin with the end-of-document token, which a
// corpus of few documents hardly teaches.
const samplePrompt = "// Package "

// openCorpus opens what cfg names, or random tokens. A vocabulary that does not fit is refused here.
func openCorpus(cfg *config.Run) (c *corpus, err error) {
	c = &corpus{prompt: samplePrompt}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if t := cfg.Tokenizer; t.Type != config.TokenizerNone && !cfg.Data.Mock {
		spec := t.Path
		if t.Type != config.TokenizerBPE {
			spec = t.Type
		}
		if c.tokenizer, err = tokenizer.Open(spec); err != nil {
			return c, err
		}
	}
	training, validation := map[int]data.Source{}, map[int]*data.Dataset{}
	for i := range cfg.Stages {
		seq, vocab := cfg.Stages[i].Train.SeqLength, cfg.Stages[i].Model.VocabSize
		if c.tokenizer != nil && c.tokenizer.VocabSize() > vocab {
			return c, fmt.Errorf("model.vocab_size is %d: the tokenizer %s has %d entries", vocab, cfg.Tokenizer.Path, c.tokenizer.VocabSize())
		}
		if training[seq] == nil {
			if training[seq], err = c.openTraining(cfg, seq, vocab); err != nil {
				return c, err
			}
			if validation[seq], err = c.open(cfg.Data.Validation, seq, vocab, cfg.Seed); err != nil {
				return c, err
			}
		}
		c.training, c.validation = append(c.training, training[seq]), append(c.validation, validation[seq])
	}
	return c, nil
}

func (c *corpus) openTraining(cfg *config.Run, seq, vocab int) (data.Source, error) {
	if cfg.Data.Mock {
		return data.NewMock(vocab, seq, cfg.Seed), nil
	}
	return c.open(cfg.Data.Train, seq, vocab, cfg.Seed)
}

// open opens a blend; nil when it is empty.
func (c *corpus) open(list config.Corpora, seq, vocab int, seed uint64) (*data.Dataset, error) {
	if len(list) == 0 {
		return nil, nil
	}
	var specs []data.Corpus
	for _, x := range list {
		specs = append(specs, data.Corpus{Path: x.Path, Weight: x.Weight})
	}
	d, err := data.Open(specs, seq, seed)
	if err != nil {
		return nil, err
	}
	c.opened = append(c.opened, d)
	return d, d.CheckVocab(vocab)
}

func (c *corpus) close() error {
	var all []error
	for _, d := range c.opened {
		all = append(all, d.Close())
	}
	c.opened = nil
	return errors.Join(all...)
}

// bitsPerByte of a validation loss; 0 when the corpus does not say how long its text was.
func (c *corpus) bitsPerByte(loss float64) float64 {
	if d := c.validation[0]; d != nil && d.BytesPerToken() > 0 {
		return loss / math.Ln2 / d.BytesPerToken()
	}
	return 0
}

// sequential are the windows of a validation corpus as they lie one behind the other, spread evenly over it.
type sequential struct {
	d *data.Dataset
	n int // windows asked for
}

func (w sequential) Len() int { return w.n }

func (w sequential) Window(i int, dst []int32) error {
	return w.d.Sequential(uint64(i)*w.d.NumSamples()/uint64(w.n), dst)
}

// training are the first windows of the training order: a probe where there is no validation corpus.
type training struct{ source data.Source }

func (w training) Len() int                        { return probeWindows }
func (w training) Window(i int, dst []int32) error { return w.source.Sample(uint64(i), dst) }

// openWindows fixes what validations and probes look at.
func (j *job) openWindows() error {
	for i := range j.cfg.Stages {
		t, d := j.cfg.Stages[i].Train, j.corpus.validation[i]
		if d == nil {
			j.windows, j.probes = append(j.windows, nil), append(j.probes, eval.Windows(training{j.corpus.training[i]}))
			continue
		}
		n := min(uint64(max(t.EvalIters, 1)*t.GlobalBatchSize), d.NumSamples())
		j.windows = append(j.windows, sequential{d, int(n)})
		j.probes = append(j.probes, sequential{d, int(min(probeWindows, d.NumSamples()))})
	}
	return nil
}

// newLoader reads this rank's samples of the live stage ahead of its steps, a micro-batch at a time. Which samples a step
// takes does not depend on the grid: it is the next global batch of the run's one sequence, counted in samples
// of the stage's own length.
func (r *rank) newLoader(s *config.Stage) *data.Loader {
	t := s.Train
	first := uint64(r.timeline.Begin(r.stage))/uint64(t.SeqLength) + uint64(r.place.Step)*uint64(t.GlobalBatchSize)
	return data.NewLoader(r.corpus.training[r.stage], data.LoaderOptions{
		Order:     data.Share(first, t.GlobalBatchSize, r.groups.at.DP, r.groups.grid.DP),
		BatchSize: t.MicroBatchSize, VocabSize: s.Model.VocabSize,
	})
}
