package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cambium/src/arch"
	"cambium/src/config"
)

// runFlags are what says a run on the command line: --config, --set and a flag for every key.
type runFlags struct {
	command *cobra.Command
	path    *string
	sets    *[]string
}

// configFlags adds --config and --set.
func configFlags(c *cobra.Command) runFlags {
	r := runFlags{command: c}
	r.path = c.Flags().String("config", "", "YAML `file` that describes the run")
	r.sets = c.Flags().StringArray("set", nil, "any `KEY=VALUE` of the file, such as stages.1.model.hidden_size=384, or stages.*.train.lr=1e-3")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	_ = c.RegisterFlagCompletionFunc("set", completeSet)
	return r
}

// keyFlags adds a flag for every key of the configuration, with completion of their values.
func (r runFlags) keyFlags() runFlags {
	c := r.command
	config.AddFlags(c.Flags())
	for _, k := range config.Keys() {
		switch {
		case k.Flag == "":
		case k.Type == "bool":
			_ = c.RegisterFlagCompletionFunc(k.Flag, cobra.FixedCompletions([]string{"true", "false"}, cobra.ShellCompDirectiveNoFileComp))
		case len(k.Values) > 0:
			_ = c.RegisterFlagCompletionFunc(k.Flag, cobra.FixedCompletions(k.Values, cobra.ShellCompDirectiveNoFileComp))
		case k.Type == "int" || k.Type == "float" || k.Type == "count":
			_ = c.RegisterFlagCompletionFunc(k.Flag, cobra.NoFileCompletions)
		}
	}
	return r
}

// load reads the run.
func (r runFlags) load(sets ...string) (*config.Run, error) {
	return config.Load(*r.path, append(slices.Clone(*r.sets), sets...), config.Settings(r.command.Flags()))
}

// optional is load, or nil when nothing was said.
func (r runFlags) optional() (*config.Run, error) {
	if *r.path == "" && len(*r.sets) == 0 {
		return nil, nil
	}
	return r.load()
}

// completeSet offers the keys of a file: those of the run, and those of a stage at the top, where they hold for all.
func completeSet(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	var out []string
	if key, _, ok := strings.Cut(typed, "="); ok {
		for _, k := range config.Keys() {
			if k.Path == key || strings.HasSuffix(key, "."+k.Path) {
				for _, v := range cond(k.Type == "bool", []string{"true", "false"}, k.Values) {
					out = append(out, key+"="+v)
				}
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	prefix := ""
	if words := strings.SplitN(typed, ".", 3); len(words) == 3 && words[0] == "stages" {
		prefix = words[0] + "." + words[1] + "."
	}
	for _, k := range config.Keys() {
		if strings.HasPrefix(prefix+k.Path, typed) {
			out = append(out, prefix+k.Path+"=\t"+k.Help)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// modelOptions names what a model is besides its sizes.
func modelOptions(m arch.Model) string {
	words := []string{m.Position, m.Normalization, cond(m.SwiGLU, "SwiGLU", "GELU"), cond(m.LinearBias, "biases", "no biases"), cond(m.UntieOutput, "untied", "tied")}
	if m.MupBaseWidth > 0 {
		words = append(words, "muP")
	}
	return strings.Join(words, ", ")
}
