package rendezvous

import (
	"fmt"
	"strconv"
	"strings"
)

// Given is what the command line says of ranks: the strongest source. Size 0 means that it says nothing.
type Given struct{ Rank, Size, LocalRank int }

// Place is the place of this process in a job.
type Place struct {
	Rank      int      `json:"rank"`
	Size      int      `json:"size"`
	LocalRank int      `json:"local_rank"`
	From      string   `json:"from"`
	Sources   []Source `json:"sources"` // strongest first
}

// Source is one way in which a launcher tells ranks their place.
type Source struct {
	Name      string            `json:"name"`
	Variables map[string]string `json:"variables"` // that are set
	Rank      int               `json:"rank"`
	Size      int               `json:"size"` // 0: the source does not say both rank and size
	LocalRank int               `json:"local_rank"`
	Fault     string            `json:"fault,omitempty"`
	order     []string
}

// The names of sources.
const (
	CommandLine   = "command line"
	Torchrun      = "torchrun"
	OpenMPI       = "Open MPI"
	PMIx          = "PMIx"
	PMI           = "PMI"
	Slurm         = "Slurm"
	SingleProcess = "single process"
)

type launcher struct {
	name              string
	rank, size, local []string // the first that is set counts
}

// launchers are the environment variables of each launcher, strongest first. torchrun's names come before MPI's because
// users set them by hand to overrule the rest. Slurm comes last: under mpirun in a batch script its variables are those
// of mpirun's own daemons. Only srun sets SLURM_STEP_NUM_TASKS; SLURM_NTASKS stands in the batch script too, where it says
// nothing of this process, so it counts for a step alone.
func launchers(lookup func(string) (string, bool)) []launcher {
	tasks := []string{"SLURM_STEP_NUM_TASKS"}
	if _, step := lookup("SLURM_STEP_ID"); step {
		tasks = append(tasks, "SLURM_NTASKS")
	}
	return []launcher{
		{Torchrun, []string{"RANK"}, []string{"WORLD_SIZE"}, []string{"LOCAL_RANK"}},
		{OpenMPI, []string{"OMPI_COMM_WORLD_RANK"}, []string{"OMPI_COMM_WORLD_SIZE"}, []string{"OMPI_COMM_WORLD_LOCAL_RANK"}},
		{PMIx, []string{"PMIX_RANK"}, append([]string{"PMIX_SIZE", "OMPI_COMM_WORLD_SIZE"}, tasks...), []string{"PMIX_LOCAL_RANK", "SLURM_LOCALID"}},
		{PMI, []string{"PMI_RANK"}, []string{"PMI_SIZE"}, []string{"MPI_LOCALRANKID"}},
		{Slurm, []string{"SLURM_PROCID"}, tasks, []string{"SLURM_LOCALID"}},
	}
}

// Find asks the command line, then torchrun's, MPI's and Slurm's variables; a process that nobody launched is alone. A
// source with a fault does not count.
func Find(lookup func(string) (string, bool), given Given) Place {
	out := Place{}
	flags := Source{Name: CommandLine, Rank: given.Rank, Size: given.Size, LocalRank: given.LocalRank}
	flags.check()
	out.Sources = append(out.Sources, flags)
	for _, l := range launchers(lookup) {
		out.Sources = append(out.Sources, ask(lookup, l))
	}
	out.Sources = append(out.Sources, Source{Name: SingleProcess, Size: 1})
	for _, s := range out.Sources {
		if s.Size > 0 {
			out.Rank, out.Size, out.LocalRank, out.From = s.Rank, s.Size, s.LocalRank, s.Name
			break
		}
	}
	return out
}

func ask(lookup func(string) (string, bool), l launcher) Source {
	s := Source{Name: l.name, Variables: map[string]string{}}
	number := func(names []string) (value int, ok bool) {
		for _, n := range names {
			text, set := lookup(n)
			if !set {
				continue
			}
			s.Variables[n] = text
			s.order = append(s.order, n)
			value, err := strconv.Atoi(text)
			if err != nil || value < 0 {
				s.Fault = fmt.Sprintf("%s is %q: want a whole number", n, text)
				return 0, false
			}
			return value, true
		}
		return 0, false
	}
	r, rankOK := number(l.rank)
	n, sizeOK := number(l.size)
	local, _ := number(l.local)
	if s.Fault == "" && rankOK && sizeOK {
		s.Rank, s.Size, s.LocalRank = r, n, local
		if n == 0 {
			s.Fault = "size 0: want at least 1"
		}
		s.check()
	}
	return s
}

// check finds a rank that cannot be; the source then does not count.
func (s *Source) check() {
	if s.Size != 0 && (s.Rank < 0 || s.Rank >= s.Size) {
		s.Fault = fmt.Sprintf("rank %d of %d: want a rank below the size", s.Rank, s.Size)
		s.Rank, s.Size, s.LocalRank = 0, 0, 0
	}
}

// String shows what a source says.
func (s Source) String() string {
	var words []string
	for _, n := range s.order {
		words = append(words, n+"="+s.Variables[n])
	}
	switch {
	case s.Fault != "":
		words = append(words, "("+s.Fault+")")
	case s.Size > 0:
		words = append(words, fmt.Sprintf("rank %d of %d", s.Rank, s.Size))
	case len(words) == 0:
		return "says nothing"
	}
	return strings.Join(words, " ")
}
