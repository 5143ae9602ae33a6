package tokenizer

import (
	"cmp"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is matched in the text itself, before it is split. A special one (end of document, roles of
// a chat) is matched only on request; another (runs of blanks in GPT-NeoX's vocabulary) always.
type addedToken struct {
	id      int32
	text    string
	special bool
	lstrip  bool // takes the white space before it too
	rstrip  bool // and after it
}

// addedTokens are the added tokens of a vocabulary.
type addedTokens struct {
	list          []addedToken
	special       map[int32]bool
	ordinary, all *addedMatcher
}

func newAddedTokens(list []addedToken) addedTokens {
	a := addedTokens{list: list, special: map[int32]bool{}}
	var ordinary []addedToken
	for _, t := range list {
		if t.special {
			a.special[t.id] = true
		} else {
			ordinary = append(ordinary, t)
		}
	}
	a.ordinary, a.all = newAddedMatcher(ordinary), newAddedMatcher(list)
	return a
}

func (a *addedTokens) isSpecial(id int32) bool { return a.special[id] }

// addedMatcher finds added tokens: the leftmost, and among those that begin at one place the longest.
type addedMatcher struct {
	first [256][]addedToken // by first byte, longest first
	some  bool
}

func newAddedMatcher(list []addedToken) *addedMatcher {
	m := new(addedMatcher)
	for _, t := range list {
		if t.text != "" {
			m.first[t.text[0]] = append(m.first[t.text[0]], t)
			m.some = true
		}
	}
	for _, same := range m.first {
		slices.SortStableFunc(same, func(a, b addedToken) int { return cmp.Compare(len(b.text), len(a.text)) })
	}
	return m
}

// find gives the place [begin, end) and the id of the next added token; begin = end = len(text) and id -1 when there is
// none. A nil matcher finds none.
func (m *addedMatcher) find(text []byte) (begin, end int, id int32) {
	if m == nil || !m.some {
		return len(text), len(text), -1
	}
	for i, b := range text {
		for _, t := range m.first[b] {
			if len(text)-i < len(t.text) || string(text[i:i+len(t.text)]) != t.text {
				continue
			}
			begin, end = i, i+len(t.text)
			for t.lstrip && begin > 0 {
				r, n := utf8.DecodeLastRune(text[:begin])
				if !unicode.IsSpace(r) {
					break
				}
				begin -= n
			}
			for t.rstrip && end < len(text) {
				r, n := utf8.DecodeRune(text[end:])
				if !unicode.IsSpace(r) {
					break
				}
				end += n
			}
			return begin, end, t.id
		}
	}
	return len(text), len(text), -1
}

// endOfDocument lists what vocabularies call the token that ends a document, the likeliest first.
var endOfDocument = []string{EndOfText, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "<|EOT|>"}

// add gives the tokenizer its added tokens and finds the end of document among them. They may replace tokens of the
// vocabulary that spell the same.
func (t *BPE) add(list []addedToken) error {
	slices.SortFunc(list, func(a, b addedToken) int { return cmp.Compare(a.id, b.id) })
	for _, a := range list {
		if a.id < 0 || int(a.id) > len(t.tokens)+maxGap {
			return fmt.Errorf("added token %q has id %d, far outside the vocabulary of %d tokens", a.text, a.id, len(t.tokens))
		}
		for int(a.id) >= len(t.tokens) {
			t.tokens = append(t.tokens, nil)
		}
		t.tokens[a.id] = []byte(a.text)
	}
	t.added = newAddedTokens(list)
	for _, name := range endOfDocument {
		if id, ok := t.SpecialID(name); ok {
			t.eod = id
			break
		}
	}
	return nil
}

// maxGap is how many ids may lie unused before an added token: a damaged file does not ask for terabytes.
const maxGap = 1 << 20
