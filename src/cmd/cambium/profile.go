package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"

	"github.com/spf13/cobra"
)

// addProfiling gives every command --cpu-profile and --mem-profile, for `go tool pprof`. The function that it returns
// writes them, also after a failure.
func addProfiling(root *cobra.Command) (finish func() error) {
	cpu := root.PersistentFlags().String("cpu-profile", "", "write a CPU profile to this `file`")
	mem := root.PersistentFlags().String("mem-profile", "", "write a memory profile to this `file` at the end")
	var stop func() error
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if *cpu == "" {
			return nil
		}
		f, err := os.Create(*cpu)
		if err != nil {
			return fmt.Errorf("--cpu-profile: %w", err)
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("--cpu-profile: %w", err)
		}
		stop = func() error {
			pprof.StopCPUProfile()
			return f.Close()
		}
		return nil
	}
	return func() error {
		if stop != nil {
			if err := stop(); err != nil {
				return fmt.Errorf("--cpu-profile: %w", err)
			}
		}
		if *mem == "" {
			return nil
		}
		f, err := os.Create(*mem)
		if err != nil {
			return fmt.Errorf("--mem-profile: %w", err)
		}
		runtime.GC()
		if err := pprof.WriteHeapProfile(f); err != nil {
			return fmt.Errorf("--mem-profile: %w", err)
		}
		return f.Close()
	}
}
