// GELU and SwiGLU (arXiv 2002.05202) where no GEMM's end applies them:
//
//	y = gelu(x)     y = silu(g) u     dg = dy u silu'(g)     du = dy silu(g)     silu'(z) = s (1 + z (1 - s)), s = sigmoid(z)
//
// Every element is read before anything is written in its place, so dg and du may lie over g and u.
#include "../common/activation.cuh"

using namespace cambium;

struct Gelu {
    View y, x;
    int vector;  // 16 bytes at a time
};

template <class T, int N>
__device__ void geluForward(const Gelu& a) {
    for (int i = blockIdx.y; i < a.y.rows; i += gridDim.y) {
        for
            STRIDED(j, a.y.cols / N) {
                Vec<T, N> v = loadVec<N>(row<T>(a.x, i), j);
#pragma unroll
                for (int k = 0; k < N; k++) v.v[k] = round<T>(gelu(load(v.v[k])));
                storeVec<N>(row<T>(a.y, i), j, v);
            }
    }
}

struct Swiglu {
    View g, u, y, dy, dg, du;
    int vector;
};

template <class T, int N>
__device__ void swigluForward(const Swiglu& a) {
    for (int i = blockIdx.y; i < a.y.rows; i += gridDim.y) {
        for
            STRIDED(j, a.y.cols / N) {
                const Vec<T, N> g = loadVec<N>(row<T>(a.g, i), j), u = loadVec<N>(row<T>(a.u, i), j);
                Vec<T, N> y;
#pragma unroll
                for (int k = 0; k < N; k++) y.v[k] = round<T>(load(g.v[k]) * sigmoid(load(g.v[k])) * load(u.v[k]));
                storeVec<N>(row<T>(a.y, i), j, y);
            }
    }
}

template <class T, int N>
__device__ void swigluBackward(const Swiglu& a) {
    for (int i = blockIdx.y; i < a.dy.rows; i += gridDim.y) {
        for
            STRIDED(j, a.dy.cols / N) {
                const Vec<T, N> gs = loadVec<N>(row<T>(a.g, i), j), us = loadVec<N>(row<T>(a.u, i), j),
                                dys = loadVec<N>(row<T>(a.dy, i), j);
                Vec<T, N> dg, du;
#pragma unroll
                for (int k = 0; k < N; k++) {
                    const float g = load(gs.v[k]), u = load(us.v[k]), dy = load(dys.v[k]), s = sigmoid(g);
                    dg.v[k] = round<T>(dy * u * s * (1.0f + g * (1.0f - s)));
                    du.v[k] = round<T>(dy * g * s);
                }
                storeVec<N>(row<T>(a.dg, i), j, dg);
                storeVec<N>(row<T>(a.du, i), j, du);
            }
    }
}

#define ACTIVATION_KERNEL(name, f, A, T)   \
    extern "C" __global__ void name(A a) { \
        if (a.vector)                      \
            f<T, Pack<T>::size>(a);        \
        else                               \
            f<T, 1>(a);                    \
    }                                      \
    KERNEL(name);
#define ACTIVATION(suffix, T)                                            \
    ACTIVATION_KERNEL(gelu_forward_##suffix, geluForward, Gelu, T)       \
    ACTIVATION_KERNEL(swiglu_forward_##suffix, swigluForward, Swiglu, T) \
    ACTIVATION_KERNEL(swiglu_backward_##suffix, swigluBackward, Swiglu, T)
FOR_TYPES(ACTIVATION)
