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
    int vector;  // 16 bytes at a time
};

template <class T, int N>
__device__ void rotary(const Rotary& a) {
    const long long n = blockIdx.x;
    const int half = a.headDim / 2, packs = half / N;
    const float *cos = row<float>(a.cos, n % a.seq), *sin = row<float>(a.sin, n % a.seq);
    for (int p = threadIdx.x; p < a.x.cols / 2 / N; p += blockDim.x) {
        const int i = p % packs;
        T* x = row<T>(a.x, n) + static_cast<long long>(p / packs) * a.headDim;
        Vec<T, N> first = loadVec<N>(x, i), second = loadVec<N>(x + half, i);
#pragma unroll
        for (int k = 0; k < N; k++) {
            const float x1 = load(first.v[k]), x2 = load(second.v[k]), c = cos[i * N + k], s = a.sign * sin[i * N + k];
            first.v[k] = round<T>(x1 * c - x2 * s);
            second.v[k] = round<T>(x2 * c + x1 * s);
        }
        storeVec<N>(x, i, first);
        storeVec<N>(x + half, i, second);
    }
}

#define ROTARY(suffix, T)                                  \
    extern "C" __global__ void rotary_##suffix(Rotary a) { \
        if (a.vector)                                      \
            rotary<T, Pack<T>::size>(a);                   \
        else                                               \
            rotary<T, 1>(a);                               \
    }                                                      \
    KERNEL(rotary_##suffix);
FOR_TYPES(ROTARY)
