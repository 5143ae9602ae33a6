// The pieces of attention on tensor cores (FlashAttention-2, arXiv 2307.08691). A block has 4 warps and owns 64 rows (queries, or
// keys for dK and dV), a warp 16 of them: one m16 fragment. The other side's rows come by in tiles of N, which cp.async fetches
// one ahead. Tiles keep the global order, [row][channel], with rows padded by 16 bytes so that the eight rows of an
// ldmatrix fall into different banks. Rows beyond the sequence are zero.
#pragma once

#include "attention.cuh"

namespace cambium {

constexpr int kRows = 64, kThreads = 128;
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

template <int D>
constexpr int kStride = D + 8;

// fetch starts the copy of N rows of one head, from row0 of the sequence whose first token is `first`.
template <class T, int D, int N>
__device__ __forceinline__ void fetch(T* tile, const View& x, long long first, int row0, int head, int seq) {
#pragma unroll
    for (int i = 0; i < N * D / 8 / kThreads; i++) {
        const int chunk = threadIdx.x + i * kThreads, r = chunk / (D / 8), c = chunk % (D / 8) * 8;
        const bool there = row0 + r < seq;
        copyAsync(tile + r * kStride<D> + c, there ? row<T>(x, first + row0 + r) + head * D + c : static_cast<const T*>(x.data),
                  there ? 16 : 0);
    }
}

// fragmentA loads the 16 x 16 piece at (m, k) of a tile.
template <class T, int D>
__device__ __forceinline__ void fragmentA(uint32_t (&r)[4], const T* tile, int m, int k) {
    const int lane = threadIdx.x % 32;
    loadMatrices(r, tile + (m + lane % 16) * kStride<D> + k + lane / 16 * 8);
}

// mmaPair multiplies with two neighbouring 16 x 8 pieces of B.
template <class T>
__device__ __forceinline__ void mmaPair(float (&c0)[4], float (&c1)[4], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
    const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
    mma<T>(c0, a, b0, c0);
    mma<T>(c1, a, b1, c1);
}

// scores is s = A tile^T, 16 x N, over the channels; fragment(r, k) gives the piece of A at channel k.
template <class T, int D, int N, class Fragment>
__device__ __forceinline__ void scores(float (&s)[N / 8][4], const Fragment& fragment, const T* tile) {
    const int lane = threadIdx.x % 32;
    const T* at = tile + (lane / 16 * 8 + lane % 8) * kStride<D> + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < N / 8; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        uint32_t a[4];
        fragment(a, k);
#pragma unroll
        for (int n = 0; n < N; n += 16) {
            uint32_t b[4];
            loadMatrices(b, at + n * kStride<D> + k);
            mmaPair<T>(s[n / 8], s[n / 8 + 1], a, b);
        }
    }
}

// weighted is acc += W tile, 16 x D, for weights W that lie as scores leaves its result, rounded to T.
template <class T, int D, int N>
__device__ __forceinline__ void weighted(float (&acc)[D / 8][4], const float (&w)[N / 8][4], const T* tile) {
    const int lane = threadIdx.x % 32;
    const T* at = tile + (lane / 8 % 2 * 8 + lane % 8) * kStride<D> + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < N; k += 16) {
        // The accumulator of two 16 x 8 pieces is a 16 x 16 fragment of A, but for the types.
        const float(&w0)[4] = w[k / 8], (&w1)[4] = w[k / 8 + 1];
        const uint32_t a[4] = {packed<T>(w0[0], w0[1]), packed<T>(w0[2], w0[3]), packed<T>(w1[0], w1[1]), packed<T>(w1[2], w1[3])};
#pragma unroll
        for (int n = 0; n < D; n += 16) {
            uint32_t b[4];
            loadMatricesTransposed(b, at + k * kStride<D> + n);
            mmaPair<T>(acc[n / 8], acc[n / 8 + 1], a, b);
        }
    }
}

// storeRows writes a warp's 16 x D result, times f[0] in its rows 0 to 7 and f[1] in 8 to 15, through 16 rows of shared memory that no
// other warp uses, of which `rows` are in the sequence.
template <class T, int D>
__device__ __forceinline__ void storeRows(const View& to, long long token, int rows, int head, T* staging, const float (&acc)[D / 8][4],
                                          const float (&f)[2]) {
    const int lane = threadIdx.x % 32;
    T* at = staging + lane / 4 * kStride<D> + lane % 4 * 2;
    __syncwarp();
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) at[e / 2 * 8 * kStride<D> + 8 * n + e % 2] = round<T>(acc[n][e] * f[e / 2]);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 16 * D / 8 / 32; i++) {
        const int chunk = lane + 32 * i, r = chunk / (D / 8), c = chunk % (D / 8) * 8;
        if (r < rows)
            *reinterpret_cast<Pack<T>*>(row<T>(to, token + r) + head * D + c) =
                *reinterpret_cast<const Pack<T>*>(staging + r * kStride<D> + c);
    }
}

}  // namespace cambium

// FLASH declares a kernel for both 16-bit types and both head sizes.
#define FLASH_KERNEL(name, f, t, T, D)                                                                                \
    extern "C" __global__ void __launch_bounds__(128) attention_flash_##name##_##D##_##t(Attention a) { f<T, D>(a); } \
    KERNEL(attention_flash_##name##_##D##_##t);
#define FLASH(name, f)                              \
    FLASH_KERNEL(name, f, bf16, cambium::bf16, 64)  \
    FLASH_KERNEL(name, f, bf16, cambium::bf16, 128) \
    FLASH_KERNEL(name, f, f16, cambium::f16, 64)    \
    FLASH_KERNEL(name, f, f16, cambium::f16, 128)
