package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"cambium/src/cmd/cambium/snapshot"
	"cambium/src/eval"
)

// modelFlags pick a model on a disk.
type modelFlags struct {
	path, tokenizer *string
	step, threads   *int
}

func addModelFlags(c *cobra.Command) modelFlags {
	f := modelFlags{
		path:      c.Flags().String("load", "", "a run's `folder`, one of its checkpoints, or a Hugging Face folder (needed)"),
		step:      ckptStep(c),
		tokenizer: tokenizerFlag(c),
		threads:   c.Flags().Int("threads", 0, "worker threads; 0: as many as cores"),
	}
	_ = c.MarkFlagDirname("load")
	return f
}

func (f modelFlags) open(c *cobra.Command) (*snapshot.Snapshot, error) {
	if *f.path == "" {
		return nil, usageError{fmt.Errorf("%s--load is missing: want a run's folder, a checkpoint or a Hugging Face folder", within(c))}
	}
	return snapshot.Open(*f.path, *f.step)
}

func generateCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "generate", Short: "Let a model write", GroupID: groupRun,
		Long: "Continues a prompt with a trained model and writes the text as it comes.",
		Example: `  cambium generate --load runs/quickstart --prompt "func main() {"
  cambium generate --load runs/quickstart --temperature 0 < prompt.txt
  cambium generate --load gpt2 --prompt "Once upon a time" --top-p 0.9 --seed 7`,
	}
	f := addModelFlags(c)
	prompt := c.Flags().String("prompt", "", "text to continue; without it, standard input less its last newline")
	o := eval.Sampling{}
	c.Flags().IntVar(&o.MaxTokens, "max-new-tokens", 200, "tokens to write")
	c.Flags().Float64Var(&o.Temperature, "temperature", 0.8, "0: always the most likely token")
	c.Flags().IntVar(&o.TopK, "top-k", 50, "draw from the so many most likely tokens; 0: from all")
	c.Flags().Float64Var(&o.TopP, "top-p", 0, "draw from the fewest tokens that together have this probability; 0: from all")
	c.Flags().Uint64Var(&o.Seed, "seed", 1234, "the same seed writes the same text")
	ignoreEOD := c.Flags().Bool("ignore-eod", false, "go on after the end of a document")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := o.Check(); err != nil {
			return usageError{err}
		}
		s, err := f.open(c)
		if err != nil {
			return err
		}
		defer s.Close()
		text := *prompt
		if !c.Flags().Changed("prompt") {
			all, err := io.ReadAll(c.InOrStdin())
			if err != nil {
				return fmt.Errorf("standard input: %w", err)
			}
			text = strings.TrimSuffix(string(all), "\n") // echo's, and an editor's
		}
		tok, err := s.Tokenizer(*f.tokenizer)
		if err != nil {
			return err
		}
		if o.Stop = tok.EOD(); *ignoreEOD {
			o.Stop = -1
		}
		live, err := s.Load(*f.threads, 1, s.SeqLength())
		if err != nil {
			return err
		}
		out := &cancelWriter{ctx: c.Context(), w: c.OutOrStdout()}
		_, err = io.WriteString(out, text)
		if err == nil {
			err = live.Text(live.Stream, tok, text, o, out)
		}
		if err == nil {
			_, err = fmt.Fprintln(out)
		}
		return errors.Join(err, live.Close())
	}
	return c
}
