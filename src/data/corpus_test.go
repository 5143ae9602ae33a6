package data

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cambium/src/tokenizer"
)

func TestDamagedInputsAreNamed(t *testing.T) {
	dir := t.TempDir()
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(bytes.Repeat([]byte("some text "), 1000))
	w.Close()
	for name, data := range map[string][]byte{
		"cut.txt.gz": gz.Bytes()[:gz.Len()-9], "cut.jsonl.gz": gz.Bytes()[:gz.Len()-9], "not.txt.gz": []byte("text"), "not.txt.zst": []byte("text, no zstd"),
	} {
		path := put(t, filepath.Join(dir, name), data)
		_, err := Prep(context.Background(), PrepOptions{Files: list(t, Filter{}, path), Output: filepath.Join(dir, "o"), Tokenizer: tokenizer.Bytes()})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := List([]string{filepath.Join(dir, "nowhere")}, Filter{}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing input: %v", err)
	}
	if _, err := List([]string{dir}, Filter{Include: []string{"*.go"}}); err == nil || !strings.Contains(err.Error(), "no files to read") {
		t.Errorf("an empty selection: %v", err)
	}
	if _, err := List([]string{dir}, Filter{Include: []string{"[a"}}); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("a malformed pattern: %v", err)
	}
}

func TestFilterTakesWhatItSays(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.go", "b.md", "c.txt", "sub/d.go", "sub/e.go.gz", "sub/deep/f.go", "vendor/g.go", ".git/h.go", ".i.go", "j.jsonl"} {
		put(t, filepath.Join(dir, name), []byte("x"))
	}
	put(t, filepath.Join(dir, "big.go"), make([]byte, 100))
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "b.md c.txt j.jsonl"},
		{Filter{Include: []string{"*.go"}, MaxFileSize: 99}, "a.go sub/d.go sub/deep/f.go sub/e.go.gz vendor/g.go"},
		{Filter{Include: []string{"*.go"}, Exclude: []string{"vendor", "big*", "sub/deep"}}, "a.go sub/d.go sub/e.go.gz"},
		{Filter{Include: []string{"sub/*.go"}}, "sub/d.go sub/e.go.gz"},
	} {
		var names []string
		for _, f := range list(t, c.f, dir) {
			names = append(names, f.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%+v takes %s; want %s", c.f, got, c.want)
		}
	}
}

func TestSplitsFollowTheNamesAndShares(t *testing.T) {
	splits := []Split{{"valid", 0.02}, {"test", 0.1}}
	var counts [3]int
	for i := range 20000 {
		counts[splitOf(splits, fmt.Sprintf("src/file%d.go", i))]++
	}
	if counts[1] < 320 || counts[1] > 480 || counts[2] < 1850 || counts[2] > 2150 {
		t.Errorf("of 20000 documents the splits take %v; want about 2 %% and 10 %%", counts[1:])
	}
	for _, bad := range [][]Split{{{"", .1}}, {{"train", .1}}, {{"a/b", .1}}, {{"v", 0}}, {{"v", 1}}, {{"v", .5}, {"w", .5}}, {{"v", .1}, {"v", .1}}} {
		if checkSplits(bad) == nil {
			t.Errorf("splits %v were accepted", bad)
		}
	}
}

func TestTokenizerLearnsFromTheTrainingSplitAlone(t *testing.T) {
	dir := t.TempDir()
	splits := []Split{{"valid", 0.3}}
	held := 0
	for i := range 60 {
		name := fmt.Sprintf("%d.txt", i)
		text := "common words here "
		if splitOf(splits, name) != 0 {
			held++
			text = "zzzz qqqq "
		}
		put(t, filepath.Join(dir, "in", name), []byte(strings.Repeat(text, 3)))
	}
	put(t, filepath.Join(dir, "in", "z.jsonl"), []byte("{\"body\": \"jjjj jjjj jjjj\"}\n"))
	files := list(t, Filter{}, filepath.Join(dir, "in"))
	o := TrainTokenizerOptions{Files: files, TextKey: "body", Splits: splits, TrainOptions: tokenizer.TrainOptions{VocabSize: 272}}
	var last int64
	o.Progress = func(done, total int64) { last = done - total }
	tok, err := TrainTokenizer(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	var learned []string
	for id := int32(256); id < int32(tok.VocabSize()); id++ {
		learned = append(learned, string(tok.Token(id)))
	}
	all := strings.Join(learned, "|")
	if held == 0 || strings.ContainsAny(all, "zq") || !strings.Contains(all, " words") || last != 0 {
		t.Errorf("learned %q with %d documents held out; progress ended %d bytes off", learned, held, last)
	}
	o.MaxBytes = 1
	if _, err := TrainTokenizer(context.Background(), o); err != nil && !strings.Contains(err.Error(), "use more text") {
		t.Errorf("with little text: %v", err)
	}
	o.MaxBytes, o.TextKey = 0, "nothing"
	if _, err := TrainTokenizer(context.Background(), o); splitOfLine(splits, "z.jsonl", 1) == 0 && (err == nil || !strings.Contains(err.Error(), "z.jsonl:1")) {
		t.Errorf("a line without the key: %v", err)
	}
}

func TestGoDistributionIsACorpus(t *testing.T) {
	files, err := GoFiles("")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for i, f := range files {
		total += f.Size
		if f.Size > GoFileSize || i > 0 && strings.HasPrefix(f.Name, "src/") && strings.HasPrefix(files[i-1].Name, "src/") && files[i-1].Name >= f.Name {
			t.Errorf("%s: %d bytes, after %s", f.Name, f.Size, files[max(i-1, 0)].Name)
		}
	}
	if len(files) < 5000 || total < 30<<20 {
		t.Errorf("%d files, %d bytes; want thousands and tens of MB", len(files), total)
	}
	t.Logf("%d files, %.1f MB", len(files), float64(total)/1e6)
	if again, _ := GoFiles(""); !slices.Equal(files, again) {
		t.Error("a second listing differs")
	}
	if _, err := GoFiles(t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no Go sources") {
		t.Errorf("an empty GOROOT: %v", err)
	}
	t.Setenv("GOROOT", "")
	t.Setenv("PATH", "")
	if _, err := GoFiles(""); err == nil || !strings.Contains(err.Error(), "no Go distribution found") {
		t.Errorf("without Go: %v", err)
	}
}
