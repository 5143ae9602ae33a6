package tensor

import "fmt"

// DType is the type of a tensor's elements.
type DType uint8

// The element types. F32 is the zero value: what is not said is single precision.
const (
	F32  DType = iota // IEEE 754 binary32
	F64               // IEEE 754 binary64: sums that decide something
	BF16              // bfloat16: the upper half of a binary32
	F16               // IEEE 754 binary16
	I32               // two's complement 32 bit: token ids
)

var dtypes = [...]struct {
	name string
	size int
}{F32: {"fp32", 4}, F64: {"fp64", 8}, BF16: {"bf16", 2}, F16: {"fp16", 2}, I32: {"int32", 4}}

// Size is the number of bytes of one element.
func (d DType) Size() int { return dtypes[d].size }

// String is the name that configurations and files use: fp32, fp64, bf16, fp16, int32.
func (d DType) String() string {
	if int(d) >= len(dtypes) {
		return fmt.Sprintf("dtype(%d)", uint8(d))
	}
	return dtypes[d].name
}

// ParseDType is the inverse of String.
func ParseDType(name string) (DType, error) {
	for d, t := range dtypes {
		if t.name == name {
			return DType(d), nil
		}
	}
	return 0, fmt.Errorf("tensor: unknown element type %q: want fp32, fp64, bf16, fp16 or int32", name)
}
