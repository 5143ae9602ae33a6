package tokenizer

import (
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// hfPreTokenizer is the pre_tokenizer of a tokenizer.json, of the types that byte-level vocabularies use.
type hfPreTokenizer struct {
	Type           string            `json:"type"`
	PreTokenizers  []json.RawMessage `json:"pretokenizers"`     // Sequence
	AddPrefixSpace bool              `json:"add_prefix_space"`  // ByteLevel
	UseRegex       *bool             `json:"use_regex"`         // ByteLevel, default true
	Individual     bool              `json:"individual_digits"` // Digits
	Pattern        struct {
		Regex  *string `json:"Regex"`
		String *string `json:"String"`
	} `json:"pattern"` // Split
	Behavior string `json:"behavior"`
	Invert   bool   `json:"invert"`
}

// parsePreTokenizer gives the splitter of a pre_tokenizer: nil when the text is one piece.
func parsePreTokenizer(raw json.RawMessage) (splitter, error) {
	steps, err := preTokenizerSteps(nil, raw)
	if err != nil {
		return nil, err
	}
	switch len(steps) {
	case 0:
		return nil, nil
	case 1:
		return steps[0], nil
	}
	return chainSplit(steps), nil
}

func preTokenizerSteps(steps []splitter, raw json.RawMessage) ([]splitter, error) {
	if absent(raw) {
		return nil, fmt.Errorf("pre_tokenizer is missing; a byte-level BPE has ByteLevel there")
	}
	var p hfPreTokenizer
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	switch p.Type {
	case "Sequence":
		for _, part := range p.PreTokenizers {
			var err error
			if steps, err = preTokenizerSteps(steps, part); err != nil {
				return nil, err
			}
		}
		return steps, nil
	case "ByteLevel":
		if p.AddPrefixSpace {
			return nil, fmt.Errorf("pre_tokenizer ByteLevel with add_prefix_space is not supported; want false")
		}
		if p.UseRegex == nil || *p.UseRegex {
			hand, _ := knownSplit(PatternGPT2)
			steps = append(steps, hand)
		}
		return steps, nil
	case "Digits":
		return append(steps, digitSplit{p.Individual}), nil
	case "Split":
		s, err := p.split()
		return append(steps, s), err
	}
	return nil, fmt.Errorf("pre_tokenizer %q is not supported; want ByteLevel, Split, Digits or a Sequence of them", p.Type)
}

// split is the splitter of a step of type Split.
func (p *hfPreTokenizer) split() (splitter, error) {
	if p.Pattern.Regex == nil {
		return nil, fmt.Errorf("pre_tokenizer Split: pattern has no Regex, which is the only kind supported")
	}
	pattern := *p.Pattern.Regex
	hand, known := knownSplit(pattern)
	// "Removed, inverted" drops what the pattern does not match. The known patterns match everything.
	if p.Behavior != "Isolated" && !(known && p.Invert && p.Behavior == "Removed") || p.Behavior == "Isolated" && p.Invert {
		return nil, fmt.Errorf("pre_tokenizer Split: behavior %q with invert %t is not supported; want Isolated, false", p.Behavior, p.Invert)
	}
	if known {
		return hand, nil
	}
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer Split: pattern %q: %w", pattern, err)
	}
	return regexSplit{re}, nil
}

// chainSplit cuts by the first splitter, its pieces by the second, and so on.
type chainSplit []splitter

func (c chainSplit) cut(ends []int32, text []byte) []int32 {
	return c.cutFrom(0, ends, text, 0)
}

func (c chainSplit) cutFrom(step int, ends []int32, text []byte, base int32) []int32 {
	begin := int32(0)
	for _, end := range c[step].cut(nil, text) {
		if step+1 < len(c) {
			ends = c.cutFrom(step+1, ends, text[begin:end], base+begin)
		} else {
			ends = append(ends, base+end)
		}
		begin = end
	}
	return ends
}

// digitSplit isolates numbers (Unicode's category N): each run of them, or each one.
type digitSplit struct{ individual bool }

func (d digitSplit) cut(ends []int32, text []byte) []int32 {
	was := false
	for pos := 0; pos < len(text); {
		r, size := utf8.DecodeRune(text[pos:])
		is := unicode.IsNumber(r)
		if pos > 0 && (is != was || is && d.individual) {
			ends = append(ends, int32(pos))
		}
		was = is
		pos += size
	}
	if len(text) > 0 {
		ends = append(ends, int32(len(text)))
	}
	return ends
}

// regexSplit is any other pattern: matches are pieces, and so is what lies between them.
type regexSplit struct{ re *regexp2.Regexp }

func (s regexSplit) cut(ends []int32, text []byte) []int32 {
	runes := make([]rune, 0, len(text))
	offsets := make([]int32, 0, len(text)+1) // of each rune, in bytes
	for pos := 0; pos < len(text); {
		r, size := utf8.DecodeRune(text[pos:])
		runes, offsets = append(runes, r), append(offsets, int32(pos))
		pos += size
	}
	offsets = append(offsets, int32(len(text)))
	done := 0
	match, err := s.re.FindRunesMatch(runes)
	for ; err == nil && match != nil; match, err = s.re.FindNextMatch(match) {
		if match.RuneLength == 0 {
			continue
		}
		if match.RuneIndex > done {
			ends = append(ends, offsets[match.RuneIndex])
		}
		done = match.RuneIndex + match.RuneLength
		ends = append(ends, offsets[done])
	}
	if done < len(runes) { // what follows the last match; all of the text if the engine gave up, which needs a time limit
		ends = append(ends, int32(len(text)))
	}
	return ends
}
