package cpu

import (
	"fmt"

	"cambium/src/tensor"
)

// The checks of arguments panic in the caller: a wrong shape is a mistake of the program. Absent tensors fail all.

func mustBePresent(op string, ts ...tensor.Tensor) {
	for _, t := range ts {
		if !t.Present() {
			panic(fmt.Sprintf("cpu: %s: a tensor that is needed is absent", op))
		}
	}
}

func mustBeF32(op string, ts ...tensor.Tensor) {
	mustBePresent(op, ts...)
	for _, t := range ts {
		if t.DType() != tensor.F32 {
			panic(fmt.Sprintf("cpu: %s: %v: want fp32", op, t))
		}
	}
}

// mustMatch asks for the same rows and columns as the first tensor's.
func mustMatch(op string, ts ...tensor.Tensor) {
	for _, t := range ts[1:] {
		if t.Rows() != ts[0].Rows() || t.Cols() != ts[0].Cols() {
			panic(fmt.Sprintf("cpu: %s: %v beside %v: want the same rows and columns", op, t, ts[0]))
		}
	}
}

// mustHold asks for a contiguous tensor of n elements.
func mustHold(op string, t tensor.Tensor, n int) {
	if t.Len() != n || !t.Contiguous() {
		panic(fmt.Sprintf("cpu: %s: %v: want %d elements without gaps", op, t, n))
	}
}

// mustBeI32 asks for a contiguous int32 tensor of n elements.
func mustBeI32(op string, t tensor.Tensor, n int) {
	mustBePresent(op, t)
	if t.DType() != tensor.I32 {
		panic(fmt.Sprintf("cpu: %s: %v: want int32", op, t))
	}
	mustHold(op, t, n)
}
