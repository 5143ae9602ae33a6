// Package conformance is one test suite for every implementation of backend.Backend. A backend's own test calls
//
//	conformance.Run(t, func(t *testing.T) backend.Backend { return cpu.New(cpu.Options{}) })
//
// Every operation is compared with a plain fp64 reference (reference*.go, checked against finite differences in this
// package's own tests) at odd sizes, with gaps between rows, with every aliasing that the operations' comments allow.
// Outputs hold NaN before the call, and all memory around and between the rows of a tensor, as well as every input, must
// come back untouched. What is stored as T in backend.Operations runs in fp32, bf16 and fp16.
//
// # Error bounds
//
// An element may differ from the reference by bound x (|reference| + root mean square of the tensor), or where sums cancel by
// nature (|reference| + size of the terms). The bounds are in
// bounds.go; they are several times what a straightforward fp32 implementation reaches, and far below what a wrong one
// does. They hold for 16-bit types as well, because the arithmetic is the same: on top comes one rounding of the result,
// half a unit of the type's last place. The reference computes from the rounded inputs.
package conformance
