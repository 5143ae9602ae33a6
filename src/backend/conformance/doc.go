// Package conformance is one test suite for every implementation of backend.Backend. A backend's own test calls
//
//	conformance.Run(t, func(t *testing.T) backend.Backend { return cpu.New(cpu.Options{}) })
//
// Every operation is compared with a plain fp64 reference (reference*.go, checked against finite differences in this
// package's own tests) at odd sizes, with gaps between rows, with every aliasing that the operations' comments allow.
// Outputs hold NaN before the call, and all memory around and between the rows of a tensor, as well as every input, must
// come back untouched.
//
// # Error bounds
//
// An element may differ from the reference by bound x (|reference| + root mean square of the tensor), or where sums cancel by
// nature (|reference| + size of the terms). The bounds are in
// bounds.go; they are several times what a straightforward fp32 implementation reaches, and far below what a wrong one
// does.
package conformance
