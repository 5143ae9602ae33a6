// GEMM without tensor cores: fp32, and 16-bit operands whose rows are not aligned to 16 bytes. A block of 256 threads makes a
// tile of 64 x 64, 4 x 4 elements a thread, over slices of 16 of the inner dimension in shared memory.
#include "epilogue.cuh"

using namespace cambium;

template <class T, class C>
__device__ void simt(const Gemm& g) {
    constexpr int tile = 64, depth = 16;
    __shared__ float as[depth][tile + 4], bs[depth][tile + 4];
    const int m0 = blockIdx.y * tile, n0 = blockIdx.x * tile, tm = threadIdx.x / 16 * 4, tn = threadIdx.x % 16 * 4;
    float acc[4][4] = {};
    for (int k0 = 0; k0 < g.k; k0 += depth) {
        for (int i = threadIdx.x; i < tile * depth; i += 256) {
            // Neighbouring threads read neighbouring addresses, whichever way the operand lies.
            const int am = g.transA ? i % tile : i / depth, ak = g.transA ? i / tile : i % depth;
            const int bn = g.transB ? i / depth : i % tile, bk = g.transB ? i % depth : i / tile;
            float a = 0, b = 0;
            if (m0 + am < g.m && k0 + ak < g.k) a = load(g.transA ? row<T>(g.a, k0 + ak)[m0 + am] : row<T>(g.a, m0 + am)[k0 + ak]);
            if (n0 + bn < g.n && k0 + bk < g.k) b = load(g.transB ? row<T>(g.b, n0 + bn)[k0 + bk] : row<T>(g.b, k0 + bk)[n0 + bn]);
            as[ak][am] = a;
            bs[bk][bn] = b;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < depth; k++) {
            float a[4], b[4];
            for (int i = 0; i < 4; i++) a[i] = as[k][tm + i], b[i] = bs[k][tn + i];
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) acc[i][j] += a[i] * b[j];
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            if (m0 + tm + i < g.m && n0 + tn + j < g.n) finish<T, C>(g, m0 + tm + i, n0 + tn + j, acc[i][j]);
}

#define SIMT(t, c, T, C)                                                                             \
    extern "C" __global__ void __launch_bounds__(256) gemm_simt_##t##_##c(Gemm g) { simt<T, C>(g); } \
    KERNEL(gemm_simt_##t##_##c);
SIMT(f32, f32, float, float)
SIMT(bf16, bf16, bf16, bf16)
SIMT(bf16, f32, bf16, float)
SIMT(f16, f16, f16, f16)
SIMT(f16, f32, f16, float)
