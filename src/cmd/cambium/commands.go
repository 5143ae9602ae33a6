package main

import "github.com/spf13/cobra"

// commands are all commands, in the order of the help.
func commands() []*cobra.Command {
	return []*cobra.Command{
		trainCommand(), evalCommand(), generateCommand(), reportCommand(), prepCommand(), ckptCommand(), benchCommand(), doctorCommand(), versionCommand(),
	}
}
