package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// program is the folder of the cambium binary under test, repository the root of the sources.
var program, repository string

func TestMain(m *testing.M) {
	code, err := withProgram(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// watchSources looks at every source of the program: go test caches a result for as long as the files that the test has
// looked at are the same, and does not know what go build read.
func watchSources() error {
	return filepath.WalkDir(filepath.Join(repository, "src"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			_, err = os.Stat(path)
		}
		return err
	})
}

func withProgram(m *testing.M) (int, error) {
	var err error
	if repository, err = filepath.Abs("../.."); err != nil {
		return 1, err
	}
	if program, err = os.MkdirTemp("", "cambium-cli-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(program)
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v0.0.0-test", "-o", filepath.Join(program, "cambium"), "./src/cmd/cambium")
	build.Dir = repository
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

func TestTranscripts(t *testing.T) {
	if err := watchSources(); err != nil { // in a test: before them nothing is noted
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", program+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("REPO", repository)
			return nil
		},
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "flip": flip, "lines": lines},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// exits CODE PROGRAM ARGS...: the program ends with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// flip FILE: one bit in the middle of the file changes.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[len(b)/2] ^= 4
	ts.Check(os.WriteFile(path, b, 0o644))
}

// lines FILE N: the file has N lines, every one of which begins "cambium: " when FILE is stderr.
func lines(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if got := strings.Count(text, "\n"); strconv.Itoa(got) != args[1] {
		ts.Fatalf("%d lines, want %s:\n%s", got, args[1], text)
	}
	for line := range strings.Lines(text) {
		if args[0] == "stderr" && !strings.HasPrefix(line, "cambium: ") {
			ts.Fatalf("a line of standard error does not begin with \"cambium: \": %s", line)
		}
	}
}

// TestASignalSavesAndAsksForARequeue: SIGUSR1, as Slurm's --signal sends it, ends training with a checkpoint and code 75,
// and the same command goes on from there.
func TestASignalSavesAndAsksForARequeue(t *testing.T) {
	dir := t.TempDir()
	args := []string{
		"train", "--mock-data", "--vocab-size=64", "--num-layers=1", "--hidden-size=16", "--num-attention-heads=2", "--seq-length=16", "--micro-batch-size=1",
		"--lr=1e-3", "--run-dir", dir, "--log-interval=1", "--threads-per-rank=1", "--lr-decay-style=constant",
	}
	c := exec.Command(filepath.Join(program, "cambium"), append(args, "--train-iters=1M")...)
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if b, _ := os.ReadFile(filepath.Join(dir, "metrics.jsonl")); bytes.Count(b, []byte("\n")) > 5 {
			break
		}
		if time.Since(begin) > 3*time.Minute {
			c.Process.Kill()
			t.Fatalf("no iteration in three minutes: %s", &stderr)
		}
	}
	if err := c.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 75 {
		t.Fatalf("want exit code 75, got %v\n%s", err, &stderr)
	}
	if want := "cambium: stopped before the end; the state is saved, and the same command goes on from it\n"; stderr.String() != want {
		t.Errorf("standard error %q, want %q", &stderr, want)
	}
	c = exec.Command(filepath.Join(program, "cambium"), append(args, "--train-iters=1M", "--resume=must", "--exit-interval=50")...)
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}
