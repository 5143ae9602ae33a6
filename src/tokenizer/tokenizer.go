package tokenizer

// Tokenizer turns text into token ids and back. Implementations may be used by several goroutines at once.
type Tokenizer interface {
	// VocabSize is the largest id + 1, special tokens included.
	VocabSize() int

	// Encode appends the ids of text to dst and returns it. Text that spells a special token (such as "<|endoftext|>")
	// is ordinary text here. Nothing is added at either end.
	Encode(dst []int32, text []byte) []int32

	// EncodeSpecial is Encode, but text that spells a special token becomes that token.
	EncodeSpecial(dst []int32, text []byte) []int32

	// Decode appends the bytes of ids to dst and returns it. A special token gives the text that spells it; an id that
	// no token has (the padding of an embedding table) gives U+FFFD.
	Decode(dst []byte, ids []int32) []byte

	// DecodeOrdinary is Decode, but leaves special tokens out.
	DecodeOrdinary(dst []byte, ids []int32) []byte

	// EOD is the id of the end-of-document token, or -1 when the vocabulary has none.
	EOD() int32

	// Save writes tokenizer.json, vocab.json, merges.txt and tokenizer_config.json into the folder dir, which must
	// exist; Hugging Face's tokenizers and transformers load them with the same ids.
	Save(dir string) error
}

// EndOfText is the special token that ends a document, as GPT-2 spells it.
const EndOfText = "<|endoftext|>"

var _ Tokenizer = (*BPE)(nil)
