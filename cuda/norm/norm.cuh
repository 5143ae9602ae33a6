// What the kernels of LayerNorm and RMSNorm are launched with.
#pragma once

#include "../common/device.cuh"

namespace cambium {

// A norm's mask; old = cols and v = 1 without one.
struct Mask {
    int old;
    float v, sum, divisor;  // S and D
    __device__ float at(int j) const { return j < old ? 1.0f : v; }
};

struct NormForward {
    View x, y, residual, delta;
    const void *gain, *bias;
    float *mean, *rstd;
    float scale, eps;
    int rms;
    Mask mask;
};

struct NormBackward {
    View x, dy, dx, residual;
    const void* gain;
    const float *mean, *rstd;
    float *dgain, *dbias;  // [blocks, cols], of the kernels that hold rows in registers; dbias may be null
    int rms;
    Mask mask;
};

}  // namespace cambium
