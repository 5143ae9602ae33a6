//go:build !mpi

package launch

import (
	"os"

	"cambium/src/comm"
)

// Size is the number of ranks that a launcher started: always 1 without MPI. It fails when the launcher thinks otherwise.
func Size() (int, error) { return 1, Place().CheckAlone() }

// Open makes the world. It is called once; Exit ends it.
func Open(o Options) (comm.World, error) {
	if err := Place().CheckAlone(); err != nil {
		return nil, err
	}
	return openLocal(o), nil
}

// Exit ends the process. In an MPI build a code other than 0 ends all ranks of the job.
func Exit(code int) { os.Exit(code) }

// MPI is name and version of the MPI that this program was built with, "" without one.
func MPI() string { return "" }
