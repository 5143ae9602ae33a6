package faults

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corpus is tokens of bytes, made by the program itself; it returns their prefix.
func corpus(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text := filepath.Join(dir, "text.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 200)), 0o644); err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(dir, "tokens")
	start(t, "prep", "--tokenizer", "bytes", "--output", prefix, text).ends(0)
	return prefix
}

func TestWhatCannotBeTrainedOnIsRefusedWithOneSentence(t *testing.T) {
	t.Parallel()
	prefix := corpus(t)
	cut := corpus(t)
	if err := os.Truncate(cut+".bin", 100); err != nil {
		t.Fatal(err)
	}
	damaged := corpus(t)
	flipAt(t, damaged+".idx", 3)
	empty := filepath.Join(t.TempDir(), "empty.bin")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		code int
		args []string
		want []string
	}{
		{"data missing", 1, []string{"--data-path", "/nowhere/text"}, []string{"/nowhere/text", "cambium prep"}},
		{"data cut", 1, []string{"--data-path", cut}, []string{cut + ".bin", "cut"}},
		{"index damaged", 1, []string{"--data-path", damaged}, []string{damaged + ".idx"}},
		{"data empty", 1, []string{"--data-path", empty}, []string{empty}},
		{"data a folder", 1, []string{"--data-path", filepath.Dir(prefix)}, []string{filepath.Dir(prefix)}},
		{"validation data missing", 1, []string{"--data-path", prefix, "--vocab-size", "257", "--valid-data-path", "/nowhere/valid"}, []string{"/nowhere/valid"}},
		{"sequences longer than the data", 1, []string{"--data-path", prefix, "--vocab-size", "257", "--seq-length", "100000", "--max-position-embeddings", "100000"}, []string{prefix, "tokens"}},
		{"ids above the vocabulary", 1, []string{"--data-path", prefix}, []string{prefix, "257", "96"}},
		{"tokenizer larger than the vocabulary", 1, []string{"--data-path", prefix, "--tokenizer-type", "bytes"}, []string{"vocab_size", "257", "96"}},
		{"tokenizer missing", 1, []string{"--data-path", prefix, "--tokenizer-type", "bpe", "--tokenizer-model", "/nowhere/tokenizer.json"}, []string{"/nowhere/tokenizer.json"}},
		{"run folder under a file", 1, []string{"--run-dir", filepath.Join(file, "run")}, []string{"run folder", file, "not a directory"}},
		{"run folder where nobody may write", 1, []string{"--run-dir", "/proc/run"}, []string{"run folder", "/proc/run"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFolder(t)
			f.train(c.args...).complains(c.code, c.want...)
			if _, err := os.Stat(f.path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the run folder was made: %v", err)
			}
		})
	}
}

// Corpora that do not say how large their vocabulary was are caught at the token itself.
func TestATokenAboveTheVocabularyEndsTheRun(t *testing.T) {
	t.Parallel()
	prefix := corpus(t)
	others, err := filepath.Glob(prefix + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range others {
		if !strings.HasSuffix(o, ".bin") && !strings.HasSuffix(o, ".idx") {
			if err := os.Remove(o); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := newFolder(t)
	f.train("--data-path", prefix).complains(1, "sample", "token", "vocabulary has 96 entries")
	if _, err := os.Stat(f.join("checkpoints")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it saved a checkpoint: %v", err)
	}
}

// A corpus that is made anew, or deleted, under a run that reads it.
func TestDataThatIsCutWhileItIsReadEndsTheRun(t *testing.T) {
	t.Parallel()
	prefix := corpus(t)
	f := newFolder(t)
	p := f.train(append([]string{"--data-path", prefix, "--vocab-size", "257"}, endless...)...)
	f.training(p, 3)
	if err := os.Truncate(prefix+".bin", 0); err != nil {
		t.Fatal(err)
	}
	p.complains(1, prefix+".bin")
}
