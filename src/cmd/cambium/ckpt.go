package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"cambium/src/checkpoint"
	"cambium/src/cmd/cambium/snapshot"
	"cambium/src/hf"
)

func ckptCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "ckpt", Short: "Look into checkpoints, verify them, exchange them with Hugging Face", GroupID: groupFiles, RunE: groupCommand,
		Example: `  cambium ckpt inspect runs/quickstart
  cambium ckpt verify runs/quickstart
  cambium ckpt export runs/llama-15m --output llama-15m
  cambium ckpt import ./gpt2 --output runs/gpt2`,
	}
	c.AddCommand(inspectCommand(), verifyCommand(), exportCommand(), importCommand())
	return c
}

const pathHelp = `PATH is a run's folder (its newest checkpoint is meant, or the one of --ckpt-step), its folder of checkpoints, or one
checkpoint.`

// ckptStep adds Megatron's flag for a checkpoint that is not the newest.
func ckptStep(c *cobra.Command) *int {
	return c.Flags().Int("ckpt-step", snapshot.Latest, "`iteration` of the checkpoint; -1: the newest")
}

func inspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "inspect PATH", Short: "What a checkpoint holds", Args: cobra.ExactArgs(1),
		Long:    "Shows what a checkpoint holds: its place in the run, the model, and what takes how much space.\n" + pathHelp,
		Example: "  cambium ckpt inspect runs/quickstart\n  cambium ckpt inspect runs/quickstart/checkpoints/iter_0001000 --config\n  cambium ckpt inspect runs/quickstart --json | jq .meta.consumed_tokens",
	}
	step := ckptStep(c)
	asJSON := c.Flags().Bool("json", false, "the whole manifest as one JSON object")
	tensors := c.Flags().Bool("tensors", false, "every tensor too")
	configuration := c.Flags().Bool("config", false, "only the configuration of its run, as YAML")
	c.RunE = func(c *cobra.Command, args []string) error {
		folder, _, err := snapshot.Locate(args[0], *step)
		if err != nil {
			return err
		}
		r, err := checkpoint.Open(folder)
		if err != nil {
			return err
		}
		defer r.Close()
		switch {
		case *asJSON:
			return printJSON(c, r.Manifest())
		case *configuration:
			_, err := fmt.Fprint(c.OutOrStdout(), r.Meta().Config)
			return err
		}
		return describe(c, r, *tensors)
	}
	return c
}

func describe(c *cobra.Command, r *checkpoint.Reader, tensors bool) error {
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	m, meta := r.Manifest(), r.Meta()
	x := meta.Model
	fmt.Fprintf(w, "checkpoint\t%s (format %d, written by %d ranks)\n", r.Folder(), m.Format, m.Ranks)
	fmt.Fprintf(w, "iteration\t%s\n", humanize.Comma(int64(meta.Iteration)))
	fmt.Fprintf(w, "consumed\t%s tokens, %s samples\n", humanize.Comma(meta.ConsumedTokens), humanize.Comma(meta.ConsumedSamples))
	fmt.Fprintf(w, "growth stage\t%d, iteration %s of it%s\n", meta.Stage.Index, humanize.Comma(int64(meta.Stage.Iterations)), cond(meta.Mask.Active(), fmt.Sprintf(", mask at %.3g", meta.Mask.V), ""))
	fmt.Fprintf(w, "model\t%d layers x %d, %d heads of %d (%d groups), FFN %d, %s\n", x.NumLayers, x.HiddenSize, x.NumAttentionHeads, x.KVChannels, x.NumQueryGroups, x.FFNHiddenSize, modelOptions(x))
	fmt.Fprintf(w, "parameters\t%s, vocabulary %s\n", humanize.Comma(int64(x.ParameterCount())), humanize.Comma(int64(x.VocabSize)))
	for _, s := range m.Inspect() {
		fmt.Fprintf(w, "%s\t%d tensors of %s, %s elements, %s on disk (raw %s)\n", s.Kind, s.Tensors, strings.Join(s.DTypes, ", "), humanize.Comma(s.Elements),
			humanize.IBytes(uint64(s.Stored)), humanize.IBytes(uint64(s.RawBytes)))
	}
	if tensors {
		fmt.Fprintln(w, "\ntensor\tkind\ttype\tshape\tbox\tfile\tbytes\tcodec")
		for _, e := range m.Entries {
			fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%v\t%s\t%d\t%s\n", e.Tensor, e.Kind, e.DType, e.Shape, e.Box(), e.File, e.Stored, e.Codec)
		}
	}
	return w.Flush()
}

func verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "verify PATH...", Short: "Read every byte of a checkpoint and compare it with its checksum", Args: cobra.MinimumNArgs(1),
		Long:    "Reads every byte of a checkpoint and compares it with its checksum. Every problem is one line; the exit code is 1 when\nthere is one.\n" + pathHelp,
		Example: "  cambium ckpt verify runs/quickstart\n  cambium ckpt verify runs/quickstart/checkpoints/iter_*",
	}
	step := ckptStep(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		var problems []error
		for _, path := range args {
			folder, _, err := snapshot.Locate(path, *step)
			if err != nil {
				problems = append(problems, err)
				continue
			}
			r := checkpoint.Verify(folder)
			problems = append(problems, r.Problems...)
			fmt.Fprintf(c.OutOrStdout(), "%s: %s, %d files, %d entries, %s read\n", folder,
				cond(len(r.Problems) == 0, "sound", fmt.Sprintf("DAMAGED, %d problems", len(r.Problems))), r.Files, r.Entries, humanize.IBytes(uint64(r.Bytes)))
		}
		return errors.Join(problems...)
	}
	return c
}

func exportCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "export PATH", Short: "Write a model as a Hugging Face folder", Args: cobra.ExactArgs(1),
		Long: `Writes config.json, model.safetensors and the tokenizer's files, as the transformers library reads them: a GPT-2 or a
Llama, whichever the model is. PATH is a run's folder or one of its checkpoints.`,
		Example: "  cambium ckpt export runs/llama-15m --output llama-15m",
	}
	step := ckptStep(c)
	output := c.Flags().String("output", "", "`folder` to write (needed)")
	spec := tokenizerFlag(c)
	_ = c.MarkFlagDirname("output")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *output == "" {
			return usageError{errors.New("ckpt export: --output is missing: want the folder to write")}
		}
		s, err := snapshot.Open(args[0], *step)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := s.Export(*output, *spec); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "wrote %s\n", *output)
		return nil
	}
	return c
}

func importCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "import FOLDER", Short: "Make a checkpoint of a Hugging Face folder", Args: cobra.ExactArgs(1),
		Long: `Reads a GPT-2 or Llama folder of the transformers library and writes it as the checkpoint of iteration 0 of a run's
folder, with its tokenizer. With --config, the first stage of which must have the same model, training can start
from it.`,
		Example: "  cambium ckpt import ./gpt2 --output runs/gpt2\n  cambium ckpt import ./gpt2 --config my-run.yaml --output runs/my-run && cambium train --config my-run.yaml --run-dir runs/my-run",
	}
	output := c.Flags().String("output", "", "run `folder` to write (needed)")
	load := configFlags(c)
	_ = c.MarkFlagDirname("output")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *output == "" {
			return usageError{errors.New("ckpt import: --output is missing: want the run's folder")}
		}
		run, err := load.optional()
		if err != nil {
			return err
		}
		f, err := hf.Import(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		path, err := snapshot.Import(f, args[0], *output, run)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "wrote %s\n", path)
		return nil
	}
	return c
}

// tokenizerFlag adds --tokenizer-model for models whose tokenizer is not where they say.
func tokenizerFlag(c *cobra.Command) *string {
	return c.Flags().String("tokenizer-model", "", "gpt2, cl100k_base, or the `path` of a tokenizer.json, or of a folder with it or with vocab.json and merges.txt; default: the model's own")
}
