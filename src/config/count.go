package config

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// Count is a number of tokens, samples or iterations. It reads 64k, 1M, 245.37B, 2e9 and 1_000_000 (k, M, B or G, T are
// powers of 1000) and writes the shortest of these that is exact.
type Count int64

var countUnits = []struct {
	suffix string
	factor int64
}{{"T", 1e12}, {"B", 1e9}, {"M", 1e6}, {"k", 1e3}}

// ParseCount reads a Count.
func ParseCount(text string) (Count, error) {
	number, factor := strings.TrimSpace(text), int64(1)
	if n := len(number); n > 0 {
		for _, u := range countUnits {
			last := number[n-1:]
			if strings.EqualFold(last, u.suffix) || (u.factor == 1e9 && strings.EqualFold(last, "G")) {
				number, factor = number[:n-1], u.factor
				break
			}
		}
	}
	r, ok := parseDecimal(number)
	if !ok {
		return 0, fmt.Errorf("%q is not a count: want a whole number such as 5000, 64k, 1.5M, 245.37B or 2e9", text)
	}
	r.Mul(r, new(big.Rat).SetInt64(factor))
	switch {
	case !r.IsInt():
		return 0, fmt.Errorf("%q is not a whole number", text)
	case !r.Num().IsInt64():
		return 0, fmt.Errorf("%q is too large: the most is %d", text, int64(math.MaxInt64))
	}
	return Count(r.Num().Int64()), nil
}

// parseDecimal reads a plain or scientific decimal number exactly. It limits the exponent, since 1e999999999 would take
// all memory.
func parseDecimal(text string) (*big.Rat, bool) {
	digits := 0
	for i, c := range text {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == '.' || c == 'e' || c == 'E' || c == '_' && i > 0:
		case (c == '+' || c == '-') && (i == 0 || text[i-1] == 'e' || text[i-1] == 'E'):
		default:
			return nil, false
		}
	}
	text = strings.ReplaceAll(text, "_", "")
	if digits == 0 || len(text) > 40 {
		return nil, false
	}
	if e := strings.IndexAny(text, "eE"); e >= 0 && len(strings.TrimLeft(text[e+1:], "+-0")) > 2 {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// String is the shortest exact form: 64k, 245.37B, 1234567.
func (c Count) String() string {
	plain := fmt.Sprintf("%d", int64(c))
	for _, u := range countUnits {
		if c != 0 && math.Abs(float64(c)) >= float64(u.factor) {
			r := new(big.Rat).SetFrac64(int64(c), u.factor)
			short := strings.TrimRight(strings.TrimRight(r.FloatString(12), "0"), ".") + u.suffix
			if len(short) < len(plain) {
				return short
			}
			return plain
		}
	}
	return plain
}
