// What every attention kernel is launched with.
#pragma once

#include "../common/device.cuh"

namespace cambium {

struct Attention {
    View q, k, v, o, dO, dq, dk, dv;
    float* lse;              // [batch, heads, seq]
    const float* headScale;  // [heads], may be null
    float* d;                // [batches of this launch, heads, seq]: sum(dO o O), between the tensor-core kernels of the backward pass
    int heads, groups, headDim, seq;
    int first;  // batch of the launch's first blocks
    float scale;
};

}  // namespace cambium
