package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Save writes tokenizer.json and tokenizer_config.json into the folder dir, and for a vocabulary with GPT-2's split pattern
// also vocab.json and merges.txt, whose format knows no other pattern. A tokenizer.json that was read is written unchanged.
func (t *BPE) Save(dir string) error {
	files := map[string][]byte{"tokenizer_config.json": t.configJSON()}
	if t.source != nil {
		files["tokenizer.json"] = t.source
	} else {
		files["tokenizer.json"] = t.tokenizerJSON()
	}
	if t.pattern == PatternGPT2 {
		files["vocab.json"] = append(t.vocabJSON(nil, ""), '\n')
		files["merges.txt"] = t.mergesTXT()
	}
	for name, data := range files {
		if err := renameio.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("save tokenizer: %w", err)
		}
	}
	return nil
}

// quote writes a JSON string without escaping < and >, so that "<|endoftext|>" stays readable.
func quote(dst []byte, s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string always has a JSON form
	}
	return append(dst, bytes.TrimRight(b.Bytes(), "\n")...)
}

// chars is a token as the files write it: a special one as its text.
func (t *BPE) chars(id int32) string {
	for _, a := range t.added.list {
		if a.id == id {
			return a.text
		}
	}
	return toChars(t.tokens[id])
}

// vocabJSON appends the object of tokens and ids in the order of ids.
func (t *BPE) vocabJSON(dst []byte, indent string) []byte {
	dst = append(dst, '{')
	first := true
	for id, token := range t.tokens {
		if token == nil {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(append(dst, '\n'), indent...)
		dst = fmt.Appendf(append(quote(append(dst, "  "...), t.chars(int32(id))), ": "...), "%d", id)
	}
	return append(append(append(dst, '\n'), indent...), '}')
}

func (t *BPE) mergesTXT() []byte {
	out := []byte("#version: 0.2\n")
	for _, m := range t.merges {
		out = fmt.Appendf(out, "%s %s\n", t.chars(m[0]), t.chars(m[1]))
	}
	return out
}

const byteLevelJSON = `{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": %t}`

func (t *BPE) tokenizerJSON() []byte {
	out := []byte("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [")
	for i, a := range t.added.list {
		if i > 0 {
			out = append(out, ',')
		}
		out = quote(fmt.Appendf(out, "\n    {\"id\": %d, \"content\": ", a.id), a.text)
		out = fmt.Appendf(out, ", \"single_word\": false, \"lstrip\": %t, \"rstrip\": %t, \"normalized\": false, \"special\": %t}",
			a.lstrip, a.rstrip, a.special)
	}
	out = append(out, "\n  ],\n  \"normalizer\": null,\n  \"pre_tokenizer\": "...)
	if t.pattern == PatternGPT2 {
		out = fmt.Appendf(out, byteLevelJSON, true)
	} else {
		out = quote(append(out, `{"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": `...), t.pattern)
		out = fmt.Appendf(append(out, `}, "behavior": "Isolated", "invert": false}, `...), byteLevelJSON+"]}", false)
	}
	out = append(out, ",\n  \"post_processor\": null,\n  \"decoder\": "...)
	out = fmt.Appendf(out, byteLevelJSON, true)
	out = append(out, ",\n  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"+
		"    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"+
		"    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n    \"vocab\": "...)
	out = append(t.vocabJSON(out, "    "), ",\n    \"merges\": ["...)
	for i, m := range t.merges {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(quote(append(out, "\n      ["...), t.chars(m[0])), ", "...)
		out = append(quote(out, t.chars(m[1])), ']')
	}
	return append(out, "\n    ]\n  }\n}\n"...)
}

// configJSON is tokenizer_config.json. transformers would take model_max_length from the vocabulary's name; it is the
// model's to say.
func (t *BPE) configJSON() []byte {
	class := "PreTrainedTokenizerFast"
	if t.pattern == PatternGPT2 {
		class = "GPT2Tokenizer"
	}
	out := fmt.Appendf(nil, "{\n  \"tokenizer_class\": %q,\n  \"clean_up_tokenization_spaces\": false,\n  \"add_prefix_space\": false", class)
	if t.eod >= 0 {
		eod := quote(nil, string(t.tokens[t.eod]))
		out = fmt.Appendf(out, ",\n  \"bos_token\": %s,\n  \"eos_token\": %s,\n  \"unk_token\": %s", eod, eod, eod)
	}
	return append(out, "\n}\n"...)
}
