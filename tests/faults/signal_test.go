package faults

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// requeue is the exit code that tells a batch script to start the same command again.
const requeue = 75

func TestASignalEndsTheRunWithACheckpointAndTheSameCommandGoesOn(t *testing.T) {
	t.Parallel()
	const tries = 20 // a run takes a fifth of a second: on a busy machine a signal may come when it has ended
	for range tries {
		if signalled(t) {
			return
		}
	}
	t.Errorf("%d times the run ended before a signal came", tries)
}

// signalled stops a run by one signal after the other, with the same command in between; false when a signal came too late.
func signalled(t *testing.T) bool {
	f := newFolder(t)
	n := 0 // iterations so far
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2} {
		done := n + 5 // of which the next process has taken some: it listens by then
		if done >= iterations {
			return false
		}
		p := f.train("--save-interval", "0")
		f.training(p, done)
		if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if p.wait() == 0 {
			return false
		}
		p.complains(requeue, "stopped before the end", "saved")
		if n = len(f.history().Iterations); n == iterations {
			return false
		} else if n < done {
			t.Fatalf("%v: it stopped after %d iterations, asked after %d", s, n, done)
		}
		if saved := f.history().Checkpoints; len(saved) == 0 || saved[len(saved)-1].Iteration != n {
			t.Errorf("%v: stopped at iteration %d, checkpoints %v", s, n, saved)
		}
		start(t, "ckpt", "verify", f.path).ends(0)
	}
	f.train("--save-interval", "0").ends(0)
	f.isUndisturbed()
	return true
}

// A process that was told twice is wanted gone: the second signal does not wait for a checkpoint.
func TestTheSecondSignalKills(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	p := f.train(endless...)
	f.training(p, 3)
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(time.Millisecond) {
		if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
			break // it is gone
		}
	}
	if code := p.wait(); code != -1 && code != requeue {
		t.Errorf("exit code %d, want death by signal, or %d when the checkpoint was quicker", code, requeue)
	}
}

func TestASecondProcessInTheSameFolderIsRefused(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	first := f.train(endless...)
	f.training(first, 3)
	f.train(endless...).complains(1, f.path, "another process is training there", "--run-dir")
	before := len(f.history().Iterations)
	f.training(first, before+3)
	if err := first.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	first.ends(requeue)
	for i, it := range f.history().Iterations {
		if it.Iteration != i+1 {
			t.Fatalf("line %d of the first process is iteration %d: the second one wrote too", i+1, it.Iteration)
		}
	}
	if out := first.stdout.String(); !strings.Contains(out, "saved checkpoint") {
		t.Errorf("the first process saved nothing:\n%s", out)
	}
}
