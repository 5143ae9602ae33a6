package cpu

import "math"

func toBF16Generic(dst []uint16, src []float32) {
	src = src[:len(dst)]
	for i, v := range src {
		dst[i] = bf16From(v)
	}
}

func fromBF16Generic(dst []float32, src []uint16) {
	src = src[:len(dst)]
	for i, v := range src {
		dst[i] = math.Float32frombits(uint32(v) << 16)
	}
}

func toF16Generic(dst []uint16, src []float32) {
	src = src[:len(dst)]
	for i, v := range src {
		dst[i] = f16From(v)
	}
}

func fromF16Generic(dst []float32, src []uint16) {
	src = src[:len(dst)]
	for i, v := range src {
		dst[i] = f16To(v)
	}
}

// bf16From rounds to nearest even: half a unit of the last kept bit is added, less one when that bit is 0. A NaN stays
// a NaN and becomes quiet.
func bf16From(v float32) uint16 {
	b := math.Float32bits(v)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// f16From rounds to nearest even, with subnormal results and overflow to infinity, as IEEE 754 asks and VCVTPS2PH does.
func f16From(v float32) uint16 {
	b := math.Float32bits(v)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000: // NaN
		return sign | 0x7e00 | uint16(b>>13&0x3ff)
	case b >= 0x47800000: // 2^16 and above, infinity
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: a multiple of 2^-24, which the addition of 0.5 rounds to
		f := math.Float32frombits(b) + 0.5
		return sign | uint16(math.Float32bits(f)-0x3f000000)
	}
	b += 0xfff + b>>13&1 // a carry into the exponent is right, up to infinity
	return sign | uint16(b>>13-(127-15)<<10)
}

// f16To is exact.
func f16To(h uint16) float32 {
	sign, e, f := uint32(h&0x8000)<<16, uint32(h>>10&31), uint32(h&0x3ff)
	switch {
	case e == 31 && f != 0:
		return math.Float32frombits(sign | 0x7fc00000 | f<<13)
	case e == 31:
		return math.Float32frombits(sign | 0x7f800000)
	case e == 0:
		v := float32(f) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(v) | sign)
	}
	return math.Float32frombits(sign | (e+127-15)<<23 | f<<13)
}
