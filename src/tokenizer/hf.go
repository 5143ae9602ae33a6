package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// hfFile is the part of a tokenizer.json that matters here.
type hfFile struct {
	AddedTokens []struct {
		ID         int32  `json:"id"`
		Content    string `json:"content"`
		SingleWord bool   `json:"single_word"`
		LStrip     bool   `json:"lstrip"`
		RStrip     bool   `json:"rstrip"`
		Special    bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer   json.RawMessage `json:"normalizer"`
	PreTokenizer json.RawMessage `json:"pre_tokenizer"`
	Model        *hfModel        `json:"model"`
}

type hfModel struct {
	Type         string           `json:"type"`
	Dropout      float64          `json:"dropout"`
	Prefix       string           `json:"continuing_subword_prefix"`
	Suffix       string           `json:"end_of_word_suffix"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int32 `json:"vocab"`
	Merges       []hfMerge        `json:"merges"`
}

// hfMerge is one merge, written "a b" or ["a", "b"].
type hfMerge [2]string

func (m *hfMerge) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		return json.Unmarshal(data, (*[2]string)(m))
	}
	var line string
	if err := json.Unmarshal(data, &line); err != nil {
		return err
	}
	left, right, ok := strings.Cut(line, " ")
	if !ok {
		return fmt.Errorf("merge %q is not two tokens with a blank between", line)
	}
	*m = hfMerge{left, right}
	return nil
}

// openJSON reads a tokenizer.json.
func openJSON(path string) (*BPE, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := parseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", path, err)
	}
	t.configuredEOD(filepath.Dir(path))
	return t, nil
}

func parseJSON(data []byte) (*BPE, error) {
	var file hfFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("not a tokenizer.json: %w", err)
	}
	if err := file.Model.check(); err != nil {
		return nil, err
	}
	split, err := parsePreTokenizer(file.PreTokenizer)
	if err != nil {
		return nil, err
	}
	nfc, err := parseNormalizer(file.Normalizer)
	if err != nil {
		return nil, err
	}
	var added []addedToken
	isAdded := map[string]bool{}
	for _, a := range file.AddedTokens {
		if a.SingleWord {
			return nil, fmt.Errorf("added token %q has single_word set, which is not supported", a.Content)
		}
		added = append(added, addedToken{a.ID, a.Content, a.Special, a.LStrip, a.RStrip})
		isAdded[a.Content] = true
	}
	t, err := fromStrings(file.Model.Vocab, file.Model.Merges, isAdded)
	if err != nil {
		return nil, err
	}
	t.split, t.nfc, t.source = split, nfc, data
	if file.Model.IgnoreMerges {
		t.whole = map[string]int32{}
		for id, token := range t.tokens {
			if token != nil {
				t.whole[string(token)] = int32(id)
			}
		}
	}
	return t, t.add(added)
}

func (m *hfModel) check() error {
	switch {
	case m == nil:
		return fmt.Errorf("not a tokenizer.json: it has no model")
	case m.Type != "" && m.Type != "BPE":
		return fmt.Errorf("model type %q is not supported; only byte-level BPE is", m.Type)
	case len(m.Vocab) == 0:
		return fmt.Errorf("the model's vocabulary is empty")
	case m.ByteFallback:
		return fmt.Errorf("a BPE with byte_fallback (SentencePiece's kind) is not supported; only byte-level BPE is")
	case m.Dropout != 0:
		return fmt.Errorf("dropout %g is not supported; want null", m.Dropout)
	case m.Prefix != "" || m.Suffix != "":
		return fmt.Errorf("continuing_subword_prefix and end_of_word_suffix are not supported; want none")
	}
	return nil
}

// fromStrings makes a tokenizer of a vocabulary in GPT-2's characters; isAdded lists the entries that are plain text.
func fromStrings(vocab map[string]int32, merges []hfMerge, isAdded map[string]bool) (*BPE, error) {
	top := int32(-1)
	for text, id := range vocab {
		if id < 0 || int(id) > 2*len(vocab)+maxGap {
			return nil, fmt.Errorf("token %q has id %d, far outside a vocabulary of %d", text, id, len(vocab))
		}
		top = max(top, id)
	}
	tokens := make([][]byte, top+1)
	for text, id := range vocab {
		token, ok := fromChars(text)
		if !ok && !isAdded[text] {
			return nil, fmt.Errorf("token %d, %q, is not written in the characters of byte-level BPE", id, text)
		}
		if tokens[id] != nil {
			return nil, fmt.Errorf("two tokens have id %d", id)
		}
		if !ok {
			token = []byte(text)
		}
		tokens[id] = token
	}
	pairs := make([][2]int32, len(merges))
	for i, m := range merges {
		left, okLeft := vocab[m[0]]
		right, okRight := vocab[m[1]]
		if !okLeft || !okRight {
			return nil, fmt.Errorf("merge %d, %q with %q: a part is not in the vocabulary", i, m[0], m[1])
		}
		pairs[i] = [2]int32{left, right}
	}
	return newBPE(tokens, pairs, "")
}

// openGPT2Files reads vocab.json and merges.txt of a folder, in GPT-2's format and with its split pattern.
func openGPT2Files(dir string) (*BPE, error) {
	if err := checkGPT2Class(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "vocab.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	var vocab map[string]int32
	if err := json.Unmarshal(data, &vocab); err != nil {
		return nil, fmt.Errorf("tokenizer %s: not a JSON object of tokens and ids: %w", path, err)
	}
	merges, err := readMerges(filepath.Join(dir, "merges.txt"))
	if err != nil {
		return nil, err
	}
	t, err := fromStrings(vocab, merges, nil)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", path, err)
	}
	t.pattern = PatternGPT2
	t.split, _ = knownSplit(PatternGPT2)
	var added []addedToken
	if id, ok := vocab[EndOfText]; ok {
		added = append(added, addedToken{id: id, text: EndOfText, special: true})
	}
	return t, t.add(added)
}

// readMerges reads merges.txt: an optional line "#version: ...", then a merge a line.
func readMerges(path string) ([]hfMerge, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	var merges []hfMerge
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || number == 1 && strings.HasPrefix(line, "#version") {
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || strings.Contains(right, " ") {
			return nil, fmt.Errorf("tokenizer %s:%d: %q is not two tokens with a blank between", path, number, line)
		}
		merges = append(merges, hfMerge{left, right})
	}
	return merges, nil
}

// tokenizerConfig is what is read of a tokenizer_config.json.
type tokenizerConfig struct {
	Class string          `json:"tokenizer_class"`
	EOS   json.RawMessage `json:"eos_token"`
}

func readTokenizerConfig(dir string) (c tokenizerConfig) {
	if data, err := os.ReadFile(filepath.Join(dir, "tokenizer_config.json")); err == nil {
		_ = json.Unmarshal(data, &c) // it only adds names; a folder without a sound one is complete too
	}
	return c
}

// checkGPT2Class refuses a vocab.json of a family with another split pattern: its ids would be wrong without a word.
func checkGPT2Class(dir string) error {
	switch class := readTokenizerConfig(dir).Class; class {
	case "", "GPT2Tokenizer", "GPT2TokenizerFast":
		return nil
	default:
		return fmt.Errorf("tokenizer %s: tokenizer_config.json says %s, whose split pattern vocab.json and merges.txt do not tell; "+
			"want a tokenizer.json", dir, class)
	}
}

// configuredEOD takes the end of document from tokenizer_config.json's eos_token, a text or an object with content, when
// the folder has that file.
func (t *BPE) configuredEOD(dir string) {
	eos := readTokenizerConfig(dir).EOS
	var text string
	if json.Unmarshal(eos, &text) != nil {
		var object struct {
			Content string `json:"content"`
		}
		if json.Unmarshal(eos, &object) != nil {
			return
		}
		text = object.Content
	}
	if id, ok := t.SpecialID(text); ok {
		t.eod = id
	}
}

// parseNormalizer accepts none and NFC.
func parseNormalizer(raw json.RawMessage) (nfc bool, err error) {
	if absent(raw) {
		return false, nil
	}
	var n struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &n); err != nil {
		return false, fmt.Errorf("normalizer: %w", err)
	}
	if n.Type != "NFC" {
		return false, fmt.Errorf("normalizer %q is not supported; want null or NFC", n.Type)
	}
	return true, nil
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || bytes.Equal(raw, []byte("null")) }
