package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=v1.2.3); without it the commit that Go noted at build time serves.
var version string

type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"commit_time,omitempty"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func build() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	if b.Version == "" {
		b.Version = "development"
	}
	return b
}

func versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Version, commit and platform of this program", GroupID: groupMachine,
		Example: "  cambium version\n  cambium version --json",
	}
	asJSON := c.Flags().Bool("json", false, "as one JSON object")
	c.RunE = func(c *cobra.Command, _ []string) error {
		b := build()
		if *asJSON {
			return printJSON(c, b)
		}
		fmt.Fprintf(c.OutOrStdout(), "cambium %s (%s, %s)\n", b.Version, b.Go, b.Platform)
		if b.Commit != "" {
			fmt.Fprintf(c.OutOrStdout(), "commit %s of %s%s\n", b.Commit, b.Time, cond(b.Modified, ", with changes that are not committed", ""))
		}
		return nil
	}
	return c
}

// printJSON writes v on several lines, for people and programs.
func printJSON(c *cobra.Command, v any) error {
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
