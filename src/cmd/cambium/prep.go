package main

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"cambium/src/cmd/cambium/prepare"
	"cambium/src/data"
	"cambium/src/tokenizer"
)

func prepCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "prep [FILE or FOLDER]...", Short: "Turn text into token files", GroupID: groupFiles, Args: cobra.ArbitraryArgs,
		Long: `Reads text (.txt, .md) and JSON lines (.jsonl, the text under the key "text"), each also as .gz or .zst, and writes
Megatron's .bin and .idx files. A document is a file or a line. --corpus go needs no files: it takes the sources and the
documentation of the Go distribution of this machine. What is up to date is left as it is.

With --output-dir D the files are D/text_train and D/text_validation, with --output P they are P_train, ..., or P alone
when nothing is held out.`,
		Example: `  cambium prep --corpus go --output-dir runs/data/go --train-tokenizer 4096
  cambium prep --tokenizer gpt2 --output-dir runs/data/mine --split validation=0.01 texts/ more.jsonl.zst
  cambium prep --tokenizer runs/data/go/tokenizer.json --output runs/data/docs --include '*.rst' docs/`,
	}
	var o prepare.Options
	f := c.Flags()
	f.StringVar(&o.Corpus, "corpus", "", "a corpus that needs no files: go")
	f.StringVar(&o.GoRoot, "goroot", "", "`folder` of the Go distribution for --corpus go; default: the go command's")
	f.StringVar(&o.OutputDir, "output-dir", "", "`folder` for tokens and tokenizer")
	f.StringVar(&o.Output, "output", "", "`prefix` of the token files, instead of --output-dir")
	f.StringVar(&o.Tokenizer, "tokenizer", "", "gpt2, cl100k_base, bytes, or the `path` of a tokenizer.json, or of a folder with it or with vocab.json and merges.txt")
	f.IntVar(&o.TrainTokenizer, "train-tokenizer", 0, "learn a byte-level BPE vocabulary of so many `entries` from the training split")
	pattern := f.String("split-pattern", "gpt2", "how --train-tokenizer cuts words: gpt2 or cl100k")
	splits := f.StringArray("split", nil, "hold out a share of the documents: `NAME=FRACTION`, may be repeated; default for --corpus: validation=0.02")
	f.StringArrayVar(&o.Filter.Include, "include", nil, "files of folders that are taken: a `pattern` such as '*.rst'; default: *.txt *.md *.jsonl *.ndjson")
	f.StringArrayVar(&o.Filter.Exclude, "exclude", nil, "files and folders that are not: a `pattern`")
	maxSize := f.String("max-file-size", "", "leave out larger files: `SIZE` such as 100KB")
	f.StringVar(&o.TextKey, "text-key", "text", "key of the text in a JSON line")
	eod := f.Bool("append-eod", true, "put an end-of-document token behind each document")
	f.BoolVar(&o.SkipBad, "skip-bad", false, "leave out documents that are not UTF-8 or not JSON, instead of stopping")
	f.IntVar(&o.Workers, "workers", 0, "goroutines; 0: as many as cores")
	f.BoolVar(&o.Force, "force", false, "do it even when it is up to date")
	asJSON := f.Bool("json", false, "the result as one JSON object")
	_ = c.MarkFlagDirname("output-dir")
	_ = c.RegisterFlagCompletionFunc("corpus", cobra.FixedCompletions([]string{prepare.CorpusGo}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("split-pattern", cobra.FixedCompletions([]string{"gpt2", "cl100k"}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, args []string) error {
		var err error
		o.Inputs, o.NoEOD = args, !*eod
		if o.Splits, err = parseSplits(*splits, o.Corpus != ""); err != nil {
			return usageError{err}
		}
		if o.Pattern, err = parsePattern(*pattern); err != nil {
			return usageError{err}
		}
		if *maxSize != "" {
			n, err := humanize.ParseBytes(*maxSize)
			if err != nil || n > 1<<62 {
				return usageError{fmt.Errorf("--max-file-size: %q is no size: want one such as 100KB", *maxSize)}
			}
			o.Filter.MaxFileSize = int64(n)
		}
		if err := o.Check(); err != nil {
			return usageError{fmt.Errorf("prep: %w", err)}
		}
		bars := newBars(c.ErrOrStderr())
		o.Progress = bars.show
		r, err := prepare.Run(c.Context(), o)
		bars.close()
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c, r)
		}
		return printPrepared(c, r)
	}
	return c
}

func printPrepared(c *cobra.Command, r *prepare.Result) error {
	w := c.OutOrStdout()
	bytes := int64(0)
	for _, out := range r.Outputs {
		i := out.Info
		bytes += i.Bytes
		fmt.Fprintf(w, "%s.bin: %s tokens, %s documents, %.2f bytes a token\n", out.Prefix, humanize.Comma(i.Tokens), humanize.Comma(i.Documents), i.BytesPerToken())
	}
	for _, b := range r.Bad {
		fmt.Fprintf(w, "left out: %s\n", b)
	}
	if r.Skipped > int64(len(r.Bad)) {
		fmt.Fprintf(w, "left out: %d documents in all\n", r.Skipped)
	}
	if r.UpToDate {
		_, err := fmt.Fprintln(w, "up to date: nothing to do (--force does it again)")
		return err
	}
	_, err := fmt.Fprintf(w, "%s of text in %.1f s, tokenizer %s\n", humanize.IBytes(uint64(bytes)), r.Seconds, r.Tokenizer)
	return err
}

func parseSplits(args []string, corpus bool) ([]data.Split, error) {
	if len(args) == 0 && corpus {
		return []data.Split{{Name: "validation", Fraction: 0.02}}, nil
	}
	var out []data.Split
	for _, a := range args {
		var fraction float64
		name, text, _ := strings.Cut(a, "=")
		if _, err := fmt.Sscanf(text+"\n", "%g\n", &fraction); err != nil || name == "" {
			return nil, fmt.Errorf("--split: %q: want NAME=FRACTION, such as validation=0.02", a)
		}
		out = append(out, data.Split{Name: name, Fraction: fraction})
	}
	return out, nil
}

func parsePattern(name string) (string, error) {
	switch name {
	case "gpt2":
		return tokenizer.PatternGPT2, nil
	case "cl100k":
		return tokenizer.PatternCL100K, nil
	}
	return "", fmt.Errorf("--split-pattern: %q: want gpt2 or cl100k", name)
}
