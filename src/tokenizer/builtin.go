package tokenizer

import (
	"fmt"

	"github.com/tiktoken-go/tokenizer/codec"
)

// GPT2 is GPT-2's vocabulary: 50,257 ids, the last of them <|endoftext|>.
func GPT2() (*BPE, error) {
	return fromRanks(codec.NewR50kBase(), 50256, PatternGPT2, map[string]int32{EndOfText: 50256})
}

// CL100K is GPT-4's vocabulary, cl100k_base: 100,256 tokens, then the special tokens with their published ids, 100,277 ids
// in all. <|endoftext|> is 100257; ids 100256 and 100261 to 100275 are not used.
func CL100K() (*BPE, error) {
	return fromRanks(codec.NewCl100kBase(), 100256, PatternCL100K, map[string]int32{
		EndOfText: 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260, "<|endofprompt|>": 100276,
	})
}

// Bytes has the 256 bytes as tokens, in GPT-2's order, and <|endoftext|> as 256; nothing is merged.
func Bytes() *BPE {
	t, err := withSpecial(byteTokens(), nil, PatternGPT2, map[string]int32{EndOfText: 256})
	if err != nil {
		panic(err) // all bytes are there and the pattern is known
	}
	return t
}

// byteTokens are the first 256 tokens of GPT-2 and of the vocabularies trained here.
func byteTokens() [][]byte {
	tokens := make([][]byte, 0, 256)
	for _, b := range byteOrder() {
		tokens = append(tokens, []byte{b})
	}
	return tokens
}

// fromRanks makes a tokenizer of a vocabulary whose ids are the ranks of its merges, tokens 0 to n-1.
func fromRanks(vocabulary *codec.Codec, n int, pattern string, special map[string]int32) (*BPE, error) {
	tokens := make([][]byte, n)
	id := make([]uint, 1)
	for i := range tokens {
		id[0] = uint(i)
		text, err := vocabulary.Decode(id)
		if err != nil {
			return nil, fmt.Errorf("the built-in vocabulary %s: token %d: %w", vocabulary.GetName(), i, err)
		}
		tokens[i] = []byte(text)
	}
	merges, err := recoverMerges(tokens)
	if err != nil {
		return nil, fmt.Errorf("the built-in vocabulary %s: %w", vocabulary.GetName(), err)
	}
	return withSpecial(tokens, merges, pattern, special)
}

// recoverMerges finds the pair that made each token from the tokens in the order of their ranks: what its bytes merge into
// with all lower ranks.
func recoverMerges(tokens [][]byte) ([][2]int32, error) {
	var byteIDs [256]int32
	for id, token := range tokens {
		if len(token) == 1 {
			byteIDs[token[0]] = int32(id)
		}
	}
	pairs := newPairTable(len(tokens))
	merges := make([][2]int32, 0, len(tokens))
	var m merger
	var ids []int32
	for id, token := range tokens {
		if len(token) == 1 {
			continue
		}
		ids = ids[:0]
		for _, b := range token {
			ids = append(ids, byteIDs[b])
		}
		left := m.merge(ids, pairs)
		if len(left) != 2 {
			return nil, fmt.Errorf("token %d, %q, is not a pair of tokens of lower rank", id, token)
		}
		pairs.add(left[0], left[1], int32(id), int32(id))
		merges = append(merges, [2]int32{left[0], left[1]})
	}
	return merges, nil
}

// withSpecial is newBPE with special tokens behind the others.
func withSpecial(tokens [][]byte, merges [][2]int32, pattern string, special map[string]int32) (*BPE, error) {
	t, err := newBPE(tokens, merges, pattern)
	if err != nil {
		return nil, err
	}
	var added []addedToken
	for text, id := range special {
		added = append(added, addedToken{id: id, text: text, special: true})
	}
	return t, t.add(added)
}
