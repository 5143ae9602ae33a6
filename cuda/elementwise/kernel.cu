// Operations on every element: fill, copy with conversion, axpy, scale, scale columns. Bound by memory: each thread moves 16
// bytes at once where addresses and row lengths allow it (vector), and asks for four of them before it waits for one, single
// elements elsewhere. The host sees tensors without gaps as one row.
#include "../common/device.cuh"

using namespace cambium;

// X[i, j] = value, or the bit pattern of 32 bits for integers.
struct Fill {
    View x;
    float value;
    int vector;  // the rows are made of whole, aligned 16 bytes
};

template <class T>
__device__ void fill(const Fill& a) {
    const T v = round<T>(a.value);
    for (int i = blockIdx.y; i < a.x.rows; i += gridDim.y) {
        T* x = row<T>(a.x, i);
        if (a.vector) {
            Pack<T> p;
            for (int k = 0; k < Pack<T>::size; k++) p.v[k] = v;
            for
                STRIDED(j, a.x.cols / Pack<T>::size) reinterpret_cast<Pack<T>*>(x)[j] = p;
        } else {
            for
                STRIDED(j, a.x.cols) x[j] = v;
        }
    }
}

#define FILL(suffix, type)                                              \
    extern "C" __global__ void fill_##suffix(Fill a) { fill<type>(a); } \
    KERNEL(fill_##suffix);
FOR_TYPES(FILL)

// The other two types that tensors have: 32-bit integers and fp64.
extern "C" __global__ void fill_i32(Fill a) {
    for (int i = blockIdx.y; i < a.x.rows; i += gridDim.y)
        for
            STRIDED(j, a.x.cols) row<int>(a.x, i)[j] = static_cast<int>(a.value);
}
KERNEL(fill_i32);
extern "C" __global__ void fill_f64(Fill a) {
    for (int i = blockIdx.y; i < a.x.rows; i += gridDim.y)
        for
            STRIDED(j, a.x.cols) row<double>(a.x, i)[j] = a.value;
}
KERNEL(fill_f64);

// Y = X with conversion (Copy), or Y += alpha X (Axpy).
struct Pair {
    View y, x;
    float alpha;
    int vector;  // both have rows of whole packs of the wider element, aligned
};

// FOUR loops j over [0, n) with all threads of a grid; body has j, and j + blockDim.x, ..., of four.
#define FOUR(j, n) (long long j = blockIdx.x * 4LL * blockDim.x + threadIdx.x; j < (n); j += 4LL * gridDim.x * blockDim.x)

// eachPair is y = f(y, x); reads tells whether f looks at y.
template <class A, class B, bool reads, class F>
__device__ __forceinline__ void eachPair(const Pair& a, F f) {
    constexpr int n = 16 / (sizeof(A) > sizeof(B) ? sizeof(A) : sizeof(B));
    const int step = blockDim.x;
    for (int i = blockIdx.y; i < a.y.rows; i += gridDim.y) {
        A* y = row<A>(a.y, i);
        const B* x = row<B>(a.x, i);
        const int packs = a.y.cols / n;
        if (a.vector) {
            for
                FOUR(j, packs) {
                    Vec<A, n> l[4];
                    Vec<B, n> r[4];
#pragma unroll
                    for (int u = 0; u < 4; u++) {
                        if (j + u * step >= packs) continue;
                        r[u] = loadVec<n>(x, j + u * step);
                        if (reads) l[u] = loadVec<n>(y, j + u * step);
                    }
#pragma unroll
                    for (int u = 0; u < 4; u++) {
                        if (j + u * step >= packs) continue;
#pragma unroll
                        for (int k = 0; k < n; k++) l[u].v[k] = f(l[u].v[k], r[u].v[k]);
                        storeVec<n>(y, j + u * step, l[u]);
                    }
                }
        } else {
            for
                STRIDED(j, a.y.cols) y[j] = f(y[j], x[j]);
        }
    }
}

template <class A, class B>
__device__ void copy(const Pair& a) {
    eachPair<A, B, false>(a, [](A, B x) { return round<A>(load(x)); });
}
template <class A, class B>
__device__ void axpy(const Pair& a) {
    const float alpha = a.alpha;
    eachPair<A, B, true>(a, [alpha](A y, B x) { return round<A>(load(y) + alpha * load(x)); });
}

#define PAIR(y, x, Y, X)                                                 \
    extern "C" __global__ void copy_##y##_##x(Pair a) { copy<Y, X>(a); } \
    KERNEL(copy_##y##_##x);                                              \
    extern "C" __global__ void axpy_##y##_##x(Pair a) { axpy<Y, X>(a); } \
    KERNEL(axpy_##y##_##x);
#define PAIRS_OF(suffix, type)     \
    PAIR(suffix, f32, type, float) \
    PAIR(suffix, bf16, type, bf16) \
    PAIR(suffix, f16, type, f16)
FOR_TYPES(PAIRS_OF)

// Raw copies, for integers and fp64.
extern "C" __global__ void copy_i32_i32(Pair a) {
    for (int i = blockIdx.y; i < a.y.rows; i += gridDim.y)
        for
            STRIDED(j, a.y.cols) row<int>(a.y, i)[j] = row<int>(a.x, i)[j];
}
KERNEL(copy_i32_i32);
extern "C" __global__ void copy_f64_f64(Pair a) {
    for (int i = blockIdx.y; i < a.y.rows; i += gridDim.y)
        for
            STRIDED(j, a.y.cols) row<double>(a.y, i)[j] = row<double>(a.x, i)[j];
}
KERNEL(copy_f64_f64);

// X *= alpha, and X[i, j] *= v[j] when v is present.
struct Scale {
    View x;
    const float* columns;
    float alpha;
    int vector;
};

template <class T>
__device__ void scale(const Scale& a) {
    constexpr int n = Pack<T>::size;
    const int step = blockDim.x, packs = a.x.cols / n;
    for (int i = blockIdx.y; i < a.x.rows; i += gridDim.y) {
        T* x = row<T>(a.x, i);
        if (a.vector) {
            for
                FOUR(j, packs) {
                    Vec<T, n> v[4];
#pragma unroll
                    for (int u = 0; u < 4; u++)
                        if (j + u * step < packs) v[u] = loadVec<n>(x, j + u * step);
#pragma unroll
                    for (int u = 0; u < 4; u++) {
                        const long long at = j + u * step;
                        if (at >= packs) continue;
#pragma unroll
                        for (int k = 0; k < n; k++) v[u].v[k] = round<T>(load(v[u].v[k]) * (a.columns ? a.columns[at * n + k] : a.alpha));
                        storeVec<n>(x, at, v[u]);
                    }
                }
        } else {
            for
                STRIDED(j, a.x.cols) x[j] = round<T>(load(x[j]) * (a.columns ? a.columns[j] : a.alpha));
        }
    }
}

#define SCALE(suffix, type)                                                \
    extern "C" __global__ void scale_##suffix(Scale a) { scale<type>(a); } \
    KERNEL(scale_##suffix);
FOR_TYPES(SCALE)
