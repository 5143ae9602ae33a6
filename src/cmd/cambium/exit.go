package main

import (
	"errors"

	"cambium/src/config"
	"cambium/src/train"
)

// The exit codes. exitRequeue is EX_TEMPFAIL of sysexits.h: a batch script can tell "start me again" from a failure.
const (
	exitDone    = 0
	exitFailure = 1
	exitUsage   = 2
	exitRequeue = 75
)

const exitCodesHelp = `  0   done
  1   failed; the last line on standard error says why
  2   the command line or the configuration is wrong; nothing was done
  75  training stopped before its end by a signal or a time limit and saved a checkpoint: start it again and it goes on
  130 stopped by SIGINT (Ctrl-C), 143 by SIGTERM, where a command has nothing to save`

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// told is an error that another process of the same job prints.
type told struct{ error }

func (t told) Unwrap() error { return t.error }

// exitCode classifies an error. An error may bring its own code.
func exitCode(err error) int {
	var own interface{ ExitCode() int }
	var usage usageError
	var faults config.Faults
	switch {
	case errors.Is(err, train.ErrStopped):
		return exitRequeue
	case errors.As(err, &own):
		return own.ExitCode()
	case errors.As(err, &usage), errors.As(err, &faults):
		return exitUsage
	}
	return exitFailure
}
