//go:build unix

package telemetry

import "golang.org/x/sys/unix"

// ownTerminal tells whether the terminal fd is the one that this process was started from. Open MPI's mpirun gives its ranks a
// terminal of its own and passes on what they write, mostly into a file or a batch job's log.
func ownTerminal(fd int) bool {
	_, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil
}
