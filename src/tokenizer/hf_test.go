package tokenizer

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorded is what testdata/make_hf.py wrote.
type recorded struct {
	Merges map[string][][2]string `json:"merges"`
	IDs    map[string][][]int32   `json:"ids"`
}

func readRecorded(t testing.TB) (r recorded, texts []string, corpus []byte) {
	t.Helper()
	for path, into := range map[string]any{"trained.json": &r, "texts.json": &texts} {
		data, err := os.ReadFile(filepath.Join("testdata", path))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	corpus, err := os.ReadFile(filepath.Join("testdata", "corpus.txt"))
	if err != nil {
		t.Fatal(err)
	}
	return r, texts, corpus
}

func TestTrainerLearnsTheMergesOfHuggingFace(t *testing.T) {
	r, _, corpus := readRecorded(t)
	for name, pattern := range map[string]string{"gpt2": PatternGPT2, "llama3": PatternCL100K} {
		own := trained(t, TrainOptions{VocabSize: 500, Pattern: pattern, SpecialTokens: []string{}}, corpus)
		var got [][2]string
		for _, m := range own.merges {
			got = append(got, [2]string{own.chars(m[0]), own.chars(m[1])})
		}
		if !slices.Equal(got, r.Merges[name]) {
			for i := range got {
				if i >= len(r.Merges[name]) || got[i] != r.Merges[name][i] {
					t.Errorf("%s: merge %d is %q, Hugging Face's %q", name, i, got[i], r.Merges[name][min(i, len(r.Merges[name])-1)])
					break
				}
			}
		}
	}
}

func TestFilesOfHuggingFaceGiveItsIds(t *testing.T) {
	r, texts, _ := readRecorded(t)
	for name, want := range r.IDs {
		own, err := Open(filepath.Join("testdata", "tokenizer_"+name+".json"))
		if err != nil {
			t.Error(err)
			continue
		}
		if own.EOD() != 0 {
			t.Errorf("%s: end of document is %d, want 0", name, own.EOD())
		}
		for i, text := range texts {
			got := own.EncodeSpecial(nil, []byte(text))
			if !slices.Equal(got, want[i]) {
				t.Errorf("%s %q: %v, Hugging Face %v", name, text, got, want[i])
			}
			if back := string(own.Decode(nil, got)); back != text {
				t.Errorf("%s %q decodes to %q", name, text, back)
			}
		}
	}
}

func TestSavedFilesLoadWithTheSameIds(t *testing.T) {
	_, texts, corpus := readRecorded(t)
	own := map[string]*BPE{
		"gpt2 pattern":   trained(t, TrainOptions{VocabSize: 400}, corpus),
		"cl100k pattern": trained(t, TrainOptions{VocabSize: 400, Pattern: PatternCL100K, SpecialTokens: []string{"<s>", "<|endoftext|>"}}, corpus),
	}
	for name, v := range builtins(t) {
		own[name] = v.own
	}
	llama, err := Open("testdata/tokenizer_llama3.json")
	if err != nil {
		t.Fatal(err)
	}
	own["read from a file"] = llama
	for name, tok := range own {
		dir := t.TempDir()
		if err := tok.Save(dir); err != nil {
			t.Fatal(err)
		}
		specs := []string{dir, filepath.Join(dir, "tokenizer.json")}
		if exists(filepath.Join(dir, "vocab.json")) {
			specs = append(specs, filepath.Join(dir, "vocab.json"), filepath.Join(dir, "merges.txt"))
		}
		if (len(specs) == 4) != (name == "gpt2" || name == "gpt2 pattern") {
			t.Errorf("%s: vocab.json, whose format knows GPT-2's pattern only: %v", name, specs)
		}
		for _, spec := range specs {
			again, err := Open(spec)
			if err != nil {
				t.Error(err)
				continue
			}
			if again.VocabSize() != tok.VocabSize() || again.EOD() != tok.EOD() {
				t.Errorf("%s: %d ids and end of document %d became %d and %d", name, tok.VocabSize(), tok.EOD(), again.VocabSize(), again.EOD())
			}
			for _, text := range append(texts, zoo...) {
				if got, want := again.EncodeSpecial(nil, []byte(text)), tok.EncodeSpecial(nil, []byte(text)); !slices.Equal(got, want) {
					t.Errorf("%s by %s, %q: %v, before saving %v", name, filepath.Base(spec), text, got, want)
				}
			}
		}
	}
}

func TestTrainingDoesNotDependOnTheWorkers(t *testing.T) {
	text := goText(t, 3<<20)
	var want [][2]int32
	for _, c := range []struct {
		workers int
		memory  int64
	}{{1, 1 << 20}, {2, 1 << 20}, {5, 1 << 20}} { // a table so small that words are dropped
		trainer, err := NewTrainer(TrainOptions{VocabSize: 600, Workers: c.workers, MemoryBytes: c.memory})
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(text); i += 70001 { // several blocks
			for range 4 {
				trainer.Add(text[i:min(i+70001, len(text))])
			}
		}
		own, err := trainer.Finish(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if trainer.words.bytes > c.memory {
			t.Errorf("the table of words takes %d bytes of %d", trainer.words.bytes, c.memory)
		}
		if want == nil {
			want = own.merges
		}
		if !slices.Equal(own.merges, want) {
			t.Errorf("%d workers learn other merges than 1", c.workers)
		}
	}
}

func TestTrainerSaysWhatIsWrong(t *testing.T) {
	if _, err := NewTrainer(TrainOptions{VocabSize: 256}); err == nil || !strings.Contains(err.Error(), "too small") {
		t.Errorf("a vocabulary of 256: %v", err)
	}
	if _, err := NewTrainer(TrainOptions{VocabSize: 500, Pattern: "x+"}); err == nil || !strings.Contains(err.Error(), "pattern") {
		t.Errorf("an unknown pattern: %v", err)
	}
	trainer, _ := NewTrainer(TrainOptions{VocabSize: 500})
	trainer.Add([]byte("abab abab"))
	if _, err := trainer.Finish(context.Background()); err == nil || !strings.Contains(err.Error(), "use more text or a vocabulary of 259") {
		t.Errorf("too little text: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	trainer, _ = NewTrainer(TrainOptions{VocabSize: 258})
	trainer.Add([]byte("abab abab"))
	if _, err := trainer.Finish(ctx); err == nil {
		t.Error("a cancelled training ended well")
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	good, err := os.ReadFile("testdata/tokenizer_gpt2.json")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	changed := func(from, to string) string {
		if !strings.Contains(string(good), from) {
			t.Fatalf("the recorded file has no %s", from)
		}
		return strings.Replace(string(good), from, to, 1)
	}
	folder := filepath.Dir(file("qwen/vocab.json", "{}"))
	file("qwen/merges.txt", "")
	file("qwen/tokenizer_config.json", `{"tokenizer_class": "Qwen2Tokenizer"}`)
	file("odd/vocab.json", `{"a": 0}`)
	file("odd/merges.txt", "#version: 0.2\nab\n")
	for _, c := range []struct{ spec, want string }{
		{"", "no tokenizer given"},
		{filepath.Join(dir, "nowhere"), "no such file or folder"},
		{t.TempDir(), "neither tokenizer.json nor vocab.json"},
		{folder, "Qwen2Tokenizer"},
		{filepath.Join(dir, "odd", "merges.txt"), "merges.txt:2"},
		{file("a.json", "text"), "not a tokenizer.json"},
		{file("b.json", "{}"), "it has no model"},
		{file("c.json", string(good[:len(good)/2])), "not a tokenizer.json"},
		{file("d.json", changed(`"BPE"`, `"Unigram"`)), `model type "Unigram"`},
		{file("e.json", changed(`"byte_fallback":false`, `"byte_fallback":true`)), "byte_fallback"},
		{file("f.json", changed(`"normalizer":null`, `"normalizer":{"type":"Lowercase"}`)), `normalizer "Lowercase"`},
		{file("g.json", changed(`"type":"ByteLevel"`, `"type":"Metaspace"`)), `pre_tokenizer "Metaspace"`},
		{file("h.json", changed(`"add_prefix_space":false`, `"add_prefix_space":true`)), "add_prefix_space"},
		{file("i.json", changed(`"Q":49`, `"QQQQ":49`)), "no token for the byte 0x51"},
		{file("j.json", changed(`"a":65`, `"a":66`)), "two tokens have id 66"},
		{file("k.json", changed(`"a":65`, `"a":2000000000`)), "far outside"},
		{file("l.json", changed(`"merges":[[`, `"merges":[["zzz","q"],[`)), "not in the vocabulary"},
		{file("m.json", changed(`"merges":[[`, `"merges":["ab",[`)), `merge "ab" is not two tokens`},
	} {
		tok, err := Open(c.spec)
		if err == nil || tok != nil && err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want one line with %q", c.spec, err, c.want)
		}
	}
}
