// Causal attention on tensor cores, backward (see kernel.cu for the formulas, flash.cuh for tiles), in three launches: D, then dQ
// with a block for 64 queries, and dK and dV with a block for 64 keys, which makes the transposed scores and takes the query
// heads of its group one after the other. Nothing is added across blocks: sums have a fixed order. P and dS are rounded to T where
// they meet the other factor.
#include "flash.cuh"

using namespace cambium;

// D, a group of lanes a token and head, 16 bytes a lane.
template <class T, int D>
__device__ void flashRows(const Attention& a) {
    constexpr int lanes = D / 8;
    const int t = blockIdx.x * (kThreads / lanes) + threadIdx.x / lanes, head = blockIdx.y;
    const long long token = (a.first + static_cast<long long>(blockIdx.z)) * a.seq + min(t, a.seq - 1);
    const int c = head * D + threadIdx.x % lanes * 8;
    const Pack<T> o = *reinterpret_cast<const Pack<T>*>(row<T>(a.o, token) + c),
                  dO = *reinterpret_cast<const Pack<T>*>(row<T>(a.dO, token) + c);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) sum += load(o.v[i]) * load(dO.v[i]);
#pragma unroll
    for (int i = lanes / 2; i > 0; i /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, i);
    if (threadIdx.x % lanes == 0 && t < a.seq) a.d[(static_cast<long long>(blockIdx.z) * a.heads + head) * a.seq + t] = sum;
}

template <class T, int D>
__device__ void flashQueries(const Attention& a) {
    constexpr int N = 4096 / D, tile = N * kStride<D>, own = kRows * kStride<D>;
    DYNAMIC_SHARED(T, shared);
    T *const queries = shared, *const dOs = shared + own, *const keys = dOs + own, *const values = keys + 2 * tile;
    const int q0 = (gridDim.x - 1 - blockIdx.x) * kRows;  // the longest work first
    const int head = blockIdx.y, group = head / (a.heads / a.groups);
    const long long batch = a.first + static_cast<long long>(blockIdx.z), first = batch * a.seq;
    const int lane = threadIdx.x % 32, m = threadIdx.x / 32 * 16, t = q0 + m + lane / 4;
    const int tiles = (min(q0 + kRows, a.seq) + N - 1) / N;
    const auto fetchTile = [&](int j) {
        fetch<T, D, N>(keys + j % 2 * tile, a.k, first, j * N, group, a.seq);
        fetch<T, D, N>(values + j % 2 * tile, a.v, first, j * N, group, a.seq);
    };
    fetch<T, D, kRows>(queries, a.q, first, q0, head, a.seq);
    fetch<T, D, kRows>(dOs, a.dO, first, q0, head, a.seq);
    fetchTile(0);
    copyCommit();
    const float factor = a.headScale ? a.headScale[head] : 1.0f, scale = a.scale * kLog2E;
    float lse[2], d[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const bool there = t + 8 * h < a.seq;
        lse[h] = there ? a.lse[(batch * a.heads + head) * a.seq + t + 8 * h] * kLog2E : 0.0f;
        d[h] = there ? a.d[(static_cast<long long>(blockIdx.z) * a.heads + head) * a.seq + t + 8 * h] : 0.0f;
    }
    float dq[D / 8][4] = {};
    for (int j = 0; j < tiles; j++) {
        copyWait<0>();
        __syncthreads();  // tile j is there for all, and nobody reads the one that the next fetch overwrites
        if (j + 1 < tiles) fetchTile(j + 1);
        copyCommit();
        const T *k = keys + j % 2 * tile, *v = values + j % 2 * tile;
        float s[N / 8][4], dp[N / 8][4];
        scores<T, D, N>(
            s, [&](uint32_t(&r)[4], int c) { fragmentA<T, D>(r, queries, m, c); }, k);
        scores<T, D, N>(
            dp, [&](uint32_t(&r)[4], int c) { fragmentA<T, D>(r, dOs, m, c); }, v);
        const bool mask = j * N + N > q0;
#pragma unroll
        for (int n = 0; n < N / 8; n++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                float p = exp2f(s[n][e] * scale - lse[e / 2]);
                if (mask && j * N + lane % 4 * 2 + 8 * n + e % 2 > t + e / 2 * 8) p = 0;
                s[n][e] = p * (factor * dp[n][e] - d[e / 2]);
            }
        }
        weighted<T, D, N>(dq, s, k);
    }
    copyWait<0>();
    const float f[2] = {a.scale, a.scale};
    storeRows<T, D>(a.dq, first + q0 + m, a.seq - q0 - m, head, queries + m * kStride<D>, dq, f);
}

