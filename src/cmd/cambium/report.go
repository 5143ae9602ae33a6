package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"cambium/src/report"
)

func reportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "report RUN", Short: "Draw the report of a run", GroupID: groupRun, Args: cobra.ExactArgs(1),
		Long:    "Writes report.html, one self-contained page, and its plots as PNG into a run's folder. The run may still be going on.",
		Example: "  cambium report runs/quickstart",
		RunE: func(c *cobra.Command, args []string) error {
			if err := report.Write(args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), filepath.Join(args[0], report.PageFile))
			return err
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
}
