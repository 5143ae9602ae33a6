package data

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cambium/src/tokenizer"

	"github.com/klauspost/compress/zstd"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("CAMBIUM_TEST_PREP_UNTIL_KILLED"); dir != "" {
		prepUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

// fixed is a tokenizer that maps each text to given ids, for files whose bytes are known.
type fixed struct {
	tokenizer.Tokenizer
	vocab int
	ids   map[string][]int32
}

func (f fixed) VocabSize() int { return f.vocab }
func (f fixed) EOD() int32     { return 0 }
func (f fixed) Encode(dst []int32, text []byte) []int32 {
	return append(dst, f.ids[string(text)]...)
}

func put(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func get(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func list(t testing.TB, f Filter, inputs ...string) []File {
	t.Helper()
	files, err := List(inputs, f)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestPrepWritesMegatronsBytes(t *testing.T) {
	for name, tok := range map[string]fixed{
		"u16": {vocab: 65499, ids: map[string][]int32{"a": {1, 2, 3}, "b": {4}, "c": {500, 65000, 0}}},
		"i32": {vocab: 70001, ids: map[string][]int32{"a": {1, 2, 3}, "b": {4}, "c": {70000, 65000, 0}}},
	} {
		dir := t.TempDir()
		in := put(t, filepath.Join(dir, "in.jsonl"), []byte("{\"text\": \"a\"}\n{\"x\": 1, \"text\": \"b\"}\n\n{\"text\": \"c\"}"))
		out := filepath.Join(dir, "out")
		if _, err := Prep(context.Background(), PrepOptions{Files: list(t, Filter{}, in), Output: out, Tokenizer: tok}); err != nil {
			t.Fatal(err)
		}
		for _, end := range []string{".bin", ".idx"} {
			if got, want := get(t, out+end), get(t, filepath.Join("testdata", name+end)); !bytes.Equal(got, want) {
				t.Errorf("%s%s: % x, want % x", name, end, got, want)
			}
		}
	}
}

// texts makes documents of words, some long, one of several pieces.
func texts(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	list := make([]string, n)
	for i := range list {
		var b strings.Builder
		words := r.IntN(200)
		if i == n/2 {
			words = 200_000
		}
		for range words {
			fmt.Fprintf(&b, "%x é\n", r.Uint32N(1<<16))
		}
		list[i] = b.String()
	}
	return list
}

func TestFilesDoNotDependOnTheWorkers(t *testing.T) {
	dir := t.TempDir()
	for i, text := range texts(60) {
		put(t, filepath.Join(dir, "in", fmt.Sprint(i%7), fmt.Sprintf("%d.txt", i)), []byte(text))
	}
	var want [][]byte
	for _, workers := range []int{1, 2, 7} {
		out := filepath.Join(dir, fmt.Sprint("out", workers))
		result, err := Prep(context.Background(), PrepOptions{
			Files: list(t, Filter{}, filepath.Join(dir, "in")), Output: out, Tokenizer: tokenizer.Bytes(), AppendEOD: true, Workers: workers,
			Splits: []Split{{"valid", 0.2}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		for _, o := range result.Outputs {
			for _, end := range []string{".bin", ".idx", ".json"} {
				got = append(got, get(t, o.Prefix+end))
			}
		}
		if want == nil {
			want = got
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%d workers write other files than 1", workers)
		}
	}
}

func TestEveryByteOfTextIsInTheTokensOnce(t *testing.T) {
	dir := t.TempDir()
	documents := texts(40)
	var lines bytes.Buffer
	for i, text := range documents {
		if i%2 == 0 {
			fmt.Fprintf(&lines, "{\"body\": %q}\n", text)
		} else {
			put(t, filepath.Join(dir, "in", fmt.Sprintf("b%03d.txt", i)), []byte(text))
		}
	}
	put(t, filepath.Join(dir, "in", "a.jsonl"), lines.Bytes())
	out := filepath.Join(dir, "out")
	tok := tokenizer.Bytes()
	result, err := Prep(context.Background(), PrepOptions{
		Files: list(t, Filter{}, filepath.Join(dir, "in")), Output: out, Tokenizer: tok, AppendEOD: true, TextKey: "body",
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := openStream(out)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	ids := make([]int32, s.tokens())
	if err := s.read(ids, 0); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, parity := range []int{0, 1} {
		for i := parity; i < len(documents); i += 2 {
			if documents[i] != "" {
				want = append(want, documents[i])
			}
		}
	}
	got := strings.SplitAfter(string(tok.Decode(nil, ids)), tokenizer.EndOfText)
	if got = got[:len(got)-1]; len(got) != len(want) {
		t.Fatalf("%d documents, want %d", len(got), len(want))
	}
	size := int64(0)
	for i := range got {
		if got[i] != want[i]+tokenizer.EndOfText {
			t.Errorf("document %d is not the text", i)
		}
		size += int64(len(want[i]))
	}
	info := result.Outputs[0].Info
	if info.Bytes != size || info.Documents != int64(len(want)) || info.Tokens != int64(len(ids)) || s.documents() != uint64(len(want)) {
		t.Errorf("counted %+v; want %d bytes, %d documents, %d tokens", info, size, len(want), len(ids))
	}
}

func TestLongDocumentsEncodeAsAtOnce(t *testing.T) {
	tok, err := tokenizer.GPT2()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := []byte(strings.Repeat("The  quick\tbrown\n\n\n fox's 12345 jumps — over\r\n   the lazy dog!!\n", 60_000))
	out := filepath.Join(dir, "out")
	files := list(t, Filter{}, put(t, filepath.Join(dir, "long.txt"), text))
	if _, err := Prep(context.Background(), PrepOptions{Files: files, Output: out, Tokenizer: tok}); err != nil {
		t.Fatal(err)
	}
	s, err := openStream(out)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	got, want := make([]int32, s.tokens()), tok.Encode(nil, text)
	if err := s.read(got, 0); err != nil || !slices.Equal(got, want) {
		t.Errorf("%d ids of a document in parts, %d at once (%v)", len(got), len(want), err)
	}
}

func TestCompressedFilesReadAsPlainOnes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.txt": "plain text", "b.jsonl": "{\"text\":\"a line\"}\n{\"text\":\"another\"}\n"} {
		put(t, filepath.Join(dir, "plain", name), []byte(text))
		var gz, zs bytes.Buffer
		w := gzip.NewWriter(&gz)
		w.Write([]byte(text))
		w.Close()
		z, _ := zstd.NewWriter(&zs)
		z.Write([]byte(text))
		z.Close()
		put(t, filepath.Join(dir, "gz", name+".gz"), gz.Bytes())
		put(t, filepath.Join(dir, "zst", name+".zst"), zs.Bytes())
	}
	var want []byte
	for _, kind := range []string{"plain", "gz", "zst"} {
		out := filepath.Join(dir, "out_"+kind)
		if _, err := Prep(context.Background(), PrepOptions{Files: list(t, Filter{}, filepath.Join(dir, kind)), Output: out, Tokenizer: tokenizer.Bytes()}); err != nil {
			t.Fatal(err)
		}
		got := get(t, out+".bin")
		if want == nil {
			want = got
		}
		if len(got) == 0 || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of tokens, plain files give %d", kind, len(got), len(want))
		}
	}
}

func TestBadTextIsNamedOrSkipped(t *testing.T) {
	long := strings.Repeat("fine text\n", 110_000) // two pieces
	for _, c := range []struct{ name, text, want string }{
		{"a.txt", "one\ntwo\n\xffthree", "a.txt:3: byte 0xff is not UTF-8"},
		{"a.txt", long + "\xc3(", "a.txt:110001: byte 0xc3 is not UTF-8"},
		{"a.txt", "\xfe" + long, "a.txt:1: byte 0xfe is not UTF-8"},
		{"a.jsonl", "{\"text\": \"x\"}\n{\"text\": \"x\"\n", "a.jsonl:2: not a JSON object"},
		{"a.jsonl", "{\"body\": \"x\"}\n", `a.jsonl:1: the object has no key "text"`},
		{"a.jsonl", "\n{\"text\": 5}\n", `a.jsonl:2: the value of "text" is not a text`},
		{"a.jsonl", "{\"text\": null}\n", `a.jsonl:1: the value of "text" is not a text`},
		{"a.jsonl", "{\"text\": \"\xff\"}\n", "a.jsonl:1: byte 0xff at 10 of the line is not UTF-8"},
	} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, c.name), []byte(c.text))
		put(t, filepath.Join(dir, "z.txt"), []byte("good"))
		o := PrepOptions{Files: list(t, Filter{}, dir), Output: filepath.Join(dir, "out"), Tokenizer: tokenizer.Bytes(), AppendEOD: true}
		if _, err := Prep(context.Background(), o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: error %v, want %s", c.text, err, c.want)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "out*")); len(left) > 0 {
			t.Errorf("%.20q: a failed prep leaves %v", c.text, left)
		}
		o.SkipBad = true
		result, err := Prep(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		if result.Skipped != 1 || len(result.Bad) != 1 || !strings.Contains(result.Bad[0], c.want) {
			t.Errorf("%.20q: skipped %d, %v", c.text, result.Skipped, result.Bad)
		}
		if got := get(t, o.Output+".bin"); !bytes.HasSuffix(got, []byte{byte('g' - '!'), 0, byte('o' - '!'), 0, byte('o' - '!'), 0, byte('d' - '!'), 0, 0, 1}) {
			t.Errorf("%.20q: the good document is not at the end: % x", c.text, got[max(0, len(got)-12):])
		}
		if d, err := Open([]Corpus{{o.Output, 1}}, 4, 0); err != nil {
			t.Errorf("%.20q: what is left cannot be opened: %v", c.text, err)
		} else {
			d.Close()
		}
	}
}

func TestEmptyInputsMakeEmptyFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "in", "a.txt"), nil)
	put(t, filepath.Join(dir, "in", "b.jsonl"), []byte("\n  \n{\"text\": \"\"}\n"))
	out := filepath.Join(dir, "out")
	if _, err := Prep(context.Background(), PrepOptions{Files: list(t, Filter{}, filepath.Join(dir, "in")), Output: out, Tokenizer: tokenizer.Bytes(), AppendEOD: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open([]Corpus{{out, 1}}, 4, 0); err == nil || !strings.Contains(err.Error(), "0 tokens are fewer than one sample") {
		t.Errorf("opening an empty corpus: %v", err)
	}
}
