package tokenizer

import (
	"fmt"
	"runtime"
	"sync"
)

// BPE is a byte-level BPE tokenizer. It is immutable once made; all methods may be called by several goroutines at once.
type BPE struct {
	tokens  [][]byte   // bytes of each id; nil where no token has it
	byteIDs [256]int32 // id of each single byte
	merges  [][2]int32 // in the order of their ranks
	pairs   *pairTable
	whole   map[string]int32 // when set, a piece that is a token is taken as it is, before merging (ignore_merges)
	split   splitter         // nil: the text is one piece
	pattern string           // what split does, for Save; empty when the source file is kept
	added   addedTokens
	eod     int32
	nfc     bool   // normalise to NFC before encoding
	source  []byte // the tokenizer.json this came from, which Save writes again; nil for others

	mu     sync.Mutex
	idle   []*encoder // scratch with warm caches, at most one a processor
	wanted int
}

// newBPE completes a tokenizer from its tokens and its merges, which are pairs of ids in the order of their ranks.
func newBPE(tokens [][]byte, merges [][2]int32, pattern string) (*BPE, error) {
	t := &BPE{tokens: tokens, merges: merges, pattern: pattern, eod: -1, wanted: runtime.GOMAXPROCS(0)}
	ids := make(map[string]int32, len(tokens))
	for id, token := range tokens {
		if token != nil {
			ids[string(token)] = int32(id)
		}
	}
	for b := range 256 {
		id, ok := ids[string([]byte{byte(b)})]
		if !ok {
			return nil, fmt.Errorf("the vocabulary has no token for the byte 0x%02X; a byte-level vocabulary has all 256", b)
		}
		t.byteIDs[b] = id
	}
	t.pairs = newPairTable(len(merges))
	var joined []byte
	for rank, m := range merges {
		joined = append(append(joined[:0], tokens[m[0]]...), tokens[m[1]]...)
		id, ok := ids[string(joined)]
		if !ok {
			return nil, fmt.Errorf("merge %d makes %q, which is not in the vocabulary", rank, joined)
		}
		t.pairs.add(m[0], m[1], int32(rank), id)
	}
	if pattern != "" {
		hand, ok := knownSplit(pattern)
		if !ok {
			return nil, fmt.Errorf("unknown split pattern %q; the ones that need no file are tokenizer.PatternGPT2 and PatternCL100K", pattern)
		}
		t.split = hand
	}
	return t, nil
}

// VocabSize is the largest id + 1, special tokens included.
func (t *BPE) VocabSize() int { return len(t.tokens) }

// EOD is the id of the end-of-document token, or -1.
func (t *BPE) EOD() int32 { return t.eod }

// Token is the bytes of a token, nil for an id that no token has. The caller does not change them.
func (t *BPE) Token(id int32) []byte {
	if id < 0 || int(id) >= len(t.tokens) {
		return nil
	}
	return t.tokens[id]
}

// SpecialID is the id of a special token by the text that spells it.
func (t *BPE) SpecialID(text string) (id int32, ok bool) {
	for _, a := range t.added.list {
		if a.special && a.text == text {
			return a.id, true
		}
	}
	return 0, false
}

var unknownToken = []byte("\uFFFD")

// Decode appends the bytes of ids to dst.
func (t *BPE) Decode(dst []byte, ids []int32) []byte {
	for _, id := range ids {
		if token := t.Token(id); token != nil {
			dst = append(dst, token...)
		} else {
			dst = append(dst, unknownToken...)
		}
	}
	return dst
}

// DecodeOrdinary is Decode without the special tokens.
func (t *BPE) DecodeOrdinary(dst []byte, ids []int32) []byte {
	for i, id := range ids {
		if !t.added.isSpecial(id) {
			dst = t.Decode(dst, ids[i:i+1])
		}
	}
	return dst
}

// Encode appends the ids of text to dst; special tokens are ordinary text.
func (t *BPE) Encode(dst []int32, text []byte) []int32 { return t.encode(dst, text, t.added.ordinary) }

