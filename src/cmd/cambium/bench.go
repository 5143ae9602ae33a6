package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"cambium/src/bench"
	"cambium/src/train"
)

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "bench", Short: "Measure speed, and whether growth pays", GroupID: groupMachine, RunE: groupCommand,
		Example: `  cambium bench step --config configs/gpt-30m.yaml
  cambium bench growth --config configs/quickstart.yaml --seeds 3 --output-dir runs/bench-growth`,
	}
	c.AddCommand(benchStepCommand(), benchKernelsCommand(), benchCommCommand(), benchScalingCommand(), benchGrowthCommand())
	return c
}

func benchStepCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "step", Short: "Time training steps on synthetic tokens",
		Long: `Times steps of the first stage of a run on synthetic tokens, and compares the operations with what the device does at most: on
the processor a loop of fused multiply-adds in registers, on a GPU a large GEMM, and the datasheet where the GPU is known.
Nothing is read or written but the configuration.`,
		Example: `  cambium bench step --config configs/gpt-30m.yaml --threads-per-rank 1 --json
  cambium bench step --config configs/gpt2-124m.yaml --micro-batch-size 4 --global-batch-size 4 --seq-length 64
  CAMBIUM_CPU_LEVEL=avx2 cambium bench step --config configs/gpt-30m.yaml
  cambium-cuda bench step --backend cuda --bf16 --config configs/gpt2-124m.yaml --profile`,
	}
	run := configFlags(c).keyFlags()
	warmup := c.Flags().Int("warmup", 3, "steps before the clock starts")
	steps := c.Flags().Int("steps", 10, "steps that count")
	profile := c.Flags().Bool("profile", false, "one step more whose kernels are timed one by one (backend cuda)")
	asJSON := c.Flags().Bool("json", false, "as one JSON object")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *steps < 1 || *warmup < 0 {
			return usageError{fmt.Errorf("bench step: --steps %d, --warmup %d: want at least 1 and at least 0", *steps, *warmup)}
		}
		cfg, err := run.launched(c, "data.mock=true")
		if err != nil {
			return err
		}
		if err := fillVocab(cfg); err != nil {
			return err
		}
		world, err := launchedWorld()
		if err != nil {
			return err
		}
		r, err := bench.Step(c.Context(), cfg, world, build().Version, train.MeasureOptions{Warmup: *warmup, Steps: *steps, Profile: *profile})
		if err != nil || r == nil { // nil: another process tells
			return err
		}
		if *asJSON {
			return printJSON(c, r)
		}
		return r.Print(c.OutOrStdout())
	}
	return c
}

func benchGrowthCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "growth", Short: "Compare a growth run with its models alone at equal FLOPs",
		Long: `Trains a growth run, its last model from scratch, and every smaller model alone, all with the same number of operations,
with several seeds, and draws loss over operations. Runs that are there already are not repeated.`,
		Example: "  cambium bench growth --config configs/quickstart.yaml --seeds 3 --output-dir runs/bench-growth",
	}
	run := configFlags(c).keyFlags()
	seeds := c.Flags().Int("seeds", 3, "seeds, from 1 on")
	dir := c.Flags().String("output-dir", "runs/bench-growth", "`folder` of the runs and the comparison")
	_ = c.MarkFlagDirname("output-dir")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *seeds < 1 {
			return usageError{fmt.Errorf("bench growth: --seeds %d: want at least 1", *seeds)}
		}
		cfg, err := run.required(c)
		if err != nil {
			return err
		}
		if err := fillVocab(cfg); err != nil {
			return err
		}
		var list []uint64
		for s := range *seeds {
			list = append(list, uint64(s)+1)
		}
		runs, err := bench.Growth(c.Context(), cfg, build().Version, *dir, list, c.ErrOrStderr())
		if err != nil {
			return err
		}
		table, err := bench.Compare(*dir, "growth", runs)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n%s\n", table, filepath.Join(*dir, "growth.html"))
		return err
	}
	return c
}
