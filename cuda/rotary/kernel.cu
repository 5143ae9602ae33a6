// RoPE (arXiv 2104.09864) and xPos (arXiv 2212.10554), in place, on half-split pairs (x[i], x[i + D/2]) of every head:
//
//	x1' = x1 cos[t,i] - x2 sin[t,i]     x2' = x2 cos[t,i] + x1 sin[t,i]     t = n mod T
//
// The backward pass is the transposed map: sin with the other sign.
#include "../common/device.cuh"

using namespace cambium;

struct Rotary {
    View x, cos, sin;
    int headDim, seq;
    float sign;
};

template <class T>
__device__ void rotary(const Rotary& a) {
    const long long n = blockIdx.x;
    const int half = a.headDim / 2, pairs = a.x.cols / 2;
    const float *cos = row<float>(a.cos, n % a.seq), *sin = row<float>(a.sin, n % a.seq);
    for (int p = threadIdx.x; p < pairs; p += blockDim.x) {
        const int i = p % half;
        T* x = row<T>(a.x, n) + static_cast<long long>(p / half) * a.headDim + i;
        const float x1 = load(x[0]), x2 = load(x[half]), c = cos[i], s = a.sign * sin[i];
        x[0] = round<T>(x1 * c - x2 * s);
        x[half] = round<T>(x2 * c + x1 * s);
    }
}

#define ROTARY(suffix, type)                                                  \
    extern "C" __global__ void rotary_##suffix(Rotary a) { rotary<type>(a); } \
    KERNEL(rotary_##suffix);
FOR_TYPES(ROTARY)
