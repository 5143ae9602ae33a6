package slurm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// submitFrozen submits a job and stops its ranks when so many iterations are done, so that what comes next finds them in the
// middle of the run however fast this machine is. Far more workers than cores make the job's first start last for seconds and change
// no bit of it; where it ends all the same before somebody comes to stop it, because the machine has other work, it is tried again.
func submitFrozen(t *testing.T, name string, after int, o options, args ...string) (*job, []int) {
	t.Helper()
	const tries = 10
	const slow = "#!/bin/sh\n[ \"${SLURM_RESTART_COUNT:-0}\" = 0 ] && set -- \"$@\" --threads-per-rank 64\nexec '%s' \"$@\"\n"
	script := filepath.Join(scratch, name+".sh")
	if err := os.WriteFile(script, fmt.Appendf(nil, slow, program), 0o755); err != nil {
		t.Fatal(err)
	}
	o.environment = append(o.environment, "CAMBIUM="+script)
	for try := range tries {
		j := submit(t, fmt.Sprint(name, "-", try), o, args...)
		if pids := j.freeze(after); pids != nil {
			return j, pids
		}
		_ = exec.Command("scancel", j.id).Run() // it may have ended
	}
	t.Fatalf("%d jobs ended before their ranks could be stopped", tries)
	return nil, nil
}

// freeze stops the job's ranks when so many iterations are done, nil when the run was quicker.
func (j *job) freeze(after int) (pids []int) {
	j.t.Helper()
	j.training(after)
	pids = j.rankProcesses()
	for _, pid := range pids {
		if syscall.Kill(pid, syscall.SIGSTOP) != nil {
			pids = nil
		}
	}
	if h := j.history(); pids == nil || h == nil || h.End != nil || len(h.Iterations) >= iterations {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		return nil
	}
	for begin := time.Now(); slices.ContainsFunc(pids, runs) && time.Since(begin) < 5*time.Second; { // a signal of Slurm's may wake them again
		time.Sleep(time.Millisecond)
	}
	return pids
}

// rankProcesses are the pids of the job's ranks, by rank; nil when there are not as many.
func (j *job) rankProcesses() []int {
	j.t.Helper()
	pids := make([]int, ranks)
	found := 0
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		j.t.Fatal(err)
	}
	for _, path := range all {
		env, err := os.ReadFile(path)
		exe, _ := os.Readlink(filepath.Join(filepath.Dir(path), "exe"))
		if err != nil || exe != program {
			continue
		}
		vars := "\x00" + string(env)
		if !strings.Contains(vars, "\x00SLURM_JOB_ID="+j.id+"\x00") {
			continue
		}
		var rank, pid int
		_, proc, _ := strings.Cut(vars, "\x00SLURM_PROCID=")
		if _, err := fmt.Sscan(strings.ReplaceAll(proc, "\x00", " "), &rank); err != nil || rank >= ranks {
			continue
		}
		if _, err := fmt.Sscanf(path, "/proc/%d/environ", &pid); err == nil {
			pids[rank] = pid
			found++
		}
	}
	if found != ranks {
		return nil
	}
	return pids
}

// status is a line of what the kernel says of a process, "" when it has ended.
func status(pid int, line string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, found := strings.Cut(string(text), "\n"+line+":\t")
	if err != nil || !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// runs tells whether a process is neither stopped nor gone.
func runs(pid int) bool {
	state := status(pid, "State")
	return state != "" && state[0] != 'T' && state[0] != 'Z'
}

// waits tells whether a process is still stopped without having been sent USR1.
func waits(pid int) bool {
	var mask uint64
	_, err := fmt.Sscanf(status(pid, "ShdPnd"), "%x", &mask)
	return err == nil && strings.HasPrefix(status(pid, "State"), "T") && mask>>(syscall.SIGUSR1-1)&1 == 0
}
