package slurm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"cambium/src/telemetry"
)

// needs skips a test where there is no Slurm.
func needs(t *testing.T) {
	t.Helper()
	if unable != "" {
		t.Skip(unable)
	}
	t.Parallel()
}

// undisturbed is the job of small that nothing happens to. It is submitted once.
var undisturbed struct {
	once sync.Once
	job  *job
	h    *telemetry.History
}

func reference(t *testing.T) *telemetry.History {
	t.Helper()
	undisturbed.once.Do(func() {
		j := submit(t, "undisturbed", options{})
		j.ends("COMPLETED")
		undisturbed.job, undisturbed.h = j, j.history()
	})
	if undisturbed.h == nil {
		t.Fatal("the undisturbed job failed")
	}
	return undisturbed.h
}

// Two minutes before the limit, here one, Slurm signals the ranks. They are stopped first, so that the signal finds them in
// the middle of the run however fast this machine is.
func TestAJobAtItsTimeLimitSavesGoesBackIntoTheQueueAndFinishesAsIfNothingHadHappened(t *testing.T) {
	needs(t)
	j, pids := submitFrozen(t, "limit", 5, options{sbatch: []string{"--time=1", "--signal=USR1@60"}}, "--save-interval", "0")
	until(t, "signalled", func() bool { return !slices.ContainsFunc(pids, waits) })
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGCONT) // Slurm may have done so, and the rank have ended
	}
	j.ends("COMPLETED")
	restarts, err := strconv.Atoi(j.show("Restarts"))
	if err != nil || restarts < 1 { // on a very slow machine it comes to its limit again
		t.Fatalf("%d restarts, want 1: %v", restarts, err)
	}
	j.logged("start 1: 4 ranks", "train.sbatch: saved before the end", "start 2: 4 ranks", "finished at iteration 80")
	want, got := reference(t), j.history()
	if len(got.Runs) != restarts+1 || got.Runs[1].World != ranks || !got.Runs[1].Resumed || len(got.Iterations) != iterations || len(got.Growths) != 1 {
		t.Fatalf("%d runs, %d iterations, %d growths", len(got.Runs), len(got.Iterations), len(got.Growths))
	}
	if at := got.Runs[1].Iteration; at < 5 || at >= iterations {
		t.Errorf("resumed at iteration %d", at)
	}
	sameAs(t, got, want)
}

// sameAs wants the same numbers in every iteration, to the last bit.
func sameAs(t *testing.T, got, want *telemetry.History) {
	t.Helper()
	if len(got.Iterations) != len(want.Iterations) {
		t.Fatalf("%d iterations, want %d", len(got.Iterations), len(want.Iterations))
	}
	for i, w := range want.Iterations {
		if g := got.Iterations[i]; g.Iteration != i+1 || g.LMLoss != w.LMLoss || g.GradNorm != w.GradNorm || g.LearningRate != w.LearningRate {
			t.Fatalf("line %d is iteration %d: loss %v, gradient norm %v; want loss %v, gradient norm %v", i+1, g.Iteration, g.LMLoss, g.GradNorm, w.LMLoss, w.GradNorm)
		}
	}
}

func TestASubmittedJobTrainsOnAllRanksOfBothNodes(t *testing.T) {
	needs(t)
	h := reference(t)
	if len(h.Runs) != 1 || h.Runs[0].World != ranks {
		t.Fatalf("want one run of %d ranks, got %d, the first of %d: was every rank alone?", ranks, len(h.Runs), h.Runs[0].World)
	}
	if len(h.Iterations) != iterations || h.End == nil || h.End.Reason != "finished" {
		t.Errorf("%d iterations, want %d; end: %+v", len(h.Iterations), iterations, h.End)
	}
	if len(h.Stages) != 2 || h.Stages[0].Grid != "tp2 pp1 dp2" || h.Stages[1].Grid != "tp2 pp2 dp1" || len(h.Growths) != 1 {
		t.Fatalf("want two stages and a growth between them, got %d and %d: %+v", len(h.Stages), len(h.Growths), h.Stages)
	}
	if g := h.Growths[0]; !(g.Relative < 1e-5) {
		t.Errorf("growth changed the loss from %v to %v", g.LossBefore, g.LossAfter)
	}
	j := undisturbed.job
	sameAs(t, h, j.alone())
	if n := j.show("NumNodes"); n != fmt.Sprint(nodes) {
		t.Errorf("the job had %s nodes", n)
	}
	j.logged("start 1: 4 ranks on n[", "tp2 pp1 dp2", "growth", "tp2 pp2 dp1", "finished at iteration 80")
}

// endless are the settings of a run that lasts until somebody ends it.
var endless = []string{"--set", "stages.0.train.train_iters=1M", "--save-interval", "0"}

