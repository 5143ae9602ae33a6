package launch

import (
	"errors"
	"os"

	"cambium/src/comm"
	"cambium/src/comm/local"
	"cambium/src/rendezvous"
)

// Options say what world is wanted.
type Options struct {
	// WorldSize is the number of ranks of the whole job; 0: as many as the launcher started, or LocalRanks without one.
	WorldSize int
	// LocalRanks are the ranks of this process, where no launcher started several processes. 0 means 1.
	LocalRanks int
}

// wanted is the number of ranks of a process that is alone.
func (o Options) wanted() int {
	if o.WorldSize > 0 {
		return o.WorldSize
	}
	return max(o.LocalRanks, 1)
}

// Place is what the environment says of this process.
func Place() rendezvous.Place { return rendezvous.Find(os.LookupEnv, rendezvous.Given{}) }

// Heard tells whether err is a failure of a rank in another process, which says it itself: once is enough.
func Heard(err error) bool {
	heard := (*comm.Elsewhere)(nil)
	return errors.As(err, &heard)
}

func openLocal(o Options) comm.World { return local.NewWorld(o.wanted()) }
