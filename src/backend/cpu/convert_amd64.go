package cpu

// The conversions of convert_amd64.s take whole groups of 16 elements, at least one.

//go:noescape
func toBF16AVX512(dst *uint16, src *float32, n int)

//go:noescape
func toBF16AVX2(dst *uint16, src *float32, n int)

//go:noescape
func fromBF16AVX512(dst *float32, src *uint16, n int)

//go:noescape
func fromBF16AVX2(dst *float32, src *uint16, n int)

//go:noescape
func toF16AVX512(dst *uint16, src *float32, n int)

//go:noescape
func toF16AVX2(dst *uint16, src *float32, n int)

//go:noescape
func fromF16AVX512(dst *float32, src *uint16, n int)

//go:noescape
func fromF16AVX2(dst *float32, src *uint16, n int)

// inGroups is a conversion of any length: whole groups of 16 by vector, the rest by the portable loop.
func inGroups[D, S uint16 | float32](vector func(dst *D, src *S, n int), rest func(dst []D, src []S)) func(dst []D, src []S) {
	return func(dst []D, src []S) {
		n := len(dst) &^ 15
		if n > 0 {
			vector(&dst[0], &src[0], n)
		}
		rest(dst[n:], src[n:len(dst)])
	}
}
