package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cambium/src/config"
)

const helpWidth = 110

// usage prints how a command is called: its examples, sub-commands by group, its own flags, and the flags of the
// configuration section by section.
func usage(c *cobra.Command) error {
	w := c.OutOrStderr()
	fmt.Fprintln(w, "Usage:")
	if c.Runnable() && !c.HasSubCommands() {
		fmt.Fprintf(w, "  %s\n", c.UseLine())
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s COMMAND [flags]\n", c.CommandPath())
	}
	if c.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
	for _, g := range c.Groups() {
		list(w, c, g.Title, g.ID)
	}
	list(w, c, "Commands:", "")
	own, sections := split(c.LocalFlags())
	printFlags(w, "Flags:", own)
	for i, title := range config.Sections() {
		printFlags(w, cond(title == "", "Keys of the configuration:", "Keys of the configuration, "+title+":"), sections[i])
	}
	printFlags(w, "Flags of every command:", c.InheritedFlags())
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n%s COMMAND --help tells more about a command.\n", c.CommandPath())
	}
	return nil
}

func list(w io.Writer, c *cobra.Command, title, group string) {
	first := true
	for _, sub := range c.Commands() {
		if sub.GroupID != group || !sub.IsAvailableCommand() && sub.Name() != "help" {
			continue
		}
		if first {
			fmt.Fprintf(w, "\n%s\n", title)
		}
		first = false
		fmt.Fprintf(w, "  %-*s %s\n", c.NamePadding(), sub.Name(), sub.Short)
	}
}

// split parts a command's own flags from those of the configuration.
func split(all *pflag.FlagSet) (own *pflag.FlagSet, sections []*pflag.FlagSet) {
	names := config.Sections()
	sets := map[string]*pflag.FlagSet{}
	empty := func() *pflag.FlagSet {
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		fs.SortFlags = false
		return fs
	}
	own = empty()
	for _, n := range names {
		sets[n] = empty()
		sections = append(sections, sets[n])
	}
	all.SortFlags = false
	all.VisitAll(func(f *pflag.Flag) {
		if section, ok := config.SectionOf(f); ok {
			sets[section].AddFlag(f)
			return
		}
		own.AddFlag(f)
	})
	return own, sections
}

func printFlags(w io.Writer, title string, fs *pflag.FlagSet) {
	if text := strings.TrimRight(fs.FlagUsagesWrapped(helpWidth), "\n"); text != "" {
		fmt.Fprintf(w, "\n%s\n%s\n", title, text)
	}
}

func cond[T any](c bool, yes, no T) T {
	if c {
		return yes
	}
	return no
}
