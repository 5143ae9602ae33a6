package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cambium/src/config"
)

// newRoot makes the whole tree of commands.
func newRoot() (root *cobra.Command, finish func() error) {
	root = &cobra.Command{
		Use:   "cambium",
		Short: "Train language models that grow while they learn",
		Long: `Cambium trains language models that grow while they learn: a run begins with a small model and enlarges it in place,
at the boundaries of its stages, without losing what it learned.`,
		Example: `  cambium prep --corpus go --output-dir runs/data/go --train-tokenizer 4096
  cambium train --config configs/quickstart.yaml
  cambium generate --load runs/quickstart --prompt "func main() {"`,
		Args:              cobra.ArbitraryArgs,
		RunE:              groupCommand,
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
	}
	root.SetGlobalNormalizationFunc(dashes)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(usage)
	finish = addProfiling(root)
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Commands that train and use models:"}, &cobra.Group{ID: groupFiles, Title: "Commands for data and checkpoints:"},
		&cobra.Group{ID: groupMachine, Title: "Commands that look at the machine:"})
	root.AddCommand(commands()...)
	root.SetHelpCommandGroupID(groupMachine)
	root.SetCompletionCommandGroupID(groupMachine)
	root.AddCommand(&cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: "The exit codes of cambium:\n" + exitCodesHelp})
	wrapArgs(root)
	return root, finish
}

// The groups of the root's help.
const (
	groupRun     = "run"
	groupFiles   = "files"
	groupMachine = "machine"
)

// dashes makes --micro_batch_size, the spelling of the file, the flag --micro-batch-size.
func dashes(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
}

// groupCommand is what a command with sub-commands does by itself: help, or an error that knows what was meant.
func groupCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			names = append(names, sub.Name())
		}
	}
	meant := config.Suggest(args[0], names)
	if meant == "" {
		meant = "; there is " + strings.Join(names, ", ")
	}
	return usageError{fmt.Errorf("%sunknown command %q%s", within(c), args[0], meant)}
}

// within begins an error with the command that it belongs to: "ckpt verify: ", and nothing for cambium itself.
func within(c *cobra.Command) string {
	if _, path, ok := strings.Cut(c.CommandPath(), " "); ok {
		return path + ": "
	}
	return ""
}

// flagError puts pflag's errors into one sentence, and finds the flag that was meant.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		name := "--" + unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			name = "-" + unknown.GetSpecifiedShortnames()
		}
		meant := config.Suggest(strings.ReplaceAll(name, "_", "-"), names)
		if meant == "" {
			meant = fmt.Sprintf("; see %s --help", c.CommandPath())
		}
		return usageError{fmt.Errorf("%sunknown flag %s%s", within(c), name, meant)}
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return usageError{fmt.Errorf("--%s: %q is not %s", invalid.GetFlag().Name, invalid.GetValue(), kindOf(invalid.GetFlag().Value.Type()))}
	}
	return usageError{fmt.Errorf("%s%w; see %s --help", within(c), err, c.CommandPath())}
}

func kindOf(pflagType string) string {
	switch pflagType {
	case "int", "int64", "uint64", "uint":
		return "a whole number"
	case "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "duration":
		return "a duration such as 90s or 5m"
	}
	return "a " + pflagType
}

// wrapArgs makes errors about arguments usage errors, and helps with the trap of `--switch false`, which sets the
// switch and leaves "false" as an argument.
func wrapArgs(c *cobra.Command) {
	check := c.Args
	if check == nil && !c.HasSubCommands() {
		check = cobra.NoArgs
	}
	if c.HasSubCommands() && check == nil {
		check = cobra.ArbitraryArgs
	}
	c.Args = func(c *cobra.Command, args []string) error {
		err := check(c, args)
		if err == nil {
			return nil
		}
		for _, a := range args {
			if a == "true" || a == "false" {
				return usageError{fmt.Errorf("%sunexpected argument %q; a switch takes its value after =, as in --flag=%s", within(c), a, a)}
			}
		}
		if len(args) > 0 && c.ValidArgsFunction == nil {
			return usageError{fmt.Errorf("%sunexpected argument %q; see %s --help", within(c), args[0], c.CommandPath())}
		}
		if words := strings.Fields(c.Use); len(args) == 0 && len(words) > 1 {
			return usageError{fmt.Errorf("%s%s is missing; usage: %s", within(c), strings.TrimSuffix(words[1], "..."), c.UseLine())}
		} else if len(args) > 1 { // no command wants two, and those that want several take any number
			return usageError{fmt.Errorf("%sunexpected argument %q; usage: %s", within(c), args[1], c.UseLine())}
		}
		return usageError{fmt.Errorf("%s%w; usage: %s", within(c), err, c.UseLine())}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}
