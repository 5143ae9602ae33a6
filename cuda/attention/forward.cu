// Causal attention on tensor cores, forward (see kernel.cu for the formulas, flash.cuh for tiles). Softmax goes along with the
// keys: with m the largest score so far, in powers of two,
//
//	m' = max(m, max_s S)     l = l 2^(m-m') + sum_s 2^(S-m')     O = O 2^(m-m') + 2^(S-m') V
//
// and ends as O/l and LSE = (m + log2 l) ln 2. P is rounded to T where it meets V; l sums it unrounded.
#include "flash.cuh"

using namespace cambium;

// soften turns scores into weights 2^(S-m), and brings sums and outputs so far to the new maximum. mask: keys beyond the query count
// nothing; key and query are those of the thread's first element.
template <int D, int N>
__device__ __forceinline__ void soften(float (&s)[N / 8][4], float (&o)[D / 8][4], float (&top)[2], float (&sum)[2], float scale, bool mask,
                                       int key, int query) {
    float higher[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < N / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            s[n][e] *= scale;
            if (mask && key + 8 * n + e % 2 > query + e / 2 * 8) s[n][e] = -INFINITY;
            higher[e / 2] = fmaxf(higher[e / 2], s[n][e]);
        }
    }
    float keep[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {  // a row lies in four neighbouring lanes
        higher[h] = fmaxf(higher[h], __shfl_xor_sync(0xffffffffu, higher[h], 1));
        higher[h] = fmaxf(higher[h], __shfl_xor_sync(0xffffffffu, higher[h], 2));
        keep[h] = exp2f(top[h] - higher[h]);
        top[h] = higher[h];
        sum[h] *= keep[h];
    }
#pragma unroll
    for (int n = 0; n < N / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) sum[e / 2] += s[n][e] = exp2f(s[n][e] - top[e / 2]);
    }
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) o[n][e] *= keep[e / 2];
    }
}

template <class T, int D>
__device__ void flashForward(const Attention& a) {
    constexpr int N = kRows, tile = N * kStride<D>;
    DYNAMIC_SHARED(T, shared);
    T *const queries = shared, *const keys = shared + tile, *const values = keys + 2 * tile;
    const int q0 = (gridDim.x - 1 - blockIdx.x) * kRows;  // the longest work first
    const int head = blockIdx.y, group = head / (a.heads / a.groups);
    const long long batch = a.first + static_cast<long long>(blockIdx.z), first = batch * a.seq;
    const int lane = threadIdx.x % 32, m = threadIdx.x / 32 * 16;
    const int tiles = (min(q0 + kRows, a.seq) + N - 1) / N;
    const auto fetchTile = [&](int j) {
        fetch<T, D, N>(keys + j % 2 * tile, a.k, first, j * N, group, a.seq);
        fetch<T, D, N>(values + j % 2 * tile, a.v, first, j * N, group, a.seq);
    };
    fetch<T, D, kRows>(queries, a.q, first, q0, head, a.seq);
    fetchTile(0);
    copyCommit();
    copyWait<0>();
    __syncthreads();
    uint32_t q[D / 16][4];
#pragma unroll
    for (int k = 0; k < D / 16; k++) fragmentA<T, D>(q[k], queries, m, 16 * k);
    const auto fragment = [&](uint32_t(&r)[4], int k) {
#pragma unroll
        for (int i = 0; i < 4; i++) r[i] = q[k / 16][i];
    };
    float o[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    for (int j = 0; j < tiles; j++) {
        copyWait<0>();
        __syncthreads();  // tile j is there for all, and nobody reads the one that the next fetch overwrites
        if (j + 1 < tiles) fetchTile(j + 1);
        copyCommit();
        float s[N / 8][4];
        scores<T, D, N>(s, fragment, keys + j % 2 * tile);
        soften<D, N>(s, o, top, sum, a.scale * kLog2E, j * N + N > q0, j * N + lane % 4 * 2, q0 + m + lane / 4);
        weighted<T, D, N>(o, s, values + j % 2 * tile);
    }
    copyWait<0>();
    const float factor = a.headScale ? a.headScale[head] : 1.0f;
    float f[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
        f[h] = factor / sum[h];
        const int t = q0 + m + lane / 4 + 8 * h;
        if (lane % 4 == 0 && t < a.seq) a.lse[(batch * a.heads + head) * a.seq + t] = top[h] * kLn2 + logf(sum[h]);
    }
    storeRows<T, D>(a.o, first + q0 + m, a.seq - q0 - m, head, queries + m * kStride<D>, o, f);
}

FLASH(forward, flashForward)
