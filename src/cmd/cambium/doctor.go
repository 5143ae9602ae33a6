package main

import (
	"github.com/spf13/cobra"

	"cambium/src/backend/cuda"
	"cambium/src/cmd/cambium/doctor"
	"cambium/src/comm/nccl"
	"cambium/src/launch"
)

func doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "doctor", Short: "What this machine has, what is missing and how to get it", GroupID: groupMachine,
		Long: `Shows what this machine has: processor, memory, disk, compilers, BLAS, MPI, CUDA, NCCL, Slurm, and where the rank and
the size of a job would come from. Nothing of what is missing stops Cambium: it trains on any processor without it.`,
		Example: `  cambium doctor
  cambium doctor --dir /scratch/me       # how fast is this disk?
  srun -N 2 cambium doctor --json        # what does Slurm tell the ranks?`,
	}
	asJSON := c.Flags().Bool("json", false, "as one JSON object")
	dir := c.Flags().String("dir", ".", "`folder` whose disk is measured")
	mib := c.Flags().Int("disk-mib", 64, "how much is written for that, in MiB; 0: not measured")
	_ = c.MarkFlagDirname("dir")
	c.RunE = func(c *cobra.Command, _ []string) error {
		r := doctor.Examine(c.Context(), doctor.Here(), doctor.Options{Dir: *dir, DiskMiB: *mib, MPI: launch.MPI(), GPUs: cuda.Describe, NCCL: nccl.Find})
		if *asJSON {
			return printJSON(c, r)
		}
		return r.Print(c.OutOrStdout())
	}
	return c
}
