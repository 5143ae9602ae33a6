package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A disk that is full is found while a checkpoint is written: the run ends, and the checkpoint before that one loads.
func TestAFullDiskEndsTheRunAndKeepsTheCheckpoint(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := mountSmallDisk(disk, 1<<20); err != nil {
		t.Skip("no small file system:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	f := folderAt(t, filepath.Join(disk, "run"))
	p := f.train()
	p.complains(1, "checkpoint", "no space left on device")
	f.keepsItsCheckpoint()
	if unfinished, _ := filepath.Glob(f.join("checkpoints", "*.unfinished")); len(unfinished) > 0 {
		t.Errorf("what could not be written was not removed: %v", unfinished)
	}
	// As soon as there is space the same command goes on.
	if err := syscall.Mount("", disk, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	f.train().ends(0)
	f.isUndisturbed()
}

func mountSmallDisk(dir string, bytes int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
}

func (f folder) keepsItsCheckpoint() {
	f.t.Helper()
	start(f.t, "ckpt", "verify", f.path).ends(0)
	start(f.t, "ckpt", "inspect", f.path).ends(0)
}

// The limit of a shell or a batch system comes as a signal, which must not be the end by itself.
func TestAFileSizeLimitIsAnErrorLikeAFullDisk(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	limited := exec.Command("sh", "-c", `ulimit -f 300; exec "$0" "$@"`, program, "train", "--config", f.file)
	startCommand(t, limited).complains(1, "file too large")
	f.keepsItsCheckpoint()
	f.train().ends(0)
	f.isUndisturbed()
}

// Metrics are no less of a run than its checkpoints.
func TestMetricsThatCannotBeWrittenEndTheRun(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	if err := os.MkdirAll(f.path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", f.join("metrics.jsonl")); err != nil {
		t.Fatal(err)
	}
	p := f.train()
	p.complains(1, "metrics.jsonl", "no space left on device")
	if strings.Contains(p.stdout.String(), "saved checkpoint") {
		t.Errorf("it went on for a while:\n%s", p.stdout.String())
	}
}