template <class T, int D>
__device__ void flashKeys(const Attention& a) {
    constexpr int N = 4096 / D, tile = N * kStride<D>, own = kRows * kStride<D>;
    __shared__ float lse[2][N], d[2][N];  // of the queries of a tile
    DYNAMIC_SHARED(T, shared);
    T *const keys = shared, *const values = shared + own, *const queries = values + own, *const dOs = queries + 2 * tile;
    const int k0 = blockIdx.x * kRows, group = blockIdx.y, share = a.heads / a.groups;
    const long long batch = a.first + static_cast<long long>(blockIdx.z), first = batch * a.seq;
    const int lane = threadIdx.x % 32, m = threadIdx.x / 32 * 16;
    const int begin = k0 / N, each = (a.seq + N - 1) / N - begin;  // tiles of queries a head, from the diagonal on
    const auto fetchTile = [&](int j) {
        const int head = group * share + j / each, q0 = (begin + j % each) * N;
        fetch<T, D, N>(queries + j % 2 * tile, a.q, first, q0, head, a.seq);
        fetch<T, D, N>(dOs + j % 2 * tile, a.dO, first, q0, head, a.seq);
        if (threadIdx.x < N) {
            const int t = q0 + threadIdx.x;
            lse[j % 2][threadIdx.x] = t < a.seq ? a.lse[(batch * a.heads + head) * a.seq + t] * kLog2E : 0.0f;
            d[j % 2][threadIdx.x] = t < a.seq ? a.d[(static_cast<long long>(blockIdx.z) * a.heads + head) * a.seq + t] : 0.0f;
        }
    };
    fetch<T, D, kRows>(keys, a.k, first, k0, group, a.seq);
    fetch<T, D, kRows>(values, a.v, first, k0, group, a.seq);
    fetchTile(0);
    copyCommit();
    const float scale = a.scale * kLog2E;
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    for (int j = 0; j < share * each; j++) {
        copyWait<0>();
        __syncthreads();  // tile j is there for all, and nobody reads the one that the next fetch overwrites
        if (j + 1 < share * each) fetchTile(j + 1);
        copyCommit();
        const T *q = queries + j % 2 * tile, *dO = dOs + j % 2 * tile;
        const int q0 = (begin + j % each) * N;
        const float factor = a.headScale ? a.headScale[group * share + j / each] : 1.0f;
        float s[N / 8][4], dp[N / 8][4];
        scores<T, D, N>(
            s, [&](uint32_t(&r)[4], int c) { fragmentA<T, D>(r, keys, m, c); }, q);
        scores<T, D, N>(
            dp, [&](uint32_t(&r)[4], int c) { fragmentA<T, D>(r, values, m, c); }, dO);
        const bool mask = q0 < k0 + kRows;
#pragma unroll
        for (int n = 0; n < N / 8; n++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int at = lane % 4 * 2 + 8 * n + e % 2;
                float p = exp2f(s[n][e] * scale - lse[j % 2][at]);
                if (mask && k0 + m + lane / 4 + e / 2 * 8 > q0 + at) p = 0;
                s[n][e] = p * factor;
                dp[n][e] = p * (factor * dp[n][e] - d[j % 2][at]);
            }
        }
        weighted<T, D, N>(dv, s, dO);
        weighted<T, D, N>(dk, dp, q);
    }
    copyWait<0>();
    const float one[2] = {1, 1}, f[2] = {a.scale, a.scale};
    storeRows<T, D>(a.dk, first + k0 + m, a.seq - k0 - m, group, keys + m * kStride<D>, dk, f);
    storeRows<T, D>(a.dv, first + k0 + m, a.seq - k0 - m, group, values + m * kStride<D>, dv, one);
}

FLASH(rows, flashRows)
FLASH(queries, flashQueries)
FLASH(keys, flashKeys)
