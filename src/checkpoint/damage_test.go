package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cambium/src/layout"
	"cambium/src/tensor"
)

// small is a checkpoint in two files of two entries each.
func small(t testing.TB, dir string, opt Options) string {
	t.Helper()
	opt.EntryBytes = 256
	var stats Stats
	for _, err := range together(2, func(g Group) error {
		data := make([]byte, 512)
		for i := range data {
			data[i] = byte(i / 31 * (g.Rank() + 1))
		}
		box := layout.Whole(smallShape).Narrow(0, 4*g.Rank(), 4*g.Rank()+4)
		p := Piece{Tensor: "t", Kind: Weight, DType: tensor.F32, Shape: smallShape, Box: box, Data: data}
		s, err := Write(dir, g, Meta{Iteration: 1}, []Piece{p}, opt)
		if g.Rank() == 0 {
			stats = s
		}
		return err
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if (stats.Zstd == 4) != (opt.Compression == "zstd") {
		t.Fatalf("%d entries are compressed", stats.Zstd)
	}
	return stats.Path
}

var smallShape = []int{8, 32}

func readAll(folder string) error {
	r, err := Open(folder)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	return r.Read(Weight, "t", layout.Whole(smallShape), make([]byte, 1024))
}

func TestVerifyAndReadingFindEveryFlippedBit(t *testing.T) {
	for _, compression := range []string{"none", "zstd"} {
		folder := small(t, t.TempDir(), Options{Compression: compression})
		if r := Verify(folder); len(r.Problems) != 0 || r.Files != 2 || r.Entries != 4 {
			t.Fatalf("%+v", r)
		}
		flips := 0
		for name, content := range folderBytes(t, folder) {
			path := filepath.Join(folder, name)
			f, err := os.OpenFile(path, os.O_WRONLY, 0) // one byte in place: writing files anew would wait for the disk
			if err != nil {
				t.Fatal(err)
			}
			put := func(at int, b byte) {
				if _, err := f.WriteAt([]byte{b}, int64(at)); err != nil {
					t.Fatal(err)
				}
			}
			for i := range len(content) {
				for bit := i % 3; bit < 8; bit += 3 { // all bits, on neighbouring bytes in turn
					put(i, content[i]^1<<bit)
					checkDamage(t, folder, path, i)
					flips++
				}
				put(i, content[i])
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: %d flips found", compression, flips)
		if err := readAll(folder); err != nil {
			t.Errorf("the mended checkpoint: %v", err)
		}
	}
}

// checkDamage tells whether Verify and Read both name the file.
func checkDamage(t *testing.T, folder, path string, at int) {
	t.Helper()
	rep := Verify(folder)
	for what, err := range map[string]error{"Verify": errors.Join(rep.Problems...), "Read": readAll(folder)} {
		var d *Damage
		if err == nil || !errors.As(err, &d) || d.File != path {
			t.Fatalf("%s with a flip in byte %d of %s: %v", what, at, path, err)
		}
	}
}

func overwrite(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCutGrownAndMissingFilesAreNamed(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(path string) error
		want  string
	}{
		{"cut by a byte", func(p string) error { return os.Truncate(p, 511) }, "has 511 bytes instead of 512"},
		{"cut to nothing", func(p string) error { return os.Truncate(p, 0) }, "has 0 bytes instead of 512"},
		{"longer by a byte", func(p string) error { return os.Truncate(p, 513) }, "has 513 bytes instead of 512"},
		{"missing", os.Remove, "is missing"},
	} {
		folder := small(t, t.TempDir(), Options{})
		path := filepath.Join(folder, "shard_00001_00.bin")
		if err := c.spoil(path); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"Verify": errors.Join(Verify(folder).Problems...), "Read": readAll(folder)} {
			if err == nil || !strings.Contains(err.Error(), path+" "+c.want) {
				t.Errorf("%s, %s: %v, want %q", c.name, what, err, c.want)
			}
		}
	}
	folder := small(t, t.TempDir(), Options{})
	if err := os.Remove(filepath.Join(folder, manifestName)); err != nil {
		t.Fatal(err)
	}
	if rep := Verify(folder); len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0].Error(), manifestName) {
		t.Errorf("without manifest: %v", rep.Problems)
	}
}

// Every problem is named, not just the first.
func TestVerifyGoesOnAfterAProblem(t *testing.T) {
	folder := small(t, t.TempDir(), Options{})
	for name, content := range folderBytes(t, folder) {
		if strings.HasSuffix(name, ".bin") {
			b := []byte(content)
			b[0] ^= 1
			b[len(b)-1] ^= 1
			overwrite(t, filepath.Join(folder, name), b)
		}
	}
	if rep := Verify(folder); len(rep.Problems) != 4 {
		t.Errorf("%d problems, want 4: %v", len(rep.Problems), rep.Problems)
	}
}

// A manifest whose checksum is right can still be written by a stranger: nothing in it may crash a reader.
func TestAnImpossibleManifestIsRefused(t *testing.T) {
	good := Entry{Tensor: "t", Kind: Weight, DType: "fp32", Shape: []int{2}, Lo: []int{0}, Hi: []int{2}, File: "a", Stored: 8, Codec: CodecRaw}
	for name, spoil := range map[string]func(e *Entry){
		"a box outside":    func(e *Entry) { e.Hi = []int{3} },
		"no box":           func(e *Entry) { e.Lo = nil },
		"an empty box":     func(e *Entry) { e.Lo = []int{2} },
		"an unknown dtype": func(e *Entry) { e.DType = "fp7" },
		"another folder":   func(e *Entry) { e.File = "../a" },
		"a negative place": func(e *Entry) { e.Offset = -1 },
		"a wrong length":   func(e *Entry) { e.Stored = 7 },
		"an unknown codec": func(e *Entry) { e.Codec = "lz4" },
		"a huge box":       func(e *Entry) { e.Shape, e.Hi, e.Codec = []int{1 << 31}, []int{1 << 31}, CodecZstd },
		"an overflow": func(e *Entry) {
			e.Shape, e.Lo, e.Hi, e.Codec = []int{1 << 32, 1 << 32}, []int{0, 0}, []int{1 << 32, 1 << 32}, CodecZstd
		},
	} {
		e := good
		spoil(&e)
		text, err := Manifest{Format: FormatVersion, Entries: []Entry{e}}.encode()
		if err != nil {
			t.Fatal(err)
		}
		folder := t.TempDir()
		overwrite(t, filepath.Join(folder, manifestName), text)
		if _, err := Open(folder); err == nil || !strings.Contains(err.Error(), manifestName) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
