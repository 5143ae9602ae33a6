package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Open finds a tokenizer: "gpt2", "cl100k_base" or "bytes" (built in), a tokenizer.json of Hugging Face, a vocab.json or
// merges.txt of GPT-2 (the other file lies beside it), or a folder that holds such files.
func Open(spec string) (*BPE, error) {
	switch spec {
	case "":
		return nil, errors.New("no tokenizer given; want gpt2, cl100k_base, a tokenizer.json or a folder that holds one")
	case "gpt2":
		return GPT2()
	case "cl100k_base":
		return CL100K()
	case "bytes":
		return Bytes(), nil
	}
	info, err := os.Stat(spec)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("tokenizer %s: no such file or folder; want gpt2, cl100k_base, a tokenizer.json or a folder that holds one", spec)
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if info.IsDir() {
		return openFolder(spec)
	}
	switch filepath.Base(spec) {
	case "vocab.json", "merges.txt":
		return openGPT2Files(filepath.Dir(spec))
	}
	return openJSON(spec)
}

func openFolder(dir string) (*BPE, error) {
	if exists(filepath.Join(dir, "tokenizer.json")) {
		return openJSON(filepath.Join(dir, "tokenizer.json"))
	}
	if exists(filepath.Join(dir, "vocab.json")) && exists(filepath.Join(dir, "merges.txt")) {
		return openGPT2Files(dir)
	}
	return nil, fmt.Errorf("tokenizer %s: the folder has neither tokenizer.json nor vocab.json with merges.txt", dir)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
