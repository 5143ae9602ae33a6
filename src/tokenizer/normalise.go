package tokenizer

import "golang.org/x/text/unicode/norm"

// normalise brings text into Unicode's normal form C, as the files of some vocabularies ask for. Such a vocabulary gives
// back the normal form of a text, not the text.
func normalise(text []byte) []byte { return norm.NFC.Bytes(text) }
