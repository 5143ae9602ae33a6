package main

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"cambium/src/cmd/cambium/snapshot"
	"cambium/src/config"
)

func evalCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "eval", Short: "Measure a model's loss on a corpus", GroupID: groupRun,
		Long: `Measures how well a model predicts a corpus: loss in nats a token, perplexity, and bits per byte, which can be compared
between tokenizers. Without --data-path it takes the validation corpus of the model's own run.`,
		Example: `  cambium eval --load runs/quickstart
  cambium eval --load runs/quickstart --ckpt-step 1000 --eval-windows 256 --json
  cambium eval --load gpt2 --data-path runs/data/mine/text_validation --seq-length 1024`,
	}
	f := addModelFlags(c)
	path := c.Flags().String("data-path", "", "corpus: `PATH` or \"WEIGHT PATH WEIGHT PATH ...\"; default: the run's validation corpus")
	o := snapshot.ScoreOptions{}
	c.Flags().IntVar(&o.Windows, "eval-windows", 0, "windows to measure, spread evenly over the corpus; 0: all")
	c.Flags().IntVar(&o.SeqLength, "seq-length", 0, "tokens of a window; 0: as in training")
	c.Flags().IntVar(&o.MicroBatch, "micro-batch-size", 4, "windows at once")
	asJSON := c.Flags().Bool("json", false, "as one JSON object")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if o.Windows < 0 || o.SeqLength < 0 || o.MicroBatch < 1 {
			return usageError{fmt.Errorf("eval: --eval-windows %d, --seq-length %d, --micro-batch-size %d: want 0 or more, 0 or more, 1 or more", o.Windows, o.SeqLength, o.MicroBatch)}
		}
		s, err := f.open(c)
		if err != nil {
			return err
		}
		defer s.Close()
		o.Threads = *f.threads
		if o.SeqLength == 0 {
			o.SeqLength = s.SeqLength()
		}
		switch {
		case *path != "":
			if o.Corpora, err = config.ParseCorpora(*path); err != nil {
				return usageError{fmt.Errorf("--data-path: %w", err)}
			}
		case s.Run != nil:
			o.Corpora = s.Run.Data.Validation
		}
		r, err := s.Score(c.Context(), o)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c, r)
		}
		fmt.Fprintf(c.OutOrStdout(), "%s: loss %.4f nats a token, perplexity %.3f", s.Path, r.Loss, r.Perplexity)
		if r.BitsPerByte > 0 {
			fmt.Fprintf(c.OutOrStdout(), ", %.4f bits per byte", r.BitsPerByte)
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), " (%s tokens in %d windows of %d, %s tokens/s)\n", humanize.Comma(int64(r.Tokens)), r.Windows, r.SeqLength, humanize.Comma(int64(r.TokensPerSec)))
		return err
	}
	return c
}
