package tokenizer

import "unicode/utf8"

// GPT-2's files write each byte of a token as one printable character: printable Latin-1 bytes as themselves, the other 68
// as U+0100 to U+0143 in order (bytes_to_unicode in the GPT-2 release). So a blank is written "Ġ" and a newline "Ċ".

// byteChars holds the character of each byte.
var byteChars = func() (chars [256]rune) {
	next := rune(0x100)
	for b := range chars {
		if printable(b) {
			chars[b] = rune(b)
			continue
		}
		chars[b] = next
		next++
	}
	return chars
}()

// charBytes is the inverse of byteChars for characters below U+0144; -1 elsewhere.
var charBytes = func() (bytes [0x144]int16) {
	for i := range bytes {
		bytes[i] = -1
	}
	for b, c := range byteChars {
		bytes[c] = int16(b)
	}
	return bytes
}()

func printable(b int) bool {
	return '!' <= b && b <= '~' || 0xA1 <= b && b <= 0xAC || 0xAE <= b
}

// byteOrder lists the bytes in the order of their characters, which is the order of GPT-2's first 256 ids.
func byteOrder() []byte {
	order := make([]byte, 0, 256)
	for c := range rune(len(charBytes)) {
		if b := charBytes[c]; b >= 0 {
			order = append(order, byte(b))
		}
	}
	return order
}

// toChars writes bytes as GPT-2's files do.
func toChars(token []byte) string {
	out := make([]byte, 0, 2*len(token))
	for _, b := range token {
		out = utf8.AppendRune(out, byteChars[b])
	}
	return string(out)
}

// fromChars is the inverse of toChars; ok is false when a character stands for no byte.
func fromChars(chars string) (token []byte, ok bool) {
	token = make([]byte, 0, len(chars))
	for _, c := range chars {
		if c >= rune(len(charBytes)) || charBytes[c] < 0 {
			return nil, false
		}
		token = append(token, byte(charBytes[c]))
	}
	return token, true
}
