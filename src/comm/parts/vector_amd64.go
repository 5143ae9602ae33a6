package parts

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

//go:noescape
func addAVX2(out, a, b *float32, n int)

//go:noescape
func widenBF16AVX2(out *float32, in *uint16, n int)

//go:noescape
func narrowBF16AVX2(out *uint16, in *float32, n int)

//go:noescape
func widenF16F16C(out *float32, in *uint16, n int)

//go:noescape
func narrowF16F16C(out *uint16, in *float32, n int)

// vector is the number of elements that the loops above do at a time.
const vector = 16

// whole is how many of n elements they can do: none on old processors.
func whole(n int) int {
	if !cpu.X86.HasAVX2 {
		return 0
	}
	return n &^ (vector - 1)
}

// addVectors does out = a + b for the first elements and returns how many; the loop in Go does the rest.
func addVectors[E number](out, a, b []E) int {
	if unsafe.Sizeof(out[0]) != 4 || E(1)/2 == 0 { // not float32
		return 0
	}
	n := whole(len(out))
	if n > 0 {
		addAVX2((*float32)(unsafe.Pointer(&out[0])), (*float32)(unsafe.Pointer(&a[:n][0])), (*float32)(unsafe.Pointer(&b[:n][0])), n)
	}
	return n
}

func widenBF16Vectors(out []float32, in []uint16) int {
	n := whole(len(out))
	if n > 0 {
		widenBF16AVX2(&out[0], &in[:n][0], n)
	}
	return n
}

func narrowBF16Vectors(out []uint16, in []float32) int {
	n := whole(len(out))
	if n > 0 {
		narrowBF16AVX2(&out[0], &in[:n][0], n)
	}
	return n
}

func widenF16Vectors(out []float32, in []uint16) int {
	n := whole(len(out))
	if n == 0 || !cpu.X86.HasF16C {
		return 0
	}
	widenF16F16C(&out[0], &in[:n][0], n)
	return n
}

func narrowF16Vectors(out []uint16, in []float32) int {
	n := whole(len(out))
	if n == 0 || !cpu.X86.HasF16C {
		return 0
	}
	narrowF16F16C(&out[0], &in[:n][0], n)
	return n
}
