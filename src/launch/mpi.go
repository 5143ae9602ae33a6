//go:build mpi

package launch

import (
	"fmt"
	"os"
	"time"

	"cambium/src/comm"
	commpi "cambium/src/comm/mpi"
	"cambium/src/mpi"
)

// Size is the number of ranks that a launcher started, 1 without one. MPI is not started for the answer; Open checks it.
func Size() (int, error) { return Place().Size, nil }

// world ends MPI together with the run.
type world struct {
	*commpi.World
	env *mpi.Env
}

// Open makes the world: the ranks that mpirun or srun started, or goroutines where nobody started several. It is called once
// a process; Exit ends it.
func Open(o Options) (comm.World, error) {
	place := Place()
	if place.Size == 1 {
		return openLocal(o), nil // without starting MPI, whose singletons want daemons of their own
	}
	env, err := mpi.InitThread(mpi.Serialized)
	if err != nil {
		return nil, err
	}
	c, err := mpi.World()
	if err != nil {
		return nil, err
	}
	if err := place.CheckMPI(c.Rank(), c.Size(), mpi.Library()); err != nil {
		return nil, err
	}
	if err := o.several(c.Size()); err != nil {
		return nil, err
	}
	w, err := commpi.NewWorld(c, commpi.Options{})
	if err != nil {
		return nil, err
	}
	return &world{w, env}, nil
}

// lastWord is how long a rank that only heard of a failure waits before it ends: launchers take the end of any rank as the end
// of all, and the rank that failed must come to say why.
const lastWord = 2 * time.Second

// Run runs the ranks and ends MPI.
func (w *world) Run(f func(comm.Communicator) error) error {
	err := w.World.Run(f)
	if err == nil {
		return w.env.Finalize()
	}
	if Heard(err) {
		time.Sleep(lastWord)
	}
	return err
}

// several checks that o fits size ranks which a launcher started, one a process.
func (o Options) several(size int) error {
	if o.WorldSize > 0 && o.WorldSize != size {
		return fmt.Errorf("world_size is %d, but MPI started %d ranks: start as many", o.WorldSize, size)
	}
	if o.LocalRanks > 1 {
		return fmt.Errorf("local_ranks is %d, but MPI started %d processes with one rank each: want local_ranks 1", o.LocalRanks, size)
	}
	return nil
}

// forwarding is the time that launchers get to pass on what a rank wrote, before they hear that it has given up: MPICH's
// drops what comes together with the end.
const forwarding = 300 * time.Millisecond

// Exit ends the process. While MPI is up a code other than 0 ends all ranks of the job.
func Exit(code int) {
	if code != 0 && mpi.Initialized() {
		time.Sleep(forwarding)
		mpi.Abort(code)
	}
	os.Exit(code)
}

// MPI is name and version of the MPI that this program was built with, "" without one.
func MPI() string { return mpi.Library() }
