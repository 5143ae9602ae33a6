package rendezvous

import "fmt"

// launched is what a launcher says for sure: the strongest source but the command line that gives more than one rank.
func (p Place) launched() (Source, bool) {
	var found Source
	for _, s := range p.Sources {
		switch {
		case s.Name == CommandLine || s.Size <= 1:
		case found.Size == 0:
			found = s
		case found.Name == PMI && s.Name == Slurm && s.Size == found.Size:
			found = s // srun --mpi=pmi2 sets PMI's variables too
		}
	}
	return found, found.Size > 0
}

// CheckAlone is for a build without MPI, whose ranks all live in one process: it must be the only one.
func (p Place) CheckAlone() error {
	s, several := p.launched()
	if !several {
		return nil
	}
	return fmt.Errorf("%s started %d processes (this is rank %d), but this build has no MPI, so each would train alone: build with `make mpi` and start bin/cambium-mpi", s.starter(), s.Size, s.Rank)
}

// CheckMPI compares the place with the rank and size that MPI gives.
func (p Place) CheckMPI(rank, size int, library string) error {
	if size == 1 {
		if s, several := p.launched(); several {
			return fmt.Errorf("%s started %d processes (this is rank %d), but %s sees one rank, so each would train alone: %s", s.starter(), s.Size, s.Rank, library, s.remedy())
		}
	}
	for _, s := range p.Sources {
		stated := s.Name == CommandLine || s.Name == Torchrun
		if !stated || s.Size == 0 {
			continue // launchers that MPI itself asks cannot differ, but for Slurm's variables below mpirun
		}
		if s.Size != size {
			return fmt.Errorf("%s says %d ranks, but MPI started %d: make them equal", s.Name, s.Size, size)
		}
		if s.Name == Torchrun && s.Rank != rank {
			return fmt.Errorf("RANK=%d, but MPI gives this process rank %d: unset RANK, WORLD_SIZE and LOCAL_RANK, or make them equal", s.Rank, rank)
		}
	}
	return nil
}

// starter is who started the processes.
func (s Source) starter() string {
	switch s.Name {
	case OpenMPI:
		return "mpirun of Open MPI"
	case PMI:
		return "mpirun of MPICH or Intel MPI"
	case PMIx, Slurm:
		return "srun"
	}
	return s.Name
}

// remedy says what would start one job in place of many.
func (s Source) remedy() string {
	switch s.Name {
	case OpenMPI, PMI:
		return "the program was built with another MPI than the one that starts it; use the mpirun of that MPI"
	case PMIx, Slurm:
		return "use `srun --mpi=pmix` for Open MPI, `srun --mpi=pmi2` for MPICH (`srun --mpi=list` shows what this Slurm has)"
	}
	return "start it by mpirun or srun, which tell MPI the ranks"
}
