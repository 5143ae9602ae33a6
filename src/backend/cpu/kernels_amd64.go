package cpu

// The loops of vec_avx512_amd64.s and vec_avx2_amd64.s; kernels says what each one does. Slices of a call are as long as
// the first.

//go:noescape
func axpyAVX512(y, x []float32, a float32)

//go:noescape
func addRowsAVX512(out, x []float32, ld, rows int)

//go:noescape
func scaleAVX512(x []float32, a float32)

//go:noescape
func mulAVX512(x, v []float32)

//go:noescape
func addScaledAVX512(y, x, d []float32, a float32)

//go:noescape
func sumAVX512(x []float32) float32

//go:noescape
func sumSquaredDeviationsAVX512(x []float32, mu float32) float32

//go:noescape
func sumSquaresAVX512(x []float32) float64

//go:noescape
func normApplyAVX512(y, x, g, b []float32, mu, a, m float32)

//go:noescape
func normSumsAVX512(x, dy, g []float32, mu float32) (h, hx float32)

//go:noescape
func normGradAVX512(dx, res, x, dy, g, dg, db []float32, c normConstants)

//go:noescape
func rotaryAVX512(x, cos, sin []float32, heads int, sign float32)

//go:noescape
func swigluAVX512(y, g, u []float32)

//go:noescape
func swigluGradAVX512(dg, du, dy, g, u []float32)

//go:noescape
func maxAVX512(x []float32) float32

//go:noescape
func sumExpAVX512(x []float32, shift float32) float32

//go:noescape
func expSumAVX512(x []float32, shift float32) float32

//go:noescape
func adamwAVX512(w, g, m, v []float32, c adamConstants)

//go:noescape
func axpyAVX2(y, x []float32, a float32)

//go:noescape
func addRowsAVX2(out, x []float32, ld, rows int)

//go:noescape
func scaleAVX2(x []float32, a float32)

//go:noescape
func mulAVX2(x, v []float32)

//go:noescape
func addScaledAVX2(y, x, d []float32, a float32)

//go:noescape
func sumAVX2(x []float32) float32

//go:noescape
func sumSquaredDeviationsAVX2(x []float32, mu float32) float32

//go:noescape
func sumSquaresAVX2(x []float32) float64

//go:noescape
func normApplyAVX2(y, x, g, b []float32, mu, a, m float32)

//go:noescape
func normSumsAVX2(x, dy, g []float32, mu float32) (h, hx float32)

//go:noescape
func normGradAVX2(dx, res, x, dy, g, dg, db []float32, c normConstants)

//go:noescape
func rotaryAVX2(x, cos, sin []float32, heads int, sign float32)

//go:noescape
func swigluAVX2(y, g, u []float32)

//go:noescape
func swigluGradAVX2(dg, du, dy, g, u []float32)

//go:noescape
func maxAVX2(x []float32) float32

//go:noescape
func sumExpAVX2(x []float32, shift float32) float32

//go:noescape
func expSumAVX2(x []float32, shift float32) float32

//go:noescape
func adamwAVX2(w, g, m, v []float32, c adamConstants)
