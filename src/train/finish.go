package train

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"cambium/src/eval"
	"cambium/src/report"
)

// sampleTokens is how much text a finished run shows, sampleTemperature and sampleTopK how freely it is drawn.
const (
	sampleTokens      = 120
	sampleTemperature = 0.8
	sampleTopK        = 50
)

// finish ends a run whose stages are all done: a sample of text by the final model, the last records. The first replica
// writes the text, all of its ranks together.
func (r *rank) finish() error {
	if err := r.world.Barrier("end"); err != nil || r.groups.at.DP > 0 {
		return err
	}
	text, err := r.sample()
	if err != nil {
		return fmt.Errorf("sample of generated text: %w", err)
	}
	r.lead(func(o *observer) error {
		o.result.Sample, o.result.Finished = text, true
		return o.finish(r, "finished")
	})
	return nil
}

// sample lets the model write. Without a tokenizer there is nothing to read, and it returns "".
func (r *rank) sample() (string, error) {
	tok, prompt := r.corpus.tokenizer, r.corpus.prompt
	if tok == nil {
		return "", nil
	}
	r.state.Optimizer.Settle(r.stream)
	r.dismantle()
	seq := r.cfg.Stages[r.stage].Train.SeqLength
	f, err := r.newInference(r.groups, r.stage, r.state, 1, seq, r.lastMask())
	if err != nil {
		return "", err
	}
	defer f.Close()
	var text strings.Builder
	text.WriteString(prompt)
	err = eval.Over(f).Text(r.stream, tok, prompt, eval.Sampling{
		Temperature: sampleTemperature, TopK: sampleTopK, MaxTokens: sampleTokens, Seed: r.cfg.Seed, Stop: tok.EOD(),
	}, &text)
	return text.String(), err
}

// summary completes what the observer gathered, and draws the report.
func (j *job) summary() (*Summary, error) {
	s := &j.observer.result
	s.RunDir = j.cfg.RunDir
	for i := range s.Stages {
		s.Stages[i].Name, s.Stages[i].Model = j.cfg.Stages[i].Name, j.cfg.Stages[i].Model
	}
	s.Iterations, s.Took = j.observer.last.Iteration, time.Since(j.observer.begun)
	if !j.options.Report {
		return s, nil
	}
	s.Report = filepath.Join(j.cfg.RunDir, report.PageFile)
	return s, report.Write(j.cfg.RunDir)
}
