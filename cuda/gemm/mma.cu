// GEMM on tensor cores, for bf16 and fp16 on sm_80 and later, with fp32 accumulation: mma.sync m16n8k16, operands through
// ldmatrix from shared memory, which cp.async fills three slices ahead. A block of 8 warps makes a tile of 128 x 128, a warp 64 x 32
// of it, over slices of 32 of the inner dimension.
//
// Each operand may lie either way: its slice keeps the global order (rows of 16 aligned bytes stay rows), and ldmatrix
// transposes where the fragment wants it. Rows in shared memory are padded so that the eight rows of an ldmatrix fall into
// different banks. Edges are zero: cp.async reads fewer bytes there. Addresses and row distances of A and B must be multiples of
// 16 bytes.
#include "epilogue.cuh"

using namespace cambium;

namespace {

constexpr int kTile = 128, kDepth = 32, kStages = 3, kThreads = 256;
constexpr int kLong = kTile + 8, kShort = kDepth + 8;  // padded rows of a slice that lies across, and along, the inner dimension
constexpr int kSlice = kTile * kShort;                 // elements of a slice: the larger of the two forms

// Operand is one of A and B: rows of `outer` m (or n) and columns of the inner dimension, or the other way round.
template <class T, bool Across>
struct Operand {
    const View& view;
    int outer, inner;  // sizes
    int outer0;        // where the tile begins

    // fetch starts the copy of the slice that begins at k0.
    __device__ __forceinline__ void fetch(T* slice, int k0) const {
#pragma unroll
        for (int i = 0; i < kTile * kDepth / 8 / kThreads; i++) {
            const int chunk = threadIdx.x + i * kThreads;
            constexpr int perRow = (Across ? kTile : kDepth) / 8;
            const int r = chunk / perRow, c = chunk % perRow * 8;
            const int row_ = (Across ? k0 : outer0) + r, col = (Across ? outer0 : k0) + c;
            const int rows = Across ? inner : outer, cols = Across ? outer : inner;
            const int left = row_ < rows ? min(max(cols - col, 0), 8) : 0;
            copyAsync(slice + r * (Across ? kLong : kShort) + c, left ? row<T>(view, row_) + col : static_cast<const T*>(view.data),
                      static_cast<unsigned>(left * sizeof(T)));
        }
    }
};

// fragmentA loads the 16 x 16 piece of A at (m, k) of a slice; Across: the slice is [k][m].
template <class T, bool Across>
__device__ __forceinline__ void fragmentA(uint32_t (&r)[4], const T* slice, int m, int k) {
    const int lane = threadIdx.x % 32;
    if (Across)
        loadMatricesTransposed(r, slice + (k + lane / 16 * 8 + lane % 8) * kLong + m + lane / 8 % 2 * 8);
    else
        loadMatrices(r, slice + (m + lane % 16) * kShort + k + lane / 16 * 8);
}

// fragmentB loads two 16 x 8 pieces of B, at (k, n) and (k, n + 8); Across: the slice is [k][n].
template <class T, bool Across>
__device__ __forceinline__ void fragmentB(uint32_t (&r)[4], const T* slice, int n, int k) {
    const int lane = threadIdx.x % 32;
    if (Across)
        loadMatricesTransposed(r, slice + (k + lane / 8 % 2 * 8 + lane % 8) * kLong + n + lane / 16 * 8);
    else
        loadMatrices(r, slice + (n + lane / 16 * 8 + lane % 8) * kShort + k + lane / 8 % 2 * 8);
}

template <class T, class C, bool TransA, bool TransB>
__device__ void tensorCores(const Gemm& g) {
    DYNAMIC_SHARED(T, shared);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int wm = warp / 4 * 64, wn = warp % 4 * 32;
    const Operand<T, TransA> a{g.a, g.m, g.k, static_cast<int>(blockIdx.y) * kTile};
    const Operand<T, !TransB> b{g.b, g.n, g.k, static_cast<int>(blockIdx.x) * kTile};
    const int slices = (g.k + kDepth - 1) / kDepth;
    const auto fetch = [&](int s) {
        if (s < slices) {
            a.fetch(shared + s % kStages * 2 * kSlice, s * kDepth);
            b.fetch(shared + (s % kStages * 2 + 1) * kSlice, s * kDepth);
        }
        copyCommit();  // also when there is nothing left, so that the count of pending groups stays the same
    };
    float acc[4][4][4] = {};
    for (int s = 0; s < kStages - 1; s++) fetch(s);
    for (int s = 0; s < slices; s++) {
        copyWait<kStages - 2>();
        __syncthreads();  // slice s is there for all, and nobody reads the one that the next fetch overwrites
        fetch(s + kStages - 1);
        const T* as = shared + s % kStages * 2 * kSlice;
        const T* bs = as + kSlice;
#pragma unroll
        for (int k = 0; k < kDepth; k += 16) {
            uint32_t fa[4][4], fb[2][4];
#pragma unroll
            for (int i = 0; i < 4; i++) fragmentA<T, TransA>(fa[i], as, wm + 16 * i, k);
#pragma unroll
            for (int j = 0; j < 2; j++) fragmentB<T, !TransB>(fb[j], bs, wn + 16 * j, k);
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const uint32_t pair[2] = {fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]};
                    mma<T>(acc[i][j], fa[i], pair, acc[i][j]);
                }
            }
        }
    }
    copyWait<0>();
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int m = a.outer0 + wm + 16 * i + lane / 4 + e / 2 * 8, n = b.outer0 + wn + 8 * j + lane % 4 * 2 + e % 2;
                if (m < g.m && n < g.n) finish<T, C>(g, m, n, acc[i][j][e]);
            }
        }
    }
}

}  // namespace

// Names end in how op(A) and op(B) lie: n as they are, t transposed.
#define MMA(t, c, T, C, form, TransA, TransB)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) gemm_mma_##t##_##c##_##form(Gemm g) { tensorCores<T, C, TransA, TransB>(g); } \
    KERNEL(gemm_mma_##t##_##c##_##form);
#define FORMS(t, c, T, C)             \
    MMA(t, c, T, C, nn, false, false) \
    MMA(t, c, T, C, nt, false, true)  \
    MMA(t, c, T, C, tn, true, false)  \
    MMA(t, c, T, C, tt, true, true)
FORMS(bf16, bf16, bf16, bf16)
FORMS(bf16, f32, bf16, float)
FORMS(f16, f16, f16, f16)
FORMS(f16, f32, f16, float)
