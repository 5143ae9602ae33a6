package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// Given is what the command line says of ranks: the strongest source. Size 0 means that it says nothing.
type Given struct{ Rank, Size, LocalRank int }

// Ranks is the place of this process in a job.
type Ranks struct {
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

// launchers are the environment variables of each launcher, strongest first. torchrun's names come before MPI's because
// users set them by hand to overrule the rest.
var launchers = []struct {
	name              string
	rank, size, local []string // the first that is set counts
}{
	{"torchrun", []string{"RANK"}, []string{"WORLD_SIZE"}, []string{"LOCAL_RANK"}},
	{"Open MPI", []string{"OMPI_COMM_WORLD_RANK"}, []string{"OMPI_COMM_WORLD_SIZE"}, []string{"OMPI_COMM_WORLD_LOCAL_RANK"}},
	{"PMIx", []string{"PMIX_RANK"}, []string{"PMIX_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}, []string{"PMIX_LOCAL_RANK", "SLURM_LOCALID"}},
	{"PMI", []string{"PMI_RANK"}, []string{"PMI_SIZE"}, []string{"MPI_LOCALRANKID"}},
	{"Slurm", []string{"SLURM_PROCID"}, []string{"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}, []string{"SLURM_LOCALID"}},
}

// FindRanks asks the command line, then torchrun's, MPI's and Slurm's variables; a process that nobody launched is alone.
func FindRanks(lookup func(string) (string, bool), given Given) Ranks {
	out := Ranks{}
	flags := Source{Name: "command line", Rank: given.Rank, Size: given.Size, LocalRank: given.LocalRank}
	out.Sources = append(out.Sources, flags)
	for _, l := range launchers {
		out.Sources = append(out.Sources, ask(lookup, l.name, l.rank, l.size, l.local))
	}
	out.Sources = append(out.Sources, Source{Name: "single process", Size: 1})
	for _, s := range out.Sources {
		if s.Size > 0 {
			out.Rank, out.Size, out.LocalRank, out.From = s.Rank, s.Size, s.LocalRank, s.Name
			break
		}
	}
	return out
}

func ask(lookup func(string) (string, bool), name string, rank, size, local []string) Source {
	s := Source{Name: name, Variables: map[string]string{}}
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
	r, rankOK := number(rank)
	n, sizeOK := number(size)
	l, _ := number(local)
	switch {
	case s.Fault != "" || !rankOK || !sizeOK:
	case r >= n:
		s.Fault = fmt.Sprintf("rank %d of %d: want a rank below the size", r, n)
	default:
		s.Rank, s.Size, s.LocalRank = r, n, l
	}
	return s
}

// words shows what a source says.
func (s Source) words() string {
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
