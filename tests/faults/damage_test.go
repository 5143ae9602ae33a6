package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cambium/src/train"
)

// halfWay is a folder whose run was stopped at iteration 32, with checkpoints of iterations 30 and 32: a copy of one that is
// made once.
func halfWay(t *testing.T) folder {
	t.Helper()
	original, err := stopped()
	if err != nil {
		t.Fatal(err)
	}
	f := newFolder(t)
	if err := os.CopyFS(f.path, os.DirFS(original)); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{30, 32} {
		if _, err := os.Stat(f.checkpoint(i)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

var stopped = sync.OnceValues(func() (string, error) { return trained("stopped", "--exit-interval", "32") })

func (f folder) checkpoint(iteration int) string {
	return f.join("checkpoints", fmt.Sprintf("iter_%07d", iteration))
}

// flip changes one bit in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	flipAt(t, path, int(info.Size()/2))
}

func flipAt(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 4
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A wrong bit among the weights is found when they are loaded. Nobody but the user can say what he wants then.
func TestAFlippedBitInAShardIsNeverTrainedOn(t *testing.T) {
	t.Parallel()
	f := halfWay(t)
	shard := filepath.Join(f.checkpoint(32), "shard_00001_00.bin")
	before := f.metrics()
	flip(t, shard)
	f.train().complains(1, shard, "does not have its checksum", "layers.", f.checkpoint(32))
	if f.metrics() != before {
		t.Error("a run that could not resume has changed metrics.jsonl")
	}
	start(t, "ckpt", "verify", f.path).complains(1, shard, "layers.", "does not have its checksum")

	// What the sentence advises.
	if err := os.RemoveAll(f.checkpoint(32)); err != nil {
		t.Fatal(err)
	}
	p := f.train().ends(0)
	if out := p.stdout.String(); !strings.Contains(out, "warning: ") {
		t.Errorf("no warning that the newest checkpoint is gone:\n%s", out)
	}
	f.isUndisturbed()
}

func (f folder) metrics() string {
	f.t.Helper()
	b, err := os.ReadFile(f.join(train.MetricsName))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(b)
}

// Whatever shows before anything is read is passed over, with a warning: that is what a lost disk block, a copy that was
// cut or a tidying hand leaves.
func TestACheckpointThatCannotBeOpenedIsPassedOverWithAWarning(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(f folder) string{
		"manifest flipped": func(f folder) string {
			path := filepath.Join(f.checkpoint(32), "manifest.json")
			flip(t, path)
			return path
		},
		"manifest gone": func(f folder) string {
			path := filepath.Join(f.checkpoint(32), "manifest.json")
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			return path
		},
		"shard cut": func(f folder) string {
			path := filepath.Join(f.checkpoint(32), "shard_00000_00.bin")
			if err := os.Truncate(path, 1000); err != nil {
				t.Fatal(err)
			}
			return path
		},
		"tracker empty": func(f folder) string {
			path := f.join("checkpoints", "latest_checkpointed_iteration.txt")
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
			return filepath.Base(path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := halfWay(t)
			path := damage(f)
			p := f.train().ends(0)
			warned := false
			for line := range strings.Lines(p.stdout.String()) {
				warned = warned || strings.HasPrefix(line, "warning: ") && strings.Contains(line, path)
			}
			if !warned {
				t.Errorf("no warning that names %s:\n%s", path, p.stdout.String())
			}
			f.isUndisturbed()
		})
	}
}

func TestARunWithoutASingleGoodCheckpointDoesNotBeginAnew(t *testing.T) {
	t.Parallel()
	f := halfWay(t)
	for _, i := range []int{30, 32} {
		flip(t, filepath.Join(f.checkpoint(i), "manifest.json"))
	}
	before := f.metrics()
	f.train().complains(1, "none can be opened", f.checkpoint(30), f.checkpoint(32))
	if f.metrics() != before {
		t.Error("a run that could not resume has changed metrics.jsonl")
	}
}
