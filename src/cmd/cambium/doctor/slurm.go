package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Slurm is the cluster that commands of this machine talk to. It is looked for only where srun is installed.
type Slurm struct {
	Cluster    string      `json:"cluster,omitempty"`
	Version    string      `json:"version,omitempty"`
	Up         bool        `json:"controller_up"`
	Partitions []Partition `json:"partitions,omitempty"`
	MPI        []string    `json:"mpi_plugins"`            // for srun --mpi=
	NoPMIx     string      `json:"pmix_fault,omitempty"`   // why its pmix plugin cannot work
	Requeue    bool        `json:"requeue"`                // jobs may go back into the queue unless they say otherwise
	KillWait   string      `json:"kill_wait,omitempty"`    // from TERM at a time limit to KILL
	Preempts   string      `json:"preempt_mode,omitempty"` // OFF, REQUEUE, ...
	Job        *SlurmJob   `json:"this_job,omitempty"`     // that this process is part of
}

// Partition is a group of nodes that jobs are sent to.
type Partition struct {
	Name  string `json:"name"` // with a * behind the default's
	State string `json:"state"`
	Nodes string `json:"nodes"`
	CPUs  string `json:"cpus_a_node"`
	MiB   string `json:"memory_mib_a_node"`
	GRES  string `json:"gres"` // GPUs and the like
	Limit string `json:"time_limit"`
}

// SlurmJob is what Slurm's variables say of the job.
type SlurmJob struct {
	ID       string `json:"id"`
	NodeList string `json:"nodes"`
	Tasks    string `json:"tasks"`
	Left     string `json:"time_left,omitempty"`
	Restarts string `json:"restarts"`
}

// slurm asks Slurm's own commands; a controller that is down answers nothing more than that.
func (e Env) slurm(ctx context.Context) *Slurm {
	srun, err := e.LookPath("srun")
	if err != nil {
		return nil
	}
	s := &Slurm{MPI: e.mpiPlugins(ctx, srun)}
	files, _ := e.Glob("/usr/lib/*/pmix2/lib/libpmix.so")
	debian, _ := e.Glob("/usr/lib/*/slurm*/mpi_pmix*.so")
	if slices.Contains(s.MPI, "pmix") && len(debian) > 0 && len(files) == 0 {
		s.NoPMIx = "listed, but it opens libpmix.so, which is not here: apt-get install libpmix-dev"
	}
	s.Job = e.slurmJob(ctx)
	ping, _ := e.Run(ctx, "scontrol", "ping")
	if s.Up = strings.Contains(ping, " is UP"); !s.Up {
		return s
	}
	config, _ := e.Run(ctx, "scontrol", "show", "config")
	for line := range strings.Lines(config) {
		key, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "ClusterName":
			s.Cluster = value
		case "SLURM_VERSION":
			s.Version = value
		case "JobRequeue":
			s.Requeue = value == "1"
		case "KillWait":
			s.KillWait = value
		case "PreemptMode":
			s.Preempts = value
		}
	}
	list, _ := e.Run(ctx, "sinfo", "-h", "-o", "%P|%a|%D|%c|%m|%G|%l")
	for line := range strings.Lines(list) {
		if w := strings.Split(strings.TrimSpace(line), "|"); len(w) == 7 {
			s.Partitions = append(s.Partitions, Partition{w[0], w[1], w[2], w[3], w[4], w[5], w[6]})
		}
	}
	return s
}

// mpiPlugins reads `srun --mpi=list`: names one a line, after a head that ends in a colon or dots.
func (e Env) mpiPlugins(ctx context.Context, srun string) []string {
	out, _ := e.Run(ctx, srun, "--mpi=list")
	names := []string{}
	for line := range strings.Lines(out) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "srun: ")
		if word := strings.TrimSpace(line); word != "" && !strings.ContainsAny(word, " .:") {
			names = append(names, word)
		}
	}
	slices.Sort(names)
	return names
}

func (e Env) slurmJob(ctx context.Context) *SlurmJob {
	get := func(names ...string) string {
		for _, name := range names {
			if v, ok := e.LookupEnv(name); ok {
				return v
			}
		}
		return ""
	}
	id := get("SLURM_JOB_ID")
	if id == "" {
		return nil
	}
	j := &SlurmJob{
		ID: id, NodeList: get("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"), Tasks: get("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
		Restarts: get("SLURM_RESTART_COUNT"),
	}
	if j.Restarts == "" {
		j.Restarts = "0" // Slurm sets it from the first restart on
	}
	j.Left = e.firstLine(ctx, "", "squeue", "-h", "-j", id, "-o", "%L")
	return j
}

func (s *Slurm) rows() [][2]string {
	var rows [][2]string
	add := func(name, format string, args ...any) {
		rows = append(rows, [2]string{name, fmt.Sprintf(format, args...)})
	}
	if !s.Up {
		add("cluster", "the controller does not answer (scontrol ping): is this a node of a cluster, or SLURM_CONF unset?")
	} else {
		add("cluster", "%s, Slurm %s", s.Cluster, s.Version)
		for _, p := range s.Partitions {
			add("partition", "%s: %s nodes x %s CPUs, %s MiB, %s, time limit %s, %s", p.Name, p.Nodes, p.CPUs, p.MiB, cond(p.GRES == "(null)", "no GPUs", p.GRES), p.Limit, p.State)
		}
		add("requeue", "%s; from TERM to KILL %s; preemption %s", cond(s.Requeue, "jobs may go back into the queue", "jobs stay out of the queue unless they say --requeue"), s.KillWait, s.Preempts)
	}
	if len(s.MPI) > 0 {
		add("srun --mpi=", "%s", strings.Join(s.MPI, " "))
	}
	if s.NoPMIx != "" {
		add("pmix", "%s", s.NoPMIx)
	}
	if j := s.Job; j != nil {
		add("this job", "%s: %s tasks on %s, %s left, restarted %s times", j.ID, j.Tasks, j.NodeList, cond(j.Left == "", "unknown time", j.Left), j.Restarts)
	}
	return rows
}
