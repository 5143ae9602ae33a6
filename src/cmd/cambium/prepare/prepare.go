package prepare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/zeebo/xxh3"

	"cambium/src/data"
	"cambium/src/tokenizer"
)

// Options say what text becomes which corpus.
type Options struct {
	Inputs []string // files and folders
	Corpus string   // "go": the Go distribution itself, instead of Inputs
	GoRoot string   // of that corpus; "": of the go command
	Filter data.Filter

	Output    string // prefix of the token files
	OutputDir string // instead: the files are text_train, text_validation and tokenizer.json in it
	Splits    []data.Split

	Tokenizer      string // gpt2, cl100k_base, bytes or a path
	TrainTokenizer int    // instead: learn a vocabulary of so many entries from the training split
	Pattern        string // of that vocabulary; "": GPT-2's
	NoEOD          bool   // no end-of-document tokens

	TextKey string
	SkipBad bool
	Workers int
	Force   bool // even what is up to date

	Progress func(what string, done, total int64) // may be nil
}

// CorpusGo names the corpus that every machine with Go has.
const CorpusGo = "go"

// Result is what Run made or found.
type Result struct {
	UpToDate  bool          `json:"up_to_date"` // nothing was to do
	Tokenizer string        `json:"tokenizer"`
	Outputs   []data.Output `json:"outputs"`
	Skipped   int64         `json:"skipped"`       // bad documents
	Bad       []string      `json:"bad,omitempty"` // some of them
	Seconds   float64       `json:"seconds"`
	Stamp     string        `json:"stamp"` // of inputs and options
}

// check finds contradictions in the options.
func (o *Options) check() error {
	switch {
	case o.Corpus != "" && o.Corpus != CorpusGo:
		return fmt.Errorf("--corpus %s: there is no such corpus: want go", o.Corpus)
	case o.Corpus != "" && len(o.Inputs) > 0:
		return fmt.Errorf("--corpus %s and files (%s) are given: want one of them", o.Corpus, o.Inputs[0])
	case o.Corpus == "" && len(o.Inputs) == 0:
		return errors.New("no text: want files, folders or --corpus go")
	case (o.Output == "") == (o.OutputDir == ""):
		return errors.New("want either --output PREFIX or --output-dir FOLDER")
	case (o.Tokenizer == "") == (o.TrainTokenizer == 0):
		return errors.New("want either --tokenizer (gpt2, cl100k_base, bytes or a path) or --train-tokenizer ENTRIES")
	case o.TrainTokenizer < 0:
		return fmt.Errorf("--train-tokenizer %d: want the number of entries, 257 or more", o.TrainTokenizer)
	}
	return nil
}

// Check is an error of the options themselves: nothing was looked at.
func (o *Options) Check() error { return o.check() }

// folder is where the tokenizer and the stamp go, prefix what the token files begin with.
func (o *Options) folder() string {
	if o.OutputDir != "" {
		return o.OutputDir
	}
	return filepath.Dir(o.Output)
}

func (o *Options) prefix() string {
	if o.OutputDir != "" {
		return filepath.Join(o.OutputDir, "text")
	}
	return o.Output
}

func (o *Options) stampFile() string { return o.prefix() + ".prep.json" }

// Run makes the corpus, unless it is there already, made of the same files with the same options.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.SkipBad = o.SkipBad || o.Corpus == CorpusGo // a few of its test files are broken on purpose
	begin := time.Now()
	files, err := o.files()
	if err != nil {
		return nil, err
	}
	stamp, err := o.stamp(files)
	if err != nil {
		return nil, err
	}
	if old := o.previous(stamp); old != nil && !o.Force {
		old.UpToDate = true
		return old, nil
	}
	if err := os.MkdirAll(o.folder(), 0o755); err != nil {
		return nil, err
	}
	r := &Result{Stamp: stamp}
	tok, err := o.tokenizer(ctx, files, r)
	if err != nil {
		return nil, err
	}
	p, err := data.Prep(ctx, data.PrepOptions{
		Files: files, Output: o.prefix(), Tokenizer: tok, TokenizerName: r.Tokenizer, AppendEOD: !o.NoEOD, TextKey: o.TextKey, Splits: o.Splits,
		SkipBad: o.SkipBad, Workers: o.Workers, Progress: func(s data.PrepState) { o.progress("encoding", s.Done, s.Total) },
	})
	if err != nil {
		return nil, err
	}
	r.Outputs, r.Skipped, r.Bad, r.Seconds = p.Outputs, p.Skipped, p.Bad, time.Since(begin).Seconds()
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	return r, renameio.WriteFile(o.stampFile(), append(text, '\n'), 0o644)
}

func (o *Options) progress(what string, done, total int64) {
	if o.Progress != nil {
		o.Progress(what, done, total)
	}
}

func (o *Options) files() ([]data.File, error) {
	if o.Corpus == CorpusGo {
		return data.GoFiles(o.GoRoot)
	}
	return data.List(o.Inputs, o.Filter)
}

// tokenizer opens the tokenizer, or trains it and saves it where the run's configuration will look for it.
func (o *Options) tokenizer(ctx context.Context, files []data.File, r *Result) (tokenizer.Tokenizer, error) {
	if o.TrainTokenizer == 0 {
		r.Tokenizer = o.Tokenizer
		return tokenizer.Open(o.Tokenizer)
	}
	tok, err := data.TrainTokenizer(ctx, data.TrainTokenizerOptions{
		TrainOptions: tokenizer.TrainOptions{VocabSize: o.TrainTokenizer, Pattern: o.Pattern, Workers: o.Workers},
		Files:        files, TextKey: o.TextKey, Splits: o.Splits, SkipBad: o.SkipBad,
		Progress: func(done, total int64) { o.progress("learning the vocabulary", done, total) },
	})
	if err != nil {
		return nil, err
	}
	r.Tokenizer = filepath.Join(o.folder(), "tokenizer.json")
	return tok, tok.Save(o.folder())
}

// stamp identifies inputs and options: names, sizes and times of the files, and all that changes what is written.
func (o *Options) stamp(files []data.File) (string, error) {
	h := xxh3.New()
	fmt.Fprintf(h, "2 %q %q %d %q %v %q %v %v\n", o.prefix(), o.Tokenizer, o.TrainTokenizer, o.Pattern, o.NoEOD, o.TextKey, o.SkipBad, o.Splits)
	if info, err := os.Stat(o.Tokenizer); err == nil && o.Tokenizer != "" {
		fmt.Fprintf(h, "%d %d\n", info.Size(), info.ModTime().UnixNano())
	}
	for _, f := range files {
		info, err := os.Stat(f.Path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q %q %d %d\n", f.Path, f.Name, info.Size(), info.ModTime().UnixNano())
	}
	sum := h.Sum128()
	return fmt.Sprintf("%016x%016x", sum.Hi, sum.Lo), nil
}

// previous is what an earlier run with that stamp made, if all of it is still there.
func (o *Options) previous(stamp string) *Result {
	text, err := os.ReadFile(o.stampFile())
	if err != nil {
		return nil
	}
	var r Result
	if json.Unmarshal(text, &r) != nil || r.Stamp != stamp || len(r.Outputs) == 0 {
		return nil
	}
	for _, out := range r.Outputs {
		for _, ending := range []string{".bin", ".idx"} {
			if _, err := os.Stat(out.Prefix + ending); err != nil {
				return nil
			}
		}
	}
	if _, err := os.Stat(r.Tokenizer); o.TrainTokenizer > 0 && err != nil {
		return nil
	}
	return &r
}
