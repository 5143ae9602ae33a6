package conformance

import "cambium/src/tensor"

// The error bounds of each operation's arithmetic, relative as the package comment says. Half a unit of the last place of
// fp32 is 6e-8.
const (
	boundExact       = 0     // copies, conversions, masked-out entries
	boundElementwise = 2e-7  // one or two roundings
	boundSum         = 2e-6  // sums of some hundred terms
	boundGemm        = 4e-6  // sums of up to a thousand products
	boundNorm        = 4e-6  // two reductions and a root
	boundNormGrad    = 8e-6  // gradients cancel: h - A - xh B
	boundActivation  = 2e-6  // an exponential and a division
	boundAttention   = 8e-6  // products of head size, exponentials, sums over keys
	boundAttnGrad    = 3e-5  // five products on top of each other
	boundEntropy     = 4e-6  // an exponential and a sum over the vocabulary
	boundAdam        = 4e-6  // a root and a division
	boundFP64        = 1e-12 // fp64 sums
)

// roundoff is what the rounding of a result to d may add to its error: half a unit of the last place, relative, and half
// of the smallest subnormal number, absolute. bf16 has 8 significant bits and fp32's exponents, fp16 has 11 and nothing
// below 2^-24. Rounding an fp32 result that is itself off may go to the neighbour on the wrong side, which the bound of
// the arithmetic covers: the two add up.
func roundoff(d tensor.DType) (unit, least float64) {
	switch d {
	case tensor.BF16:
		return 0x1p-8, 0x1p-134
	case tensor.F16:
		return 0x1p-11, 0x1p-25
	}
	return 0, 0
}
