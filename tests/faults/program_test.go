package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cambium/src/telemetry"
	"cambium/src/train"
)

// program is the path of the cambium binary under test, scratch a folder that the tests share.
var program, scratch string

func TestMain(m *testing.M) {
	code, err := withProgram(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withProgram(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "cambium-faults-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	program, scratch = filepath.Join(dir, "cambium"), dir
	build := exec.Command("go", "build", "-o", program, "./src/cmd/cambium")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// small is a run of 60 iterations that grows twice, from two replicas to two pipeline stages and back, and saves all the time.
const small = `
seed: 7
run_dir: %s
local_ranks: 2
threads_per_rank: 1
tokenizer: {type: none}
data: {mock: true}
model: {vocab_size: 96, make_vocab_size_divisible_by: 32, kv_channels: 8, position_embedding_type: rope, mup_base_width: 16}
optimizer: {adam_beta2: 0.95}
train: {seq_length: 16, micro_batch_size: 1, global_batch_size: 4, lr: 1.0e-2, min_lr: 1.0e-3, lr_warmup_iters: 3, save_interval: 3}
growth: {operator: mask, ramp_iters: 9, rewarm_iters: 2, rewarm_from: 0.1}
checkpoint: {keep_checkpoints: 2}
stages:
  - {name: a, model: {num_layers: 1, hidden_size: 16, num_attention_heads: 2}, train: {train_iters: 20}}
  - {name: b, model: {num_layers: 2, hidden_size: 24, num_attention_heads: 3}, train: {train_iters: 20}, parallel: {pipeline_model_parallel_size: 2}}
  - {name: c, model: {num_layers: 3, hidden_size: 40, num_attention_heads: 5}, train: {train_iters: 20}}
`

// iterations of small.
const iterations = 60

// endless are the settings of a run that lasts until somebody ends it.
var endless = []string{"--set", "stages.0.train.train_iters=1M", "--save-interval", "0"}

// folder is a run's folder with its configuration beside it.
type folder struct {
	t    *testing.T
	path string
	file string
}

func newFolder(t *testing.T) folder {
	t.Helper()
	return folderAt(t, filepath.Join(t.TempDir(), "run"))
}

func folderAt(t *testing.T, path string) folder {
	t.Helper()
	f := folder{t: t, path: path, file: filepath.Join(t.TempDir(), "small.yaml")}
	if err := os.WriteFile(f.file, fmt.Appendf(nil, small, path), 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f folder) join(names ...string) string {
	return filepath.Join(append([]string{f.path}, names...)...)
}

// output is what a process has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// process is a program that runs, or ran.
type process struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr output
	ended          chan struct{}
	err            error
}

// patience bounds every wait, which takes seconds at most when the machine has nothing else to do: a process that takes longer hangs.
const patience = 3 * time.Minute

func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(program, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // most have ended long ago
		<-p.ended
	})
	return p
}

func (f folder) train(args ...string) *process {
	f.t.Helper()
	return start(f.t, append([]string{"train", "--config", f.file}, args...)...)
}

// wait waits for the end and returns the exit code, -1 after a signal.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // shows where it hangs
		<-p.ended
		p.t.Fatalf("%v hangs:\n%s", p.cmd.Args, p.stderr.String())
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		p.t.Fatal(p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// ends wants an exit code.
func (p *process) ends(code int) *process {
	p.t.Helper()
	if got := p.wait(); got != code {
		p.t.Fatalf("%v ended with %d, want %d:\n%s", p.cmd.Args, got, code, p.stderr.String())
	}
	return p
}

// complains wants an exit code, and one sentence on standard error with all of words in it and nothing else.
func (p *process) complains(code int, words ...string) {
	p.t.Helper()
	p.ends(code)
	text := p.stderr.String()
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "cambium: ") {
		p.t.Errorf("%v: want one sentence on standard error, got\n%s", p.cmd.Args, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			p.t.Errorf("%v: no %q in\n%s", p.cmd.Args, w, text)
		}
	}
	if all := text + p.stdout.String(); strings.Contains(all, "goroutine ") || strings.Contains(all, "panic") {
		p.t.Errorf("%v shows a stack trace:\n%s", p.cmd.Args, all)
	}
}

// until waits for something that a process brings about.
func (p *process) until(what string, ok func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			p.t.Fatalf("%v: never %s", p.cmd.Args, what)
		case <-p.ended:
			if ok() { // it was the last that the process did
				return
			}
			p.t.Fatalf("%v ended before %s:\n%s%s", p.cmd.Args, what, p.stdout.String(), p.stderr.String())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// training waits until iterations are done.
func (f folder) training(p *process, iterations int) {
	f.t.Helper()
	p.until(fmt.Sprintf("%d iterations", iterations), func() bool {
		h, err := telemetry.ReadHistory(f.join(train.MetricsName))
		return err == nil && len(h.Iterations) >= iterations
	})
}

func (f folder) history() *telemetry.History {
	f.t.Helper()
	h, err := telemetry.ReadHistory(f.join(train.MetricsName))
	if err != nil {
		f.t.Fatal(err)
	}
	return h
}

// undisturbed is the history of small when nothing happens to it. It is run once.
var undisturbed = sync.OnceValues(func() (*telemetry.History, error) {
	path, err := trained("undisturbed")
	if err != nil {
		return nil, err
	}
	return telemetry.ReadHistory(filepath.Join(path, train.MetricsName))
})

// trained is a folder that tests share, in which small was run.
func trained(name string, args ...string) (path string, err error) {
	path, file := filepath.Join(scratch, name), filepath.Join(scratch, name+".yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, small, path), 0o644); err != nil {
		return "", err
	}
	if out, err := exec.Command(program, append([]string{"train", "--config", file}, args...)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w:\n%s", err, out)
	}
	return path, nil
}

// isUndisturbed wants the run to have learned exactly what it learns when nothing happens to it: every iteration and every
// growth once, in order, with the same numbers to the last bit; nothing left over, a sound checkpoint.
func (f folder) isUndisturbed() {
	f.t.Helper()
	want, err := undisturbed()
	if err != nil {
		f.t.Fatal(err)
	}
	got := f.history()
	if len(want.Iterations) != iterations || len(want.Growths) != 2 {
		f.t.Fatalf("undisturbed, the run has %d iterations and %d growths", len(want.Iterations), len(want.Growths))
	}
	if len(got.Iterations) != iterations || len(got.Growths) != 2 {
		f.t.Fatalf("%d iterations and %d growths, want %d and 2", len(got.Iterations), len(got.Growths), iterations)
	}
	for i, w := range want.Iterations {
		g := got.Iterations[i]
		if g.Iteration != i+1 || g.LMLoss != w.LMLoss || g.GradNorm != w.GradNorm || g.LearningRate != w.LearningRate || g.ConsumedTokens != w.ConsumedTokens || g.ModelFLOPs != w.ModelFLOPs {
			f.t.Fatalf("line %d is iteration %d: loss %v, gradient norm %v; undisturbed: loss %v, gradient norm %v", i+1, g.Iteration, g.LMLoss, g.GradNorm, w.LMLoss, w.GradNorm)
		}
	}
	for i, w := range want.Growths {
		if g := got.Growths[i]; g.LossBefore != w.LossBefore || g.LossAfter != w.LossAfter || g.Iteration != w.Iteration {
			f.t.Fatalf("growth %d: loss %v -> %v; undisturbed %v -> %v", i, g.LossBefore, g.LossAfter, w.LossBefore, w.LossAfter)
		}
	}
	f.isClean()
	start(f.t, "ckpt", "verify", f.path).ends(0)
}

// isClean wants nothing in the folder that a finished run does not leave.
func (f folder) isClean() {
	f.t.Helper()
	known := []string{".", ".lock", "config.resolved.yaml", "metrics.jsonl", "report.html", "*.png", "tensorboard", "tensorboard/events.out.tfevents.*", "checkpoints",
		"checkpoints/latest_checkpointed_iteration.txt", "checkpoints/iter_???????", "checkpoints/iter_???????/shard_*.bin", "checkpoints/iter_???????/manifest.json"}
	err := filepath.WalkDir(f.path, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(f.path, path)
		for _, k := range known {
			if ok, _ := filepath.Match(k, name); ok {
				return err
			}
		}
		f.t.Errorf("left over: %s", name)
		return err
	})
	if err != nil {
		f.t.Error(err)
	}
}
