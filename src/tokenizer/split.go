package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// The patterns that are written by hand, as their sources spell them.
const (
	// PatternGPT2 is the split pattern of GPT-2 (encoder.py of its release).
	PatternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	// PatternCL100K is the split pattern of cl100k_base, GPT-4's vocabulary, and of Llama 3.
	PatternCL100K = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	// patternQwen2 is cl100k's with single digits.
	patternQwen2 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// splitter cuts text into pieces that lie back to back: it appends the end of each piece to ends and returns it. Text is
// shorter than 2 GiB. Bytes that are not UTF-8 count as U+FFFD, one each.
type splitter interface {
	cut(ends []int32, text []byte) []int32
}

// handSplit is a pattern written by hand. Such a pattern always cuts where safeAt says, and what lies on one side of such a
// place has no influence on the other.
type handSplit struct {
	next func(text []byte, pos int) int // the end of the piece that begins at pos
}

func (h handSplit) cut(ends []int32, text []byte) []int32 {
	for pos := 0; pos < len(text); {
		pos = h.next(text, pos)
		ends = append(ends, int32(pos))
	}
	return ends
}

// knownSplit finds the hand-written form of a pattern, by its spelling.
func knownSplit(pattern string) (handSplit, bool) {
	switch pattern {
	case PatternGPT2:
		return handSplit{nextGPT2}, true
	case PatternCL100K:
		return handSplit{func(text []byte, pos int) int { return nextCL100K(text, pos, 3) }}, true
	case patternQwen2:
		return handSplit{func(text []byte, pos int) int { return nextCL100K(text, pos, 1) }}, true
	}
	return handSplit{}, false
}

// class is what the patterns ask of a character.
type class uint8

const (
	other  class = iota // [^\s\p{L}\p{N}]
	letter              // \p{L}
	number              // \p{N}
	blank               // \s but not a line end
	eol                 // [\r\n]
)

func (c class) space() bool { return c >= blank }

// asciiClass holds the class of each byte below 0x80; entries above are not used.
var asciiClass = func() (table [256]class) {
	for r := range rune(utf8.RuneSelf) {
		table[r] = classOf(r)
	}
	return table
}()

func classOf(r rune) class {
	switch {
	case r == '\r' || r == '\n':
		return eol
	case unicode.IsSpace(r):
		return blank
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	}
	return other
}

// at is the class and the length in bytes of the character at pos.
func at(text []byte, pos int) (class, int) {
	if c := text[pos]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, size := utf8.DecodeRune(text[pos:])
	return classOf(r), size
}

// run is the end of the longest run of characters of class c that begins at pos.
func run(text []byte, pos int, c class) int {
	for pos < len(text) {
		if b := text[pos]; b < utf8.RuneSelf {
			if asciiClass[b] != c {
				return pos
			}
			pos++
			continue
		}
		r, size := utf8.DecodeRune(text[pos:])
		if classOf(r) != c {
			return pos
		}
		pos += size
	}
	return pos
}

// nextGPT2 is PatternGPT2.
func nextGPT2(text []byte, pos int) int {
	if text[pos] == '\'' {
		if n := contraction(text[pos+1:]); n > 0 {
			return pos + 1 + n
		}
	}
	c, size := at(text, pos)
	if text[pos] == ' ' && pos+1 < len(text) {
		if after, n := at(text, pos+1); !after.space() {
			return run(text, pos+1+n, after)
		}
	}
	if !c.space() {
		return run(text, pos+size, c)
	}
	end, _, last := spaces(text, pos)
	return beforeLast(text, pos, end, last)
}

// nextCL100K is PatternCL100K, with numbers of at most digits characters.
func nextCL100K(text []byte, pos, digits int) int {
	if text[pos] == '\'' {
		if n := foldedContraction(text[pos+1:]); n > 0 {
			return pos + 1 + n
		}
	}
	c, size := at(text, pos)
	switch c {
	case letter:
		return run(text, pos+size, letter)
	case number:
		pos += size
		for i := 1; i < digits && pos < len(text); i++ {
			if c, size = at(text, pos); c != number {
				break
			}
			pos += size
		}
		return pos
	case other, blank:
		if pos+size < len(text) {
			after, n := at(text, pos+size)
			if after == letter {
				return run(text, pos+size+n, letter)
			}
			if text[pos] == ' ' && after == other {
				return run(text, run(text, pos+size+n, other), eol)
			}
		}
		if c == other {
			return run(text, run(text, pos+size, other), eol)
		}
	}
	end, line, last := spaces(text, pos)
	if line > 0 { // \s*[\r\n]+
		return line
	}
	return beforeLast(text, pos, end, last)
}

// spaces reads the run of white space that begins at pos: its end, the end of its last \r or \n (0 without one) and the
// begin of its last character.
func spaces(text []byte, pos int) (end, line, last int) {
	for last = pos; pos < len(text); {
		c, size := at(text, pos)
		if !c.space() {
			break
		}
		last = pos
		pos += size
		if c == eol {
			line = pos
		}
	}
	return pos, line, last
}

// beforeLast is \s+(?!\S)|\s+ on the run of white space [pos, end): all of it at the end of the text, otherwise all but the
// last character, which the next piece may want; a single character whole.
func beforeLast(text []byte, pos, end, last int) int {
	if end == len(text) || last == pos {
		return end
	}
	return last
}

// contraction is the length of s, t, re, ve, m, ll or d at the begin of text; 0 without one.
func contraction(text []byte) int {
	if len(text) == 0 {
		return 0
	}
	switch text[0] {
	case 's', 't', 'm', 'd':
		return 1
	case 'r', 'v':
		if len(text) > 1 && text[1] == 'e' {
			return 2
		}
	case 'l':
		if len(text) > 1 && text[1] == 'l' {
			return 2
		}
	}
	return 0
}

// longS folds to s in Unicode: U+017F.
const longS = "\u017f"

// foldedContraction is contraction without regard to case.
func foldedContraction(text []byte) int {
	if len(text) >= len(longS) && string(text[:len(longS)]) == longS {
		return len(longS)
	}
	var low [2]byte
	n := copy(low[:], text)
	for i, b := range low {
		if 'A' <= b && b <= 'Z' {
			low[i] = b | 0x20
		}
	}
	return contraction(low[:n])
}
