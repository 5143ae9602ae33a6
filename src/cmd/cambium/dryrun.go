package main

import (
	"encoding/json"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"cambium/src/config"
	"cambium/src/plan"
)

// dryRun are the flags of train --dry-run.
type dryRun struct {
	on, json        *bool
	ranksPerNode    *int
	memory          *string
	teraFLOPS, used *float64
}

func dryRunFlags(c *cobra.Command) dryRun {
	f := c.Flags()
	return dryRun{
		on:           f.Bool("dry-run", false, "run nothing: tell parameters, grid, memory of a rank, schedule, work and what each growth moves"),
		json:         f.Bool("json", false, "dry run: as JSON"),
		ranksPerNode: f.Int("ranks-per-node", 8, "dry run: ranks of a node"),
		memory:       f.String("device-memory", "", "dry run: memory of a rank's device, such as 80GiB: warns of what does not fit"),
		teraFLOPS:    f.Float64("device-tflops", 0, "dry run: peak TFLOP/s of a rank's device, and"),
		used:         f.Float64("mfu", 0, "dry run: the share of it that training reaches, 0 to 1: tells days"),
	}
}

// print plans the run and writes the plan.
func (d dryRun) print(c *cobra.Command, cfg *config.Run) error {
	o := plan.Options{RanksPerNode: *d.ranksPerNode, DeviceFLOPS: *d.teraFLOPS * 1e12, MFU: *d.used}
	if *d.memory != "" {
		n, err := humanize.ParseBytes(*d.memory)
		if err != nil || n == 0 {
			return usageError{fmt.Errorf("--device-memory: %q: want a size such as 80GiB", *d.memory)}
		}
		o.DeviceMemory = int64(n)
	}
	switch {
	case o.RanksPerNode < 1:
		return usageError{fmt.Errorf("--ranks-per-node: %d: want 1 or more", o.RanksPerNode)}
	case o.MFU < 0 || o.MFU > 1:
		return usageError{fmt.Errorf("--mfu: %v: want a share from 0 to 1, such as 0.45", o.MFU)}
	case o.DeviceFLOPS < 0:
		return usageError{fmt.Errorf("--device-tflops: %v: want more than 0", *d.teraFLOPS)}
	case (o.MFU > 0) != (o.DeviceFLOPS > 0):
		return usageError{fmt.Errorf("--mfu and --device-tflops tell days together: give both")}
	}
	p, err := plan.New(cfg, o)
	if err != nil {
		return err
	}
	if !*d.json {
		return p.Print(c.OutOrStdout())
	}
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(p)
}
