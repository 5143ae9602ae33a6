package conformance

// The error bounds of each operation, relative as the package comment says. Half a unit of the last place of fp32 is 6e-8.
const (
	boundExact       = 0      // copies, conversions, masked-out entries
	boundElementwise = 2e-7   // one or two roundings
	boundSum         = 2e-6   // sums of some hundred terms
	boundGemm        = 4e-6   // sums of up to a thousand products
	boundNorm        = 4e-6   // two reductions and a root
	boundNormGrad    = 8e-6   // gradients cancel: h - A - xh B
	boundActivation  = 2e-6   // an exponential and a division
	boundAttention   = 8e-6   // products of head size, exponentials, sums over keys
	boundAttnGrad    = 3e-5   // five products on top of each other
	boundEntropy     = 4e-6   // an exponential and a sum over the vocabulary
	boundAdam        = 4e-6   // a root and a division
	boundFP64        = 1e-12  // fp64 sums
	boundBF16        = 4.0e-3 // the rounding of an fp32 result to bf16
	boundFP16        = 5.0e-4 // the rounding of an fp32 result to fp16
)
