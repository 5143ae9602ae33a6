package rendezvous

import (
	"maps"
	"strings"
	"testing"
)

// env is a lookup in "NAME=value NAME=value".
func env(text string) func(string) (string, bool) {
	all := map[string]string{}
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		all[name] = value
	}
	return func(name string) (string, bool) { v, ok := all[name]; return v, ok }
}

// What launchers really set: recorded from Open MPI 4.1.4, MPICH 4.0.2 and Slurm 22.05.
const (
	torchrun   = "RANK=1 WORLD_SIZE=10 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 "
	openMPI    = "OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=20 OMPI_COMM_WORLD_LOCAL_RANK=0 PMIX_RANK=2 "
	mpich      = "PMI_RANK=4 PMI_SIZE=40 MPI_LOCALRANKID=4 PMI_FD=6 "
	batch      = "SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=50 "
	srun       = "SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURM_PROCID=5 SLURM_LOCALID=1 SLURM_NTASKS=50 SLURM_STEP_NUM_TASKS=6 "
	srunPMIx   = srun + "PMIX_RANK=5 PMIX_NAMESPACE=slurm.pmix.7.0 "
	srunPMI2   = srun + "PMI_RANK=5 PMI_SIZE=6 "
	underOrted = "SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_LOCALID=0 SLURM_NTASKS=2 SLURM_STEP_NUM_TASKS=2 "
)

func TestTheStrongestSourceCounts(t *testing.T) {
	for _, c := range []struct {
		name, env         string
		given             Given
		rank, size, local int
		from              string
		fault, faultFor   string
	}{
		{name: "nobody", size: 1, from: SingleProcess},
		{name: "flags win", env: torchrun + openMPI, given: Given{Rank: 3, Size: 4, LocalRank: 1}, rank: 3, size: 4, local: 1, from: CommandLine},
		{name: "flags out of range", given: Given{Rank: 4, Size: 4}, size: 1, from: SingleProcess, faultFor: CommandLine, fault: "rank 4 of 4"},
		{name: "torchrun before MPI", env: torchrun + openMPI + srun, rank: 1, size: 10, local: 1, from: Torchrun},
		{name: "half of torchrun", env: "RANK=1 " + openMPI, rank: 2, size: 20, from: OpenMPI},
		{name: "mpirun", env: openMPI, rank: 2, size: 20, from: OpenMPI},
		{name: "mpirun in a batch script", env: openMPI + underOrted, rank: 2, size: 20, from: OpenMPI},
		{name: "not a number", env: "OMPI_COMM_WORLD_RANK=x OMPI_COMM_WORLD_SIZE=6 " + srunPMIx, rank: 5, size: 6, local: 1, from: PMIx, faultFor: OpenMPI, fault: `OMPI_COMM_WORLD_RANK is "x"`},
		{name: "srun with PMIx", env: srunPMIx, rank: 5, size: 6, local: 1, from: PMIx},
		{name: "mpirun of MPICH", env: mpich, rank: 4, size: 40, local: 4, from: PMI},
		{name: "rank not below the size", env: "PMI_RANK=4 PMI_SIZE=4", size: 1, from: SingleProcess, faultFor: PMI, fault: "rank 4 of 4"},
		{name: "size zero", env: "PMI_RANK=0 PMI_SIZE=0", size: 1, from: SingleProcess, faultFor: PMI, fault: "size 0"},
		{name: "srun with PMI2", env: srunPMI2, rank: 5, size: 6, from: PMI},
		{name: "srun", env: srun, rank: 5, size: 6, local: 1, from: Slurm},
		{name: "old srun", env: "SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=2", rank: 1, size: 2, from: Slurm},
		{name: "batch script", env: batch, size: 1, from: SingleProcess},
		{name: "PMIx without a size", env: "PMIX_RANK=1", size: 1, from: SingleProcess},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Find(env(c.env), c.given)
			if p.Rank != c.rank || p.Size != c.size || p.LocalRank != c.local || p.From != c.from {
				t.Errorf("rank %d of %d, local rank %d from %s, want %d of %d, %d from %s", p.Rank, p.Size, p.LocalRank, p.From, c.rank, c.size, c.local, c.from)
			}
			for _, s := range p.Sources {
				if s.Name == c.faultFor && !strings.Contains(s.Fault, c.fault) || s.Name != c.faultFor && s.Fault != "" {
					t.Errorf("%s has the fault %q", s.Name, s.Fault)
				}
			}
		})
	}
}

