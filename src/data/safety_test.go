package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"cambium/src/tokenizer"

	"github.com/klauspost/compress/zstd"
)

// TestMemoryStaysBounded preps one long document and many short ones and looks again and again at what is reachable.
func TestMemoryStaysBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 128 << 20
	dir := t.TempDir()
	for _, name := range []string{"one.txt.zst", "many.jsonl.zst"} {
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		z, _ := zstd.NewWriter(file, zstd.WithEncoderLevel(zstd.SpeedFastest))
		line := []byte("{\"text\": \"" + strings.Repeat("lorem ipsum dolor sit amet ", 40) + "\"}\n")
		for n := 0; n < size/2; n += len(line) {
			z.Write(line)
		}
		z.Close()
		file.Close()
	}
	tok, err := tokenizer.GPT2()
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	most, calls := uint64(0), 0
	_, err = Prep(context.Background(), PrepOptions{
		Files: list(t, Filter{}, dir), Output: filepath.Join(dir, "out"), Tokenizer: tok, AppendEOD: true, Workers: 2,
		Progress: func(s PrepState) {
			if calls++; calls%8 != 0 {
				return
			}
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB over %d MiB of text", grown>>20, size>>20)
	} else {
		t.Logf("the heap grew by at most %d MiB over %d MiB of text", grown>>20, size>>20)
	}
}

func TestCancelledPrepLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	for i, text := range texts(30) {
		put(t, filepath.Join(dir, "in", fmt.Sprintf("%d.txt", i)), []byte(text))
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Prep(ctx, PrepOptions{Files: list(t, Filter{}, filepath.Join(dir, "in")), Output: filepath.Join(dir, "out"), Tokenizer: tokenizer.Bytes(),
		Progress: func(PrepState) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "out*")); len(left) > 0 {
		t.Errorf("files left: %v", left)
	}
}

// prepUntilKilled is the process of TestKilledPrepLeavesNoHalfFile: it preps and stops half-way, waiting for its end.
func prepUntilKilled(dir string) {
	files, err := List([]string{filepath.Join(dir, "in")}, Filter{})
	if err == nil {
		_, err = Prep(context.Background(), PrepOptions{Files: files, Output: filepath.Join(dir, "out"), Tokenizer: tokenizer.Bytes(), AppendEOD: true,
			Progress: func(s PrepState) {
				if s.Tokens > 1<<20 {
					_ = os.WriteFile(filepath.Join(dir, "half-way"), nil, 0o644)
					time.Sleep(time.Hour)
				}
			}})
	}
	fmt.Fprintln(os.Stderr, "prep ended:", err)
	os.Exit(1)
}

func TestKilledPrepLeavesNoHalfFile(t *testing.T) {
	dir := t.TempDir()
	for i, text := range texts(60) {
		put(t, filepath.Join(dir, "in", fmt.Sprintf("%d.txt", i)), []byte(text))
	}
	put(t, filepath.Join(dir, "in", "zz.txt"), []byte(strings.Repeat("more text\n", 1<<18)))
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "CAMBIUM_TEST_PREP_UNTIL_KILLED="+dir)
	var said bytes.Buffer
	child.Stderr = &said
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "half-way")); err == nil {
			break
		}
		if time.Now().After(end) {
			_ = child.Process.Kill()
			t.Fatalf("the process did not come half-way: %s", said.String())
		}
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	for _, end := range []string{".bin", ".idx", ".json"} {
		if _, err := os.Stat(filepath.Join(dir, "out"+end)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("out%s is there after the kill", end)
		}
	}
	if half, _ := filepath.Glob(filepath.Join(dir, "*"+partial)); len(half) == 0 {
		t.Error("the killed process had written nothing: the test shows nothing")
	}
	out := filepath.Join(dir, "out")
	if _, err := Prep(context.Background(), PrepOptions{Files: list(t, Filter{}, filepath.Join(dir, "in")), Output: out, Tokenizer: tokenizer.Bytes(), AppendEOD: true}); err != nil {
		t.Fatalf("prep after a killed one: %v", err)
	}
	d, err := Open([]Corpus{{out, 1}}, 64, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if half, _ := filepath.Glob(filepath.Join(dir, "*"+partial)); len(half) > 0 {
		t.Errorf("left over: %v", half)
	}
}

func TestTwoPrepsOfOneNameRefuseEachOther(t *testing.T) {
	dir := t.TempDir()
	in := list(t, Filter{}, put(t, filepath.Join(dir, "in.txt"), []byte("text")))
	o := PrepOptions{Files: in, Output: filepath.Join(dir, "out"), Tokenizer: tokenizer.Bytes()}
	var inner error
	o.Progress = func(PrepState) {
		second := o
		second.Progress = nil
		_, inner = Prep(context.Background(), second)
	}
	if _, err := Prep(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if inner == nil || !strings.Contains(inner.Error(), "another process is writing") {
		t.Errorf("the second prep: %v", inner)
	}
}
