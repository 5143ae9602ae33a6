package slurm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cambium/src/telemetry"
	"cambium/src/train"
)

// The jobs have 2 nodes of 2 ranks.
const nodes, ranksPerNode, ranks = 2, 2, 4

// small grows once, from a grid of tp2 dp2 to one of tp2 pp2.
const small = `
seed: 7
run_dir: %s
threads_per_rank: 1
tokenizer: {type: none}
data: {mock: true}
model: {vocab_size: 96, make_vocab_size_divisible_by: 32, kv_channels: 8, position_embedding_type: rope}
train: {seq_length: 16, micro_batch_size: 1, global_batch_size: 4, lr: 1.0e-2, lr_warmup_iters: 3}
growth: {operator: zero, rewarm_iters: 2}
stages:
  - {name: a, model: {num_layers: 2, hidden_size: 16, num_attention_heads: 2}, parallel: {tensor_model_parallel_size: 2}, train: {train_iters: 40}}
  - {name: b, model: {num_layers: 4, hidden_size: 32, num_attention_heads: 4}, parallel: {tensor_model_parallel_size: 2, pipeline_model_parallel_size: 2}, train: {train_iters: 40}}
`

// iterations of small.
const iterations = 80

// job is a run that was submitted.
type job struct {
	t   *testing.T
	id  string
	dir string // of the run
	log string
}

// options of a submission.
type options struct {
	script              string // train.sbatch when empty
	sbatch, environment []string
}

// submit puts a script of slurm/ with small into the queue.
func submit(t *testing.T, name string, o options, args ...string) *job {
	t.Helper()
	j := &job{t: t, dir: filepath.Join(scratch, name), log: filepath.Join(scratch, name+".log")}
	file := filepath.Join(scratch, name+".yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, small, j.dir), 0o644); err != nil {
		t.Fatal(err)
	}
	if o.script == "" {
		o.script = "train.sbatch"
	}
	line := []string{"--parsable", "--job-name=" + name, "--output=" + j.log, fmt.Sprintf("--nodes=%d", nodes), fmt.Sprintf("--ntasks-per-node=%d", ranksPerNode)}
	line = append(append(line, o.sbatch...), filepath.Join(repository, "slurm", o.script), "--config", file)
	c := exec.Command("sbatch", append(line, args...)...)
	c.Dir, c.Env = scratch, append(append(os.Environ(), "CAMBIUM="+program), o.environment...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("sbatch: %v\n%s", err, out)
	}
	j.id = strings.TrimSpace(string(out))
	j.watch()
	return j
}

// watch cancels the job at the end of the test, and shows its log if that failed.
func (j *job) watch() {
	j.t.Cleanup(func() {
		_ = exec.Command("scancel", j.id).Run() // most have ended
		if j.t.Failed() {
			j.t.Logf("%s:\n%s", j.log, j.output())
		}
	})
}

// output is the job's log.
func (j *job) output() string {
	text, err := os.ReadFile(j.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// show is one field of what Slurm says of the job.
func (j *job) show(field string) string {
	j.t.Helper()
	out, err := exec.Command("scontrol", "-o", "show", "job", j.id).Output()
	if err != nil {
		j.t.Fatalf("scontrol show job %s: %v", j.id, err)
	}
	m := regexp.MustCompile(`(?:^|\s)` + field + `=(\S+)`).FindStringSubmatch(string(out))
	if m == nil {
		j.t.Fatalf("scontrol show job %s: no %s in %s", j.id, field, out)
	}
	return m[1]
}

// ends wants the job to end in a state.
func (j *job) ends(state string) {
	j.t.Helper()
	got := ""
	until(j.t, "ended", func() bool {
		got = j.show("JobState")
		return !slices.Contains([]string{"PENDING", "CONFIGURING", "RUNNING", "SIGNALING", "COMPLETING"}, got)
	})
	if got != state {
		j.t.Fatalf("job %s is %s, exit code %s, want %s", j.id, got, j.show("ExitCode"), state)
	}
}

// logged wants words in the job's log, in this order.
func (j *job) logged(words ...string) {
	j.t.Helper()
	rest := j.output()
	for _, w := range words {
		_, after, found := strings.Cut(rest, w)
		if !found {
			j.t.Fatalf("the log lacks %q", w)
		}
		rest = after
	}
}

// history of the run so far; nil before it has begun.
func (j *job) history() *telemetry.History {
	h, err := telemetry.ReadHistory(filepath.Join(j.dir, train.MetricsName))
	if err != nil {
		return nil
	}
	return h
}

// alone is the history of the same run when its ranks are goroutines of one process.
func (j *job) alone() *telemetry.History {
	j.t.Helper()
	dir := j.dir + "-alone"
	c := exec.Command(program, "train", "--config", filepath.Join(scratch, filepath.Base(j.dir)+".yaml"), "--run-dir", dir, "--local-ranks", fmt.Sprint(ranks))
	if out, err := c.CombinedOutput(); err != nil {
		j.t.Fatalf("%v: %v\n%s", c.Args, err, out)
	}
	h, err := telemetry.ReadHistory(filepath.Join(dir, train.MetricsName))
	if err != nil {
		j.t.Fatal(err)
	}
	return h
}

// training waits until so many iterations are done.
func (j *job) training(n int) {
	j.t.Helper()
	until(j.t, fmt.Sprintf("%d iterations", n), func() bool {
		h := j.history()
		return h != nil && len(h.Iterations) >= n
	})
}
