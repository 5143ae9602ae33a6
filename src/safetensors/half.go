package safetensors

import (
	"encoding/binary"
	"math"

	"cambium/src/tensor"
)

// toBF16 is f rounded to bfloat16, to nearest, ties to even. NaN stays NaN.
func toBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

func fromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// toF16 is f rounded to IEEE 754 binary16, to nearest, ties to even. From 65520 on it is infinite; NaN stays NaN.
func toF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign, a := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case a > 0x7f800000:
		return sign | 0x7e00 | uint16(a>>13&0x3ff)
	case a >= 0x477ff000: // 65520
		return sign | 0x7c00
	case a >= 0x38800000: // 2^-14, the least normal number: the exponent's bias falls from 127 to 15
		return sign | uint16((a-112<<23+0xfff+a>>13&1)>>13)
	}
	// A subnormal is a multiple of 2^-24. Adding 1/2 puts that multiple, rounded, into the lowest bits.
	return sign | uint16(math.Float32bits(math.Float32frombits(a)+0.5)-0x3f000000)
}

func fromF16(h uint16) float32 {
	sign, e, m := uint32(h&0x8000)<<16, uint32(h>>10&31), uint32(h&0x3ff)
	switch e {
	case 0:
		return math.Float32frombits(sign | math.Float32bits(float32(m)*0x1p-24))
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | m<<13)
	}
	return math.Float32frombits(sign | (e+112)<<23 | m<<13)
}

// encode writes values as elements of type d behind dst.
func encode(dst []byte, d tensor.DType, values []float32) []byte {
	le := binary.LittleEndian
	for _, v := range values {
		switch d {
		case tensor.F32:
			dst = le.AppendUint32(dst, math.Float32bits(v))
		case tensor.F64:
			dst = le.AppendUint64(dst, math.Float64bits(float64(v)))
		case tensor.BF16:
			dst = le.AppendUint16(dst, toBF16(v))
		case tensor.F16:
			dst = le.AppendUint16(dst, toF16(v))
		case tensor.I32:
			dst = le.AppendUint32(dst, uint32(int32(v)))
		}
	}
	return dst
}

// decode reads len(dst) elements of type d from src.
func decode(dst []float32, d tensor.DType, src []byte) {
	le := binary.LittleEndian
	for i := range dst {
		switch b := src[i*d.Size():]; d {
		case tensor.F32:
			dst[i] = math.Float32frombits(le.Uint32(b))
		case tensor.F64:
			dst[i] = float32(math.Float64frombits(le.Uint64(b)))
		case tensor.BF16:
			dst[i] = fromBF16(le.Uint16(b))
		case tensor.F16:
			dst[i] = fromF16(le.Uint16(b))
		case tensor.I32:
			dst[i] = float32(int32(le.Uint32(b)))
		}
	}
}
