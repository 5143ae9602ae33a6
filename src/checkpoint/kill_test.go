package checkpoint

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"cambium/src/layout"
	"cambium/src/rng"
	"cambium/src/tensor"
)

// Every step of a writer that changes the folder is a moment at which it may die: before a new checkpoint, before one that
// replaces a checkpoint of the same iteration, and before one that follows a replacement which was cut off itself.
func TestAKillAtAnyStepLeavesACheckpoint(t *testing.T) {
	l := layoutOf(t, 1, 1, 1)
	for name, c := range map[string]struct {
		next   int
		before string // kill another writer at this step first
	}{
		"a new checkpoint":      {2, ""},
		"a replacement":         {1, ""},
		"a replacement, twice":  {1, "name the folder"},
		"after a cut-off write": {1, "sync the folder"},
	} {
		var steps []string
		for at := 0; ; at++ {
			dir := t.TempDir()
			save(t, dir, l, 1, Options{noSync: true})
			if c.before != "" {
				killedWrite(t, dir, l, 1, func(step string) bool { return step == c.before })
			}
			died := killedWrite(t, dir, l, c.next, func(step string) bool {
				if !slices.Contains(steps, step) {
					steps = append(steps, step) // writing entries counts as one step
				}
				return slices.Index(steps, step) == at
			})
			if died == "" {
				break // it lived through all steps
			}
			checkLatest(t, dir, l, name+", killed at "+died)
			// The next writer is not disturbed by what was left, and neither is pruning.
			save(t, dir, l, 3, Options{noSync: true})
			if _, err := Prune(dir, 1); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
				t.Fatalf("%s, killed at %q, then pruned: the folder holds %v (%v)", name, died, left, err)
			}
			checkLatest(t, dir, l, name+", killed at "+died+", then another")
		}
		if len(steps) < 10 {
			t.Fatalf("the steps were only %q", steps)
		}
	}
}

// killedWrite is a writer that dies when kill says so, and the step at which it did.
func killedWrite(t *testing.T, dir string, l layout.Layout, iteration int, kill func(step string) bool) (died string) {
	t.Helper()
	opt := Options{noSync: true, step: func(step string) error {
		if kill(step) {
			died = step
			return errKilled
		}
		return nil
	}}
	_, err := Write(dir, Alone{}, meta(iteration), pieces(l, 0, iteration), opt)
	if (err == nil) != (died == "") {
		t.Fatalf("killed at %q: %v", died, err)
	}
	return died
}

func checkLatest(t *testing.T, dir string, l layout.Layout, when string) {
	t.Helper()
	found, err := Latest(dir)
	if err != nil || found.Path == "" {
		t.Fatalf("%s: %+v, %v", when, found, err)
	}
	if rep := Verify(found.Path); len(rep.Problems) > 0 {
		t.Fatalf("%s: %v", when, rep.Problems)
	}
	if err := compare(found.Path, l, found.Iteration); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
}

const childVariable = "CAMBIUM_TEST_CHECKPOINT_CHILD"

// childPieces is 600 kB whose content tells the iteration.
func childPieces(iteration int) []Piece {
	var out []Piece
	for i := range 3 {
		v := make([]float32, 50_000)
		rng.NewKey(uint64(iteration), strconv.Itoa(i)).FillNormal(v, 0, 1)
		out = append(out, Piece{
			Tensor: strconv.Itoa(i), Kind: Weight, DType: tensor.F32, Shape: []int{500, 100}, Box: layout.Whole([]int{500, 100}), Data: floatBytes(v),
		})
	}
	return out
}

// TestWriteUntilKilled is not a test but the program that TestAKillAtARandomMoment kills.
func TestWriteUntilKilled(t *testing.T) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		t.Skip("runs as a child only")
	}
	found, err := Latest(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := found.Iteration; ; i++ { // begins with replacing the last one
		opt := Options{Compression: []string{"none", "zstd"}[i%2], EntryBytes: 16 << 10, Writers: 1 + i%3}
		if _, err := Write(dir, Alone{}, Meta{Iteration: i}, childPieces(i), opt); err != nil {
			t.Fatal(err)
		}
		if _, err := Prune(dir, 2); err != nil {
			t.Fatal(err)
		}
		fmt.Println("wrote", i)
	}
}

func TestAKillAtARandomMomentLeavesTheLastCheckpoint(t *testing.T) {
	rounds := uint64(24)
	if testing.Short() {
		rounds = 5
	}
	dir := filepath.Join(t.TempDir(), "checkpoints")
	key := rng.NewKey(uint64(time.Now().UnixNano()), "kill")
	last := 0
	for round := range rounds {
		reported := killedChild(t, dir, time.Duration(key.Below(round, uint64(50*time.Millisecond))))
		found, err := Latest(dir)
		if err != nil || found.Path == "" || found.Iteration < reported || found.Iteration < last {
			t.Fatalf("round %d: %+v, %v; iteration %d was reported, %d was there before", round, found, err, reported, last)
		}
		last = found.Iteration
		if rep := Verify(found.Path); len(rep.Problems) > 0 {
			t.Fatalf("round %d: %v", round, rep.Problems)
		}
		r, err := Open(found.Path)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range childPieces(found.Iteration) {
			got := make([]byte, len(p.Data))
			if err := r.Read(Weight, p.Tensor, p.Box, got); err != nil || string(got) != string(p.Data) {
				t.Fatalf("round %d, iteration %d: tensor %s was read wrong (%v)", round, last, p.Tensor, err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, %d checkpoints", rounds, last)
}

// killedChild starts a writer, kills it some time after it wrote its first checkpoint, and returns the last iteration that it reported.
func killedChild(t *testing.T, dir string, after time.Duration) int {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestWriteUntilKilled$")
	child.Env = append(os.Environ(), childVariable+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	reported := -1
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n := 0
		if _, err := fmt.Sscanf(lines.Text(), "wrote %d", &n); err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		if reported < 0 {
			time.AfterFunc(after, func() { _ = child.Process.Kill() })
		}
		reported = n
	}
	_ = child.Wait() // it was killed
	if reported < 0 {
		t.Fatal("the child wrote nothing")
	}
	return reported
}
