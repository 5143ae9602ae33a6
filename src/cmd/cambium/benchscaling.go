package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"cambium/src/bench"
	"cambium/src/comm"
	"cambium/src/launch"
	"cambium/src/report"
)

func benchScalingCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "scaling", Short: "Measure how speed grows with ranks, and draw the table and the plot",
		Long: `Times training steps (bench step) on a list of grids, and draws the table and the plot of weak or strong scaling as text,
Markdown, CSV, PNG, SVG and HTML. The configuration's batch is that of the smallest grid; with weak scaling it grows with the
ranks, with strong scaling it stays.

Alone, ranks are goroutines of one process, one grid after the other. Under mpirun or srun the grids with as many ranks as
the launcher started are measured. slurm/scaling.sbatch does one grid an element of a job array. Every grid leaves a file in
the output folder; the table is drawn when all are there, and any time by --collect.`,
		Example: `  cambium bench scaling --config configs/gpt-30m.yaml --grids dp1,dp2,tp2 --scaling strong
  mpirun -n 4 cambium bench scaling --config configs/gpt-30m.yaml --grids dp4,tp2dp2,tp2pp2,pp2x2dp2
  cambium bench scaling --collect runs/bench-scaling`,
	}
	run := configFlags(c).keyFlags()
	var o bench.ScalingOptions
	grids := c.Flags().String("grids", "", "`LIST` of grids, such as dp1,dp2,tp2dp2,tp2pp2x3dp2 (x3: with three virtual stages a pipeline stage)")
	c.Flags().StringVar(&o.Kind, "scaling", report.WeakScaling, "weak: the batch grows with the ranks; strong: it does not")
	c.Flags().IntVar(&o.Element, "element", -1, "measure only this grid of the list, counted from 0: for job arrays")
	c.Flags().IntVar(&o.Warmup, "warmup", 3, "steps before the clock starts")
	c.Flags().IntVar(&o.Steps, "steps", 10, "steps that count")
	c.Flags().StringVar(&o.Dir, "output-dir", "runs/bench-scaling", "`folder` of the points, the table and the plot")
	collect := c.Flags().String("collect", "", "measure nothing: draw what is in this `folder` and those below it")
	_ = c.MarkFlagDirname("output-dir")
	_ = c.MarkFlagDirname("collect")
	_ = c.RegisterFlagCompletionFunc("scaling", cobra.FixedCompletions([]string{report.WeakScaling, report.StrongScaling}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *collect != "" {
			table, err := bench.Collect(*collect)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(c.OutOrStdout(), table)
			return err
		}
		return measureScaling(c, run, &o, *grids)
	}
	return c
}

func measureScaling(c *cobra.Command, run runFlags, o *bench.ScalingOptions, grids string) (err error) {
	if o.Grids, err = bench.ParseGrids(grids); err != nil {
		return usageError{fmt.Errorf("bench scaling: --grids: %w", err)}
	}
	const mock = "data.mock=true"
	cfg, err := run.required(c, mock)
	for _, g := range o.Grids { // a configuration for many ranks is sound with as many
		if err == nil {
			break
		}
		if larger, still := run.required(c, mock, fmt.Sprint("world_size=", g.World())); still == nil {
			cfg, err = larger, nil
		}
	}
	if err != nil {
		return err
	}
	if err := fillVocab(cfg); err != nil {
		return err
	}
	o.Version, o.Job = build().Version, os.Getenv("SLURM_JOB_ID")
	if o.World, err = launchedWorld(); err != nil {
		return err
	}
	table, err := bench.Scaling(c.Context(), cfg, *o, c.ErrOrStderr())
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(c.OutOrStdout(), table)
	return err
}

// launchedWorld are the ranks that mpirun or srun started, nil where nobody started several.
func launchedWorld() (comm.World, error) {
	n, err := launch.Size()
	if err != nil || n == 1 {
		return nil, err
	}
	return launch.Open(launch.Options{WorldSize: n, LocalRanks: 1})
}
