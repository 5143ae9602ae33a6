// Package tokenizer turns text into token ids and back by byte-level byte-pair encoding (BPE): the vocabularies of GPT-2
// and of cl100k_base, Hugging Face's tokenizer.json, GPT-2's vocab.json with merges.txt, and vocabularies that it trains
// itself.
//
// Encoding has three steps. A pre-tokenizer cuts the text into pieces (words with the blank before them, numbers, runs of
// punctuation, white space) by a fixed pattern; each piece begins as its bytes; then the adjacent pair of tokens with the
// lowest merge rank is joined until no pair is left that has a rank (Sennrich et al., arXiv 1508.07909; on bytes: Radford
// et al. 2019, GPT-2). All 256 bytes are tokens, so every byte string, UTF-8 or not, is encoded and decoded unchanged.
//
// The split patterns of GPT-2 and cl100k are written by hand (a regular expression engine is twenty times slower and, in
// Go's standard library, has no look-ahead); other patterns of a tokenizer.json go through regexp2. Long pieces are merged
// with a heap, so a megabyte of the same letter costs n log n.
package tokenizer