func TestSourcesShowWhatTheySay(t *testing.T) {
	got := map[string]string{}
	for _, s := range Find(env("RANK=1 PMI_RANK=4 PMI_SIZE=4 "+srun), Given{}).Sources {
		got[s.Name] = s.String()
	}
	want := map[string]string{
		CommandLine: "says nothing", Torchrun: "RANK=1", OpenMPI: "says nothing",
		PMIx: "SLURM_STEP_NUM_TASKS=6 SLURM_LOCALID=1", PMI: "PMI_RANK=4 PMI_SIZE=4 (rank 4 of 4: want a rank below the size)",
		Slurm: "SLURM_PROCID=5 SLURM_STEP_NUM_TASKS=6 SLURM_LOCALID=1 rank 5 of 6", SingleProcess: "rank 0 of 1",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestMistakesOfLaunchingAreOneSentence(t *testing.T) {
	const library = "MPICH 4.0.2"
	for _, c := range []struct {
		name, env  string
		given      Given
		rank, size int // that MPI gives; size 0: a build without MPI
		want       string
	}{
		{name: "alone", size: 0},
		{name: "alone with MPI", size: 1},
		{name: "batch script", env: batch, size: 1},
		{name: "batch script without MPI", env: batch},
		{name: "mpirun of one", env: "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1", size: 1},
		{name: "mpirun", env: openMPI, rank: 2, size: 20},
		{name: "mpirun in a batch script", env: openMPI + underOrted, rank: 2, size: 20},
		{name: "srun", env: srunPMIx, rank: 5, size: 6},
		{name: "torchrun's variables agree", env: openMPI + "RANK=2 WORLD_SIZE=20", rank: 2, size: 20},
		{name: "without MPI by mpirun", env: openMPI, want: "mpirun of Open MPI started 20 processes (this is rank 2), but this build has no MPI, so each would train alone: build with `make mpi`"},
		{name: "without MPI by srun", env: srun, want: "srun started 6 processes (this is rank 5), but this build has no MPI"},
		{name: "without MPI by torchrun", env: torchrun, want: "torchrun started 10 processes"},
		{name: "srun without PMI", env: srun, size: 1, want: "srun started 6 processes (this is rank 5), but MPICH 4.0.2 sees one rank, so each would train alone: use `srun --mpi=pmix`"},
		{name: "srun with the other PMI", env: srunPMI2, size: 1, want: "srun started 6 processes"},
		{name: "the other mpirun", env: openMPI, size: 1, want: "built with another MPI"},
		{name: "the other mpirun, MPICH's", env: mpich, size: 1, want: "mpirun of MPICH or Intel MPI started 40 processes (this is rank 4)"},
		{name: "flags differ", env: openMPI, given: Given{Size: 8}, rank: 2, size: 20, want: "command line says 8 ranks, but MPI started 20"},
		{name: "torchrun's size differs", env: openMPI + torchrun, rank: 2, size: 20, want: "torchrun says 10 ranks, but MPI started 20"},
		{name: "torchrun's rank differs", env: openMPI + "RANK=1 WORLD_SIZE=20", rank: 2, size: 20, want: "RANK=1, but MPI gives this process rank 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Find(env(c.env), c.given)
			err := p.CheckAlone()
			if c.size > 0 {
				err = p.CheckMPI(c.rank, c.size, library)
			}
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n")):
				t.Errorf("got %v, want one sentence with %q", err, c.want)
			}
		})
	}
}
