// The activation functions, for the kernels that apply them and the GEMM's ends.
#pragma once

#include "device.cuh"

namespace cambium {

// GELU, tanh form (arXiv 1606.08415): 0.5 z (1 + tanh u), u = sqrt(2/pi) (z + 0.044715 z^3).
__device__ __forceinline__ float gelu(float z) {
    const float u = 0.7978845608f * (z + 0.044715f * z * z * z);
    return 0.5f * z * (1.0f + tanhf(u));
}

__device__ __forceinline__ float geluGradient(float z) {
    const float u = 0.7978845608f * (z + 0.044715f * z * z * z), t = tanhf(u);
    return 0.5f * (1.0f + t) + 0.5f * z * (1.0f - t * t) * 0.7978845608f * (1.0f + 3.0f * 0.044715f * z * z);
}

// The logistic function; silu(z) = z sigmoid(z).
__device__ __forceinline__ float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

}  // namespace cambium
