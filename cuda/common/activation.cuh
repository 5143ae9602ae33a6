// The activation functions, for the kernels that apply them and the GEMM's ends.
#pragma once

#include "device.cuh"

namespace cambium {

// GELU, tanh form (arXiv 1606.08415): 0.5 z (1 + tanh u) with u = sqrt(2/pi) (z + 0.044715 z^3), written as z / (1 + exp(-2u)): two
// operations of the special-function unit, where tanhf has branches.
__device__ __forceinline__ float geluGate(float z) { return __fdividef(1.0f, 1.0f + __expf(-1.5957691216f * (z + 0.044715f * z * z * z))); }
__device__ __forceinline__ float gelu(float z) { return z * geluGate(z); }

// Its derivative: s + 2 z s (1 - s) u' for the gate s.
__device__ __forceinline__ float geluGradient(float z) {
    const float s = geluGate(z);
    return s + z * (s - s * s) * 1.5957691216f * (1.0f + 3.0f * 0.044715f * z * z);
}

// The logistic function; silu(z) = z sigmoid(z).
__device__ __forceinline__ float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

}  // namespace cambium
