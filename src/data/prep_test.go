package data

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

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
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
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
