package train

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"cambium/src/eval"
	"cambium/src/model"
	"cambium/src/report"
)

// sampleTokens is how much text a finished run shows, sampleTemperature and sampleTopK how freely it is drawn.
const (
	sampleTokens      = 120
	sampleTemperature = 0.8
	sampleTopK        = 50
)

// finish ends a run whose stages are all done: a sample of text by the final model, the last records.
func (r *rank) finish() error {
	if err := r.world.Barrier("end"); err != nil || !r.leads() {
		return err
	}
	text, err := r.sample()
	if err != nil {
		return fmt.Errorf("sample of generated text: %w", err)
	}
	r.observer.result.Sample = text
	r.observer.result.Finished = true
	return r.observer.finish(r, "finished")
}

// sample lets the model write. Without a tokenizer there is nothing to read, and it returns "".
func (r *rank) sample() (string, error) {
	tok, prompt := r.corpus.tokenizer, r.corpus.prompt
	if tok == nil {
		return "", nil
	}
	s := &r.cfg.Stages[r.stage]
	r.dismantle()
	m, err := model.New(r.backend, r.function, r.state.Params, model.Parallel{}, model.Options{MicroBatch: 1, SeqLength: s.Train.SeqLength, Inference: true})
	if err != nil {
		return "", err
	}
	defer m.Close()
	m.SetMask(r.lastMask())
	e, err := eval.New(r.backend, m)
	if err != nil {
		return "", err
	}
	defer e.Close()
	var text strings.Builder
	text.WriteString(prompt)
	err = e.Text(r.stream, tok, prompt, eval.Sampling{
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
