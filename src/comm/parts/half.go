package parts

import "math"

// fromBF16 is exact: a bfloat16 is the upper half of a binary32.
func fromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// toBF16 rounds to nearest, ties to even; a NaN stays one (quiet).
func toBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// fromF16 is exact.
func fromF16(h uint16) float32 {
	sign, exp, frac := uint32(h&0x8000)<<16, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0: // zero or subnormal: frac x 2^-24
		x := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(x) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// toF16 rounds to nearest, ties to even; from 65520 on the result is infinite; a NaN stays one (quiet).
func toF16(x float32) uint16 {
	b := math.Float32bits(x)
	sign, mag := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case mag > 0x7f800000:
		return sign | 0x7e00 | uint16(mag>>13&0x3ff)
	case mag >= 0x477ff000:
		return sign | 0x7c00
	case mag < 0x38800000: // below 2^-14: adding 0.5 puts the last kept bit, 2^-24, at the end of the fraction
		f := math.Float32frombits(mag) + 0.5
		return sign | uint16(math.Float32bits(f)-math.Float32bits(0.5))
	}
	return sign | uint16((mag-(112<<23)+0xfff+mag>>13&1)>>13)
}
