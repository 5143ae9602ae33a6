// Causal attention without the matrix of scores (FlashAttention, arXiv 2205.14135), for any head size up to 256 and every
// element type, in fp32 arithmetic: what runs where the tensor-core kernels do not fit.
//
//	S = scale Q K^T,  P = softmax(S masked to s <= t),  O = headScale[h] P V,  LSE = log sum exp S
//	D_t = sum(dO o O),  dP = headScale dO V^T,  dS = P (dP - D),  dQ = scale dS K,  dK = scale dS^T Q,  dV = headScale P^T dO
//
// Query head h uses key/value head h / (H/K). One warp a row: a lane holds the head's channels lane, lane + 32, ... A block has
// 4 warps, which go through the keys (or the queries, for dK and dV) together. Sums have a fixed order: the gradient of a key
// is made by one warp, over the queries in order, and over the query heads of its group in order.
#include "attention.cuh"

using namespace cambium;

constexpr int kLanes = 8;  // channels a lane holds at most: head sizes up to 256
constexpr int kRows = 4;   // warps, and rows, a block

// Vector is one head's channels of one token, spread over the lanes of a warp.
struct Vector {
    float v[kLanes];
};

template <class T>
__device__ __forceinline__ Vector channels(const View& x, long long token, int head, int size) {
    Vector r;
    const T* from = row<T>(x, token) + static_cast<long long>(head) * size;
#pragma unroll
    for (int i = 0; i < kLanes; i++) {
        const int c = threadIdx.x % 32 + 32 * i;
        r.v[i] = c < size ? load(from[c]) : 0.0f;
    }
    return r;
}

template <class T>
__device__ __forceinline__ void store(const View& x, long long token, int head, int size, const Vector& r) {
    T* to = row<T>(x, token) + static_cast<long long>(head) * size;
#pragma unroll
    for (int i = 0; i < kLanes; i++) {
        const int c = threadIdx.x % 32 + 32 * i;
        if (c < size) to[c] = round<T>(r.v[i]);
    }
}

__device__ __forceinline__ float dot(const Vector& a, const Vector& b) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kLanes; i++) sum += a.v[i] * b.v[i];
    return warpSum(sum);
}

__device__ __forceinline__ void add(Vector& a, float f, const Vector& b) {
#pragma unroll
    for (int i = 0; i < kLanes; i++) a.v[i] += f * b.v[i];
}

template <class T>
__device__ void attentionForward(const Attention& a) {
    const int t = blockIdx.x * kRows + threadIdx.x / 32, head = blockIdx.y, group = head / (a.heads / a.groups);
    const long long first = static_cast<long long>(blockIdx.z) * a.seq;
    if (t >= a.seq) return;
    const Vector q = channels<T>(a.q, first + t, head, a.headDim);
    Vector o = {};
    float top = -INFINITY, sum = 0;
    for (int s = 0; s <= t; s++) {
        const float score = a.scale * dot(q, channels<T>(a.k, first + s, group, a.headDim));
        const float higher = fmaxf(top, score), keep = expf(top - higher), weight = expf(score - higher);
        sum = sum * keep + weight;
#pragma unroll
        for (int i = 0; i < kLanes; i++) o.v[i] *= keep;
        add(o, weight, channels<T>(a.v, first + s, group, a.headDim));
        top = higher;
    }
    const float factor = (a.headScale ? a.headScale[head] : 1.0f) / sum;
#pragma unroll
    for (int i = 0; i < kLanes; i++) o.v[i] *= factor;
    store<T>(a.o, first + t, head, a.headDim, o);
    if (threadIdx.x % 32 == 0) a.lse[(static_cast<long long>(blockIdx.z) * a.heads + head) * a.seq + t] = top + logf(sum);
}

// One warp a query.
template <class T>
__device__ void attentionQueries(const Attention& a) {
    const int t = blockIdx.x * kRows + threadIdx.x / 32, head = blockIdx.y, group = head / (a.heads / a.groups);
    const long long first = static_cast<long long>(blockIdx.z) * a.seq;
    if (t >= a.seq) return;
    const Vector q = channels<T>(a.q, first + t, head, a.headDim), dO = channels<T>(a.dO, first + t, head, a.headDim);
    const float d = dot(dO, channels<T>(a.o, first + t, head, a.headDim)), factor = a.headScale ? a.headScale[head] : 1.0f;
    const float lse = a.lse[(static_cast<long long>(blockIdx.z) * a.heads + head) * a.seq + t];
    Vector dq = {};
    for (int s = 0; s <= t; s++) {
        const Vector k = channels<T>(a.k, first + s, group, a.headDim);
        const float p = expf(a.scale * dot(q, k) - lse);
        const float dp = factor * dot(dO, channels<T>(a.v, first + s, group, a.headDim));
        add(dq, a.scale * p * (dp - d), k);
    }
    store<T>(a.dq, first + t, head, a.headDim, dq);
}

// One warp a key.
template <class T>
__device__ void attentionKeys(const Attention& a) {
    const int s = blockIdx.x * kRows + threadIdx.x / 32, group = blockIdx.y, share = a.heads / a.groups;
    const long long first = static_cast<long long>(blockIdx.z) * a.seq;
    if (s >= a.seq) return;
    const Vector k = channels<T>(a.k, first + s, group, a.headDim), v = channels<T>(a.v, first + s, group, a.headDim);
    Vector dk = {}, dv = {};
    for (int head = group * share; head < (group + 1) * share; head++) {
        const float factor = a.headScale ? a.headScale[head] : 1.0f;
        const float* lse = a.lse + (static_cast<long long>(blockIdx.z) * a.heads + head) * a.seq;
        for (int t = s; t < a.seq; t++) {
            const Vector q = channels<T>(a.q, first + t, head, a.headDim), dO = channels<T>(a.dO, first + t, head, a.headDim);
            const float d = dot(dO, channels<T>(a.o, first + t, head, a.headDim));
            const float p = expf(a.scale * dot(q, k) - lse[t]);
            add(dv, factor * p, dO);
            add(dk, a.scale * p * (factor * dot(dO, v) - d), q);
        }
    }
    store<T>(a.dk, first + s, group, a.headDim, dk);
    store<T>(a.dv, first + s, group, a.headDim, dv);
}

#define ATTENTION(suffix, type)                                                                                              \
    extern "C" __global__ void __launch_bounds__(128) attention_forward_##suffix(Attention a) { attentionForward<type>(a); } \
    KERNEL(attention_forward_##suffix);                                                                                      \
    extern "C" __global__ void __launch_bounds__(128) attention_queries_##suffix(Attention a) { attentionQueries<type>(a); } \
    KERNEL(attention_queries_##suffix);                                                                                      \
    extern "C" __global__ void __launch_bounds__(128) attention_keys_##suffix(Attention a) { attentionKeys<type>(a); }       \
    KERNEL(attention_keys_##suffix);
FOR_TYPES(ATTENTION)
