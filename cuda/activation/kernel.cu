// GELU and SwiGLU (arXiv 2002.05202) where no GEMM's end applies them:
//
//	y = gelu(x)     y = silu(g) u     dg = dy u silu'(g)     du = dy silu(g)     silu'(z) = s (1 + z (1 - s)), s = sigmoid(z)
//
// Every element is read before anything is written in its place, so dg and du may lie over g and u.
#include "../common/activation.cuh"

using namespace cambium;

struct Gelu {
    View y, x;
};

template <class T>
__device__ void geluForward(const Gelu& a) {
    for (int i = blockIdx.y; i < a.y.rows; i += gridDim.y)
        for
            STRIDED(j, a.y.cols) row<T>(a.y, i)[j] = round<T>(gelu(load(row<T>(a.x, i)[j])));
}

struct Swiglu {
    View g, u, y, dy, dg, du;
};

template <class T>
__device__ void swigluForward(const Swiglu& a) {
    for (int i = blockIdx.y; i < a.y.rows; i += gridDim.y) {
        for
            STRIDED(j, a.y.cols) {
                const float g = load(row<T>(a.g, i)[j]);
                row<T>(a.y, i)[j] = round<T>(g * sigmoid(g) * load(row<T>(a.u, i)[j]));
            }
    }
}

template <class T>
__device__ void swigluBackward(const Swiglu& a) {
    for (int i = blockIdx.y; i < a.dy.rows; i += gridDim.y) {
        for
            STRIDED(j, a.dy.cols) {
                const float g = load(row<T>(a.g, i)[j]), u = load(row<T>(a.u, i)[j]), dy = load(row<T>(a.dy, i)[j]), s = sigmoid(g);
                row<T>(a.dg, i)[j] = round<T>(dy * u * s * (1.0f + g * (1.0f - s)));
                row<T>(a.du, i)[j] = round<T>(dy * g * s);
            }
    }
}

#define ACTIVATION(suffix, type)                                                               \
    extern "C" __global__ void gelu_forward_##suffix(Gelu a) { geluForward<type>(a); }         \
    KERNEL(gelu_forward_##suffix);                                                             \
    extern "C" __global__ void swiglu_forward_##suffix(Swiglu a) { swigluForward<type>(a); }   \
    KERNEL(swiglu_forward_##suffix);                                                           \
    extern "C" __global__ void swiglu_backward_##suffix(Swiglu a) { swigluBackward<type>(a); } \
    KERNEL(swiglu_backward_##suffix);
FOR_TYPES(ACTIVATION)
