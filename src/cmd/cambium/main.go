package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"cambium/src/launch"
)

func main() {
	launch.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signalContext()
	defer stop()
	root, finish := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if failed := finish(); err == nil {
		err = failed
	}
	if err == nil {
		return exitDone
	}
	if launch.Heard(err) {
		return exitFailure // the rank that failed says why
	}
	if signaled := (*interrupted)(nil); errors.As(context.Cause(ctx), &signaled) && errors.Is(err, context.Canceled) {
		err = signaled
	}
	if quiet := (told{}); !errors.As(err, &quiet) && !launch.Heard(err) { // another rank says it
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(stderr, "cambium: "+line)
		}
	}
	return exitCode(err)
}

// interrupted is why a command's context ended.
type interrupted struct{ signal os.Signal }

func (i *interrupted) Error() string { return "stopped by signal: " + i.signal.String() }

// ExitCode is the shell's custom: 128 and the signal's number.
func (i *interrupted) ExitCode() int {
	if s, ok := i.signal.(syscall.Signal); ok {
		return 128 + int(s)
	}
	return exitFailure
}

// signalContext ends at the first SIGINT or SIGTERM; the second one kills the program as if nobody listened.
func signalContext() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(&interrupted{s})
		case <-ctx.Done():
			signal.Stop(signals)
		}
	}()
	return ctx, func() { cancel(nil) }
}