func TestAKilledRankEndsTheJobWithinSeconds(t *testing.T) {
	needs(t)
	j := submit(t, "killed", options{}, endless...)
	j.training(3)
	pids := j.rankProcesses()
	if pids == nil {
		t.Fatalf("job %s has not %d ranks on this machine", j.id, ranks)
	}
	if err := syscall.Kill(pids[ranks-1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	j.ends("FAILED") // within patience; Cambium's own watch, which waits for ten minutes, would not do that
	if code := j.show("ExitCode"); code == "0:0" || code == "75:0" {
		t.Errorf("exit code %s", code)
	}
	if n := j.show("Restarts"); n != "0" {
		t.Errorf("a job that failed went back into the queue: %s restarts", n)
	}
}

// A signal to the batch script (sbatch --signal=B:USR1@120) reaches the ranks too, and a job that may not start again says so.
func TestASignalToTheBatchScriptIsPassedOn(t *testing.T) {
	needs(t)
	j := submit(t, "batch", options{environment: []string{"CAMBIUM_MAX_RESTARTS=0"}}, endless...)
	j.training(3)
	if out, err := exec.Command("scancel", "--batch", "--signal=USR1", j.id).CombinedOutput(); err != nil {
		t.Fatalf("scancel: %v\n%s", err, out)
	}
	j.ends("FAILED")
	if code := j.show("ExitCode"); code != "75:0" {
		t.Errorf("exit code %s, want 75", code)
	}
	j.logged("saved before the end, but CAMBIUM_MAX_RESTARTS=0 is used up")
	h := j.history()
	if n, saved := len(h.Iterations), h.Checkpoints; len(saved) == 0 || saved[len(saved)-1].Iteration != n {
		t.Errorf("it stopped at iteration %d, checkpoints %v", n, saved)
	}
}

func TestAJobThatLosesANodeIsStartedAgainAndFinishesAsIfNothingHadHappened(t *testing.T) {
	needs(t)
	j, _ := submitFrozen(t, "lost", 15, options{}, "--save-interval", "10")
	node, err := exec.Command("scontrol", "show", "hostnames", j.show("NodeList")).Output()
	if err != nil {
		t.Fatal(err)
	}
	second := strings.Fields(string(node))[1]
	update := func(state string) error {
		if out, err := exec.Command("scontrol", "update", "NodeName="+second, "State="+state, "Reason=test").CombinedOutput(); err != nil {
			return fmt.Errorf("scontrol update State=%s: %w\n%s", state, err, out)
		}
		return nil
	}
	if err := update("DOWN"); err != nil {
		t.Fatal(err)
	}
	// The others' jobs may want it. A node that has registered again in between is back already, and Slurm refuses to resume it.
	if err := update("RESUME"); err != nil {
		if state, _ := exec.Command("scontrol", "show", "node", second).Output(); !bytes.Contains(state, []byte("State=")) || bytes.Contains(state, []byte("DOWN")) {
			t.Fatalf("%v\n%s", err, state)
		}
	}
	j.ends("COMPLETED")
	if n := j.show("Restarts"); n != "1" {
		t.Errorf("%s restarts, want 1", n)
	}
	j.logged("start 1: 4 ranks", "DUE TO NODE FAILURE", "start 2: 4 ranks", "finished at iteration 80")
	got := j.history()
	if len(got.Runs) != 2 || got.Runs[1].World != ranks || !got.Runs[1].Resumed || got.Runs[1].Iteration < 10 {
		t.Errorf("%d runs, the last: %+v", len(got.Runs), got.Runs[len(got.Runs)-1])
	}
	sameAs(t, got, reference(t))
}

// What sites without requeueing do: an array whose elements run one after the other.
func TestAnArrayOfJobsTrainsOnePartAfterTheOther(t *testing.T) {
	needs(t)
	parts := []string{"stopped at iteration 32", "stopped at iteration 64", "finished at iteration 80"}
	array := submit(t, "chain", options{sbatch: []string{"--array=0-2%1", "--output=" + filepath.Join(scratch, "chain-%a.log")}}, "--exit-interval", "32")
	for i, last := range parts {
		part := &job{t: t, id: fmt.Sprintf("%s_%d", array.id, i), log: filepath.Join(scratch, fmt.Sprintf("chain-%d.log", i))}
		part.watch()
		part.ends("COMPLETED")
		part.logged(last)
	}
	sameAs(t, array.history(), reference(t))
}

func TestTheElementsOfAJobArrayMeasureOneGridEachAndMakeOneTable(t *testing.T) {
	needs(t)
	grids := []string{"dp2", "tp2dp2", "tp2pp2"}
	o := options{
		script: "scaling.sbatch", sbatch: []string{"--array=0-2", "--output=" + filepath.Join(scratch, "array-%a.log")},
		environment: []string{"GRIDS=" + strings.Join(grids, ",")},
	}
	dir := filepath.Join(scratch, "scaling")
	array := submit(t, "array", o, "--output-dir", dir, "--steps", "3", "--warmup", "1")
	for i := range grids {
		element := &job{t: t, id: fmt.Sprintf("%s_%d", array.id, i), log: filepath.Join(scratch, fmt.Sprintf("array-%d.log", i))}
		element.watch()
		element.ends("COMPLETED")
	}
	out, err := exec.Command(program, "bench", "scaling", "--collect", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	table, err := os.ReadFile(filepath.Join(dir, "weak-scaling.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"| 1 | 2 | 1 | 1 | 2 | 1 | 4 | 16 |", "| 2 | 4 | 2 | 1 | 2 | 1 | 8 | 16 |", "| 2 | 4 | 2 | 2 | 1 | 1 | 8 | 16 |"} { // nodes, ranks, grid, batch
		if !strings.Contains(string(table), row) {
			t.Errorf("the table lacks %s:\n%s", row, table)
		}
	}
}
