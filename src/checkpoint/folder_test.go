package checkpoint

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func floatBytes(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func iterations(t *testing.T, dir string) (out []int) {
	t.Helper()
	all, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		out = append(out, f.iteration)
	}
	return out
}

func spoil(t *testing.T, dir string, iteration int) {
	t.Helper()
	if err := os.Truncate(filepath.Join(dir, folderName(iteration), "shard_00000_00.bin"), 3); err != nil {
		t.Fatal(err)
	}
}

func TestPruneKeepsTheNewestGoodOnes(t *testing.T) {
	l := layoutOf(t, 1, 1, 1)
	for _, c := range []struct {
		name    string
		spoiled []int
		tracker string
		keep    int
		want    []int
	}{
		{"all good", nil, "", 2, []int{5, 4}},
		{"the newest is damaged", []int{5}, "", 2, []int{5, 4, 3}},
		{"only the oldest is good", []int{2, 3, 4, 5}, "", 1, []int{5, 4, 3, 2, 1}},
		{"none is good", []int{1, 2, 3, 4, 5}, "", 1, []int{5, 4, 3, 2, 1}},
		{"the tracked one is old", nil, "1\n", 2, []int{5, 4, 1}},
		{"keep 0 keeps all", nil, "", 0, []int{5, 4, 3, 2, 1}},
	} {
		dir := t.TempDir()
		for i := 1; i <= 5; i++ {
			save(t, dir, l, i, Options{noSync: true})
		}
		for _, i := range c.spoiled {
			spoil(t, dir, i)
		}
		if c.tracker != "" {
			overwrite(t, filepath.Join(dir, trackerName), []byte(c.tracker))
		}
		removed, err := Prune(dir, c.keep)
		if err != nil || len(removed) != 5-len(c.want) {
			t.Errorf("%s: removed %v (%v)", c.name, removed, err)
		}
		if got := iterations(t, dir); len(got) != len(c.want) || !equal(got, c.want) {
			t.Errorf("%s: %v are left, want %v", c.name, got, c.want)
		}
	}
}

func equal(a, b []int) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestLatestPassesOverWhatCannotBeOpened(t *testing.T) {
	l := layoutOf(t, 1, 1, 1)
	for _, c := range []struct {
		name    string
		prepare func(dir string)
		want    int // 0: none
		skipped int
	}{
		{"no folder at all", func(dir string) { os.RemoveAll(dir) }, 0, 0},
		{"sound", func(string) {}, 3, 0},
		{"the newest is damaged", func(dir string) { spoil(t, dir, 3) }, 2, 1},
		{"the tracker is missing", func(dir string) { os.Remove(filepath.Join(dir, trackerName)) }, 3, 0},
		{"the tracker goes back", func(dir string) { overwrite(t, filepath.Join(dir, trackerName), []byte("1")) }, 1, 0},
		{"the tracker names nothing", func(dir string) { overwrite(t, filepath.Join(dir, trackerName), []byte("9")) }, 3, 1},
		{"the tracker is nonsense", func(dir string) { overwrite(t, filepath.Join(dir, trackerName), []byte("release")) }, 3, 1},
		{"all are damaged", func(dir string) { spoil(t, dir, 1); spoil(t, dir, 2); spoil(t, dir, 3) }, 0, 3},
	} {
		dir := filepath.Join(t.TempDir(), "checkpoints")
		for i := 1; i <= 3; i++ {
			save(t, dir, l, i, Options{noSync: true})
		}
		c.prepare(dir)
		found, err := Latest(dir)
		if err != nil || found.Iteration != c.want || (found.Path == "") != (c.want == 0) || len(found.Skipped) != c.skipped {
			t.Errorf("%s: %+v (%v), want iteration %d and %d skipped", c.name, found, err, c.want, c.skipped)
		}
	}
}