// EncodeSpecial appends the ids of text to dst; text that spells a special token becomes it.
func (t *BPE) EncodeSpecial(dst []int32, text []byte) []int32 {
	return t.encode(dst, text, t.added.all)
}

func (t *BPE) encode(dst []int32, text []byte, added *addedMatcher) []int32 {
	e := t.take()
	defer t.give(e)
	for len(text) > 0 {
		begin, end, id := added.find(text)
		if begin > 0 {
			dst = t.encodeText(e, dst, text[:begin])
		}
		if id >= 0 {
			dst = append(dst, id)
		}
		text = text[end:]
	}
	return dst
}

// blockBytes is how much text is split at a time, so that the list of pieces stays in the cache.
const blockBytes = 64 << 10

// maxSplit is the most text that one call of a splitter gets.
const maxSplit = 1 << 30

// encodeText encodes text without added tokens.
func (t *BPE) encodeText(e *encoder, dst []int32, text []byte) []int32 {
	if t.nfc {
		text = normalise(text)
	}
	_, hand := t.split.(handSplit)
	for len(text) > 0 {
		n := len(text)
		if hand && n > blockBytes {
			n = blockEnd(text)
		}
		n = min(n, maxSplit)
		dst = t.encodeBlock(e, dst, text[:n])
		text = text[n:]
	}
	return dst
}

func (t *BPE) encodeBlock(e *encoder, dst []int32, text []byte) []int32 {
	if t.split == nil {
		return t.encodePiece(e, dst, text)
	}
	e.ends = t.split.cut(e.ends[:0], text)
	begin := int32(0)
	for _, end := range e.ends {
		dst = t.encodePiece(e, dst, text[begin:end])
		begin = end
	}
	return dst
}

// encoder is the scratch of one call of Encode.
type encoder struct {
	ends  []int32
	ids   []int32
	merge merger
	cache *wordCache
}

func (t *BPE) encodePiece(e *encoder, dst []int32, piece []byte) []int32 {
	switch n := len(piece); {
	case n == 0:
		return dst
	case n == 1:
		return append(dst, t.byteIDs[piece[0]])
	case n > cachedBytes:
		return append(dst, t.mergePiece(e, piece)...)
	}
	lo, hi := key(piece)
	c := e.cache.entry(lo, hi, len(piece))
	if c.lo == lo && c.hi == hi && int(c.length) == len(piece) {
		return append(dst, c.ids[:c.n]...)
	}
	ids := t.mergePiece(e, piece)
	if len(ids) <= cachedIDs {
		c.lo, c.hi, c.length, c.n = lo, hi, uint8(len(piece)), uint8(len(ids))
		copy(c.ids[:], ids)
	}
	return append(dst, ids...)
}

// mergePiece gives the ids of one piece; they are valid until the next call.
func (t *BPE) mergePiece(e *encoder, piece []byte) []int32 {
	e.ids = e.ids[:0]
	if t.whole != nil {
		if id, ok := t.whole[string(piece)]; ok {
			e.ids = append(e.ids, id)
			return e.ids
		}
	}
	for _, b := range piece {
		e.ids = append(e.ids, t.byteIDs[b])
	}
	return e.merge.merge(e.ids, t.pairs)
}

// keptScratch is the most scratch, in ids, that outlives a call: one huge document does not hold memory for ever.
const keptScratch = 1 << 20

func (t *BPE) take() *encoder {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.idle); n > 0 {
		e := t.idle[n-1]
		t.idle = t.idle[:n-1]
		return e
	}
	return &encoder{cache: new(wordCache)}
}

func (t *BPE) give(e *encoder) {
	if cap(e.ends)+cap(e.ids)+cap(e.merge.heap) > keptScratch {
		*e = encoder{cache: e.cache}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) < t.wanted {
		t.idle = append(t.idle, e)
	}
}
