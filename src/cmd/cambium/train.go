package main

import (
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"cambium/src/comm"
	"cambium/src/config"
	"cambium/src/launch"
	"cambium/src/tokenizer"
	"cambium/src/train"
)

func trainCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "train", Short: "Train a model, growing it on the way", GroupID: groupRun,
		Long: `Trains the run that a YAML file describes, and goes on from the newest checkpoint of its folder when there is one of the
same configuration. Every key of the file is a flag too (below), and --set reaches those of single stages; flags win over
--set, --set over the file. The complete configuration is written into the run's folder.

SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 end the run after the step at hand with a checkpoint and exit code 75: start the same
command again and it goes on, bit for bit. Under Slurm: --signal=USR1@120 and requeue on 75.`,
		Example: `  cambium train --config configs/quickstart.yaml
  cambium train --config configs/quickstart.yaml --run-dir runs/two --seed 2 --set 'stages.*.train.lr=2e-3'
  cambium train --config configs/quickstart.yaml --set stages.tree.model.hidden_size=384 --set stages.tree.model.num_attention_heads=6
  cambium train --config configs/quickstart.yaml --print-config
  cambium train --dry-run --world-size 192 --config configs/flm-101b.yaml --device-memory 80GiB
  cambium train --num-layers 2 --hidden-size 64 --num-attention-heads 2 --vocab-size 256 --seq-length 32 \
      --micro-batch-size 4 --train-iters 100 --lr 1e-3 --mock-data`,
	}
	run := configFlags(c).keyFlags()
	resume := c.Flags().String("resume", train.ResumeAuto, "auto: go on from the folder's newest checkpoint if there is one; must: there has to be; never: there may not be")
	timeout := c.Flags().Float64("distributed-timeout-minutes", 10, "end the run, with a report of who waits for whom, when nothing moves for so long")
	dry := dryRunFlags(c)
	printConfig := c.Flags().Bool("print-config", false, "only check the configuration and print it, complete")
	modes := []string{train.ResumeAuto, train.ResumeMust, train.ResumeNever}
	c.Flags().Lookup("resume").NoOptDefVal = train.ResumeMust
	_ = c.RegisterFlagCompletionFunc("resume", cobra.FixedCompletions(modes, cobra.ShellCompDirectiveNoFileComp))
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 1 && slices.Contains(modes, args[0]) && c.Flags().Changed("resume") {
			*resume = args[0] // --resume never, without the = that an optional value would need
			return nil
		}
		return cobra.NoArgs(c, args)
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !slices.Contains(modes, *resume) {
			return usageError{fmt.Errorf("--resume: %q: want auto, must or never", *resume)}
		}
		if !(*timeout > 0) || *timeout > 1e6 {
			return usageError{fmt.Errorf("--distributed-timeout-minutes: %v: want more than 0 and at most a million", *timeout)}
		}
		load := run.launched
		if *dry.on || *printConfig { // of a job that may be larger than what was launched
			load = run.required
		}
		cfg, err := load(c)
		if err != nil {
			return err
		}
		if *printConfig {
			_, err := c.OutOrStdout().Write(cfg.Resolved())
			return err
		}
		if err := fillVocab(cfg); err != nil {
			return err
		}
		if *dry.on {
			return dry.print(c, cfg)
		}
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGUSR1, syscall.SIGUSR2)
		defer stop()
		world, err := launch.Open(launch.Options{WorldSize: cfg.WorldSize, LocalRanks: cfg.LocalRanks})
		if err != nil {
			return err
		}
		s, err := train.Run(ctx, cfg, train.Options{
			World: world, Resume: *resume, Output: c.OutOrStdout(), Timeout: time.Duration(*timeout * float64(time.Minute)), Version: build().Version, Report: true,
		})
		if errors.Is(err, train.ErrStopped) {
			return stopped(err, world)
		}
		if err != nil || s == nil { // nil: another process tells
			return err
		}
		return s.Print(c.OutOrStdout())
	}
	return c
}

// stopped is the error of a run that has saved before its end. One process tells. Launchers end the other ranks as soon as one
// has ended with a code that is not 0: by signals, which are too late to change theirs.
func stopped(err error, world comm.World) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
	if !slices.Contains(world.Local(), 0) {
		return told{err}
	}
	return err
}

// launched is required for the number of ranks that a launcher started. A mistake is the same on all ranks: the first one
// tells of it, and the launcher ends the others before they do.
func (r runFlags) launched(c *cobra.Command, sets ...string) (cfg *config.Run, err error) {
	n, err := launch.Size()
	defer func() {
		if err != nil && launch.Place().Rank > 0 {
			time.Sleep(3 * time.Second)
		}
	}()
	if err != nil {
		return nil, err
	}
	if n > 1 {
		if cfg, err := r.required(c, sets...); err == nil && cfg.WorldSize != 0 && cfg.WorldSize != n {
			return nil, usageError{fmt.Errorf("world_size is %d, but %d ranks were started: make them equal, or leave world_size out", cfg.WorldSize, n)}
		}
		sets = append(sets, fmt.Sprint("world_size=", n), "local_ranks=1") // a file may name ranks for when nobody starts several
	}
	cfg, err = r.required(c, sets...)
	if err == nil && n == 1 && cfg.WorldSize > 0 && cfg.WorldSize != cfg.LocalRanks {
		return nil, usageError{fmt.Errorf("world_size is %d, but one process was started, with local_ranks %d: start it with srun or mpirun, or look at it with --dry-run", cfg.WorldSize, cfg.LocalRanks)}
	}
	return cfg, err
}

// required is load, with a sentence for who gave nothing at all.
func (r runFlags) required(c *cobra.Command, sets ...string) (*config.Run, error) {
	if *r.path == "" && len(*r.sets) == 0 && len(config.Settings(c.Flags())) == 0 {
		return nil, usageError{fmt.Errorf("%s--config is missing: want a YAML file such as configs/quickstart.yaml", within(c))}
	}
	return r.load(sets...)
}

// fillVocab asks the tokenizer for the size of a vocabulary that the configuration leaves to it.
func fillVocab(cfg *config.Run) error {
	if !slices.ContainsFunc(cfg.Stages, func(s config.Stage) bool { return s.Model.VocabSize == 0 }) {
		return nil
	}
	t, err := tokenizer.Open(cfg.Tokenizer.Spec())
	if err != nil {
		return errors.Join(fmt.Errorf("tokenizer.path: %w", err), hintPrep(cfg))
	}
	cfg.FillVocab(t.VocabSize())
	return nil
}

// hintPrep tells what makes the files that a configuration of the repository names.
func hintPrep(cfg *config.Run) error {
	if cfg.Tokenizer.Type != config.TokenizerBPE {
		return nil
	}
	return errors.New("has its corpus been made? cambium prep makes it, tokenizer included (--train-tokenizer); configs/quickstart.yaml says how at its top")
}
