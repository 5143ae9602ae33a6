package tokenizer

import "unicode/utf8"

// safeAt says whether the patterns written by hand cut at pos whatever lies further off: before a blank or a tab that
// follows a character that is not white space, and between two such characters behind a single newline. (Behind several,
// GPT-2's pattern looks at what follows them: the last one stands alone only before a word.)
func safeAt(text []byte, pos int) bool {
	if pos <= 0 || pos >= len(text) {
		return false
	}
	switch {
	case text[pos] == ' ' || text[pos] == '\t':
		return !spaceBefore(text, pos)
	case text[pos-1] == '\n':
		c, _ := at(text, pos)
		return pos > 1 && !c.space() && !spaceBefore(text, pos-1)
	}
	return false
}

func spaceBefore(text []byte, pos int) bool {
	r, _ := utf8.DecodeLastRune(text[:pos])
	return classOf(r).space()
}

// blockEnd is the first safe place at or after blockBytes, or the end.
func blockEnd(text []byte) int {
	for pos := blockBytes; pos < len(text); pos++ {
		if safeAt(text, pos) {
			return pos
		}
	}
	return len(text)
}

// SafeCut is the last place in text where it may be cut in two so that the parts encode as the whole does, with the
// patterns of GPT-2 and cl100k; 0 when there is none.
func SafeCut(text []byte) int {
	for pos := len(text) - 1; pos > 0; pos-- {
		if safeAt(text, pos) {
			return pos
		}
	}
	return 0
}
