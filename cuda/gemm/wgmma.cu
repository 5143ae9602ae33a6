// GEMM for sm_90a, for bf16 and fp16, with fp32 accumulation. A persistent block of three warpgroups makes tiles of 128 x 256: the
// first fetches slices of 64 of the inner dimension by TMA into a ring of four, the other two compute 64 rows each by wgmma, and write
// their results through shared memory by TMA, in the background of the next tile. Blocks of a cluster, one below the other, share what
// they fetch of B.
//
// Each operand may lie either way; wgmma takes both. Edges are TMA's: what lies outside reads as zero and is not written. Addresses and
// row distances of all tensors must be multiples of 16 bytes, and so must the rows of results: TMA writes whole pieces of 16 bytes.
//
// When the tiles do not fill the device evenly, clusters take equal runs of the sequence of all slices of all tiles (stream-K, arXiv
// 2301.03598) instead of whole tiles. Who has a tile's first slice ends it: it adds what the others leave in a workspace, in the order
// of slices, so that results do not depend on timing.
#include "../common/hopper.cuh"
#include "epilogue.cuh"

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

using namespace cambium;

namespace cambium {

// TensorGemm is a Gemm with its tensors as TMA sees them. The host's mirror is in src/backend/cuda.
struct TensorGemm {
    TensorMap a, b, c,
        pre;       // boxes: 64 x 64, or 64 columns and 128 rows where the inner dimension is contiguous; c, pre 128 bytes x 64 rows
    View earlier;  // what is read for the end: Pre with kGeluGradient, C of 16 bits with accumulate
    const void* bias;
    float* partial;   // a tile a block, for what others end
    unsigned* ready;  // a flag a block; all 0 between launches
    float alpha;
    int m, n, k, accumulate;
    int withPre;  // kGelu writes pre
    int split;    // stream-K
};

}  // namespace cambium

namespace {

constexpr int kTileM = 128, kTileN = 256, kDepth = 64, kStages = 4, kThreads = 384;
constexpr int kBytesA = kTileM * kDepth * 2, kBytesB = kTileN * kDepth * 2, kStage = kBytesA + kBytesB;
constexpr int kBox = 8192;                              // bytes of 64 rows of a tile
constexpr int kBarriers = kStages * kStage + 4 * kBox;  // behind the ring: two boxes a computing warpgroup for its results
constexpr int kTilePart = kTileM * kTileN;              // elements of a block's tile

// Work goes through a cluster's tiles: rows of tiles are those of a cluster, kCluster x 128 high.
template <int kCluster>
struct Work {
    const int rows, columns, depth;  // tiles down and across, slices of one
    const bool split;
    int at, end, step;          // tiles, or slices of the whole sequence with split
    int m = 0, n = 0;           // the tile
    int begin = 0, slices = 0;  // its slices [begin, slices)
    int cluster = 0, clusters = 0;

    __device__ __forceinline__ explicit Work(const TensorGemm& g)
        : rows((g.m + kCluster * kTileM - 1) / (kCluster * kTileM)),
          columns((g.n + kTileN - 1) / kTileN),
          depth((g.k + kDepth - 1) / kDepth),
          split(g.split) {
        clusters = gridDim.x / kCluster;
        // The last comes first: who ends a tile waits for blocks that were started before it.
        cluster = clusters - 1 - static_cast<int>(blockIdx.x) / kCluster;
        if (split)
            at = first(cluster), end = first(cluster + 1), step = 0;
        else
            at = cluster, end = rows * columns, step = clusters;
    }
    // first is where the run of a cluster begins.
    __device__ __forceinline__ int first(int c) const {
        return static_cast<int>(static_cast<long long>(rows) * columns * depth * c / clusters);
    }

    __device__ __forceinline__ bool next() {
        if (at >= end) return false;
        int tile = at;
        begin = 0, slices = depth;
        if (split) {
            tile = at / depth;
            begin = at - tile * depth;
            slices = min(depth, begin + end - at);
            at += slices - begin;
        } else {
            at += step;
        }
        // Tiles go down in bands of 8 rows, so that those under way at a time share rows and columns in the L2.
        constexpr int band = 8;
        const int above = tile / (band * columns) * band, height = min(rows - above, band), inBand = tile - above * columns;
        m = above + inBand % height;
        n = inBand / height;
        return true;
    }
};

// Ring is the place in the ring of slices, and the parity of its barriers.
struct Ring {
    int stage = 0, parity = 0;
    __device__ __forceinline__ void next() {
        if (++stage == kStages) stage = 0, parity ^= 1;
    }
};

// fetch is the life of the thread that fetches.
template <int kCluster, bool AlongA, bool AlongB>
__device__ __forceinline__ void fetch(const TensorGemm& g, unsigned char* shared, uint64_t* full, uint64_t* empty, int rank) {
    tensorPrefetch(&g.a);
    tensorPrefetch(&g.b);
    Ring ring;
    for (Work<kCluster> w(g); w.next();) {
        const int m0 = (w.m * kCluster + rank) * kTileM, n0 = w.n * kTileN;
        for (int s = w.begin; s < w.slices; s++, ring.next()) {
            unsigned char *a = shared + ring.stage * kStage, *b = a + kBytesA;
            uint64_t* bar = full + ring.stage;
            const int k0 = s * kDepth;
            barrierWait(empty + ring.stage, ring.parity ^ 1);
            barrierExpect(bar, kStage);
            if (AlongA) {
                tensorFetch(a, &g.a, k0, m0, bar, 0);
            } else {
                tensorFetch(a, &g.a, m0, k0, bar, 0);
                tensorFetch(a + kBox, &g.a, m0 + 64, k0, bar, 0);
            }
#pragma unroll
            for (int h = 0; h < 2; h++) {  // halves of B: in a cluster each block fetches one, for both
                if (kCluster == 2 && h != rank) continue;
                constexpr int all = kCluster == 2 ? 3 : 0;
                if (AlongB) {
                    tensorFetch(b + 2 * h * kBox, &g.b, k0, n0 + 128 * h, bar, all);
                } else {
                    tensorFetch(b + 2 * h * kBox, &g.b, n0 + 128 * h, k0, bar, all);
                    tensorFetch(b + (2 * h + 1) * kBox, &g.b, n0 + 128 * h + 64, k0, bar, all);
                }
            }
        }
    }
}

// multiply gives the warpgroup's 64 x 256 products over the slices of w.
template <int kCluster, class T, bool AlongA, bool AlongB>
__device__ __forceinline__ void multiply(float (&acc)[128], const Work<kCluster>& w, const unsigned char* shared, uint64_t* full,
                                         uint64_t* empty, Ring& ring, int half) {
    const auto release = [](uint64_t* bar) {
        const int t = threadIdx.x % 128;
        if (kCluster == 1 && t == 0) barrierArrive(bar);
        if (kCluster > 1 && t < kCluster) barrierArriveAt(bar, t);
    };
    uint64_t* used = nullptr;
    for (int s = w.begin; s < w.slices; s++, ring.next()) {
        const unsigned char* stage = shared + ring.stage * kStage;
        const uint64_t a = operandOf<AlongA>(stage + half * kBox), b = operandOf<AlongB>(stage + kBytesA);
        barrierWait(full + ring.stage, ring.parity);
        productFence();
#pragma unroll
        for (int k = 0; k < kDepth / 16; k++)
            product<T, AlongA, AlongB>(acc, operandStep<AlongA>(a, k), operandStep<AlongB>(b, k), s > w.begin || k > 0);
        productCommit();
        if (used) {  // the slice before this one is done with
            productWait<1>();
            release(used);
        }
        used = empty + ring.stage;
    }
    productWait<0>();
    if (used) release(used);
}

// leave writes the block's part of a tile that another cluster ends; collect adds such parts, in the order of their slices.
__device__ __forceinline__ void leave(const TensorGemm& g, const float (&acc)[128], int block) {
    const int t = threadIdx.x - 128;
    float4* part = reinterpret_cast<float4*>(g.partial + static_cast<size_t>(block) * kTilePart);
#pragma unroll
    for (int i = 0; i < 32; i++) part[i * 256 + t] = make_float4(acc[4 * i], acc[4 * i + 1], acc[4 * i + 2], acc[4 * i + 3]);
    __threadfence();
    groupBarrier(3, 256);
    if (t == 0) atomicExch(g.ready + block, 1u);
}

template <int kCluster>
__device__ __forceinline__ void collect(const TensorGemm& g, float (&acc)[128], const Work<kCluster>& w, int tileEnd, int rank) {
    const int t = threadIdx.x - 128;
    for (int c = w.cluster + 1; w.first(c) < tileEnd; c++) {
        const int block = c * kCluster + rank;
        if (t == 0) waitNotZero(g.ready + block);
        groupBarrier(3, 256);
        const float4* part = reinterpret_cast<const float4*>(g.partial + static_cast<size_t>(block) * kTilePart);
#pragma unroll
        for (int i = 0; i < 32; i++) {
            const float4 v = part[i * 256 + t];
            acc[4 * i] += v.x, acc[4 * i + 1] += v.y, acc[4 * i + 2] += v.z, acc[4 * i + 3] += v.w;
        }
        groupBarrier(3, 256);
        if (t == 0) atomicExch(g.ready + block, 0u);
    }
}

// Results is a warpgroup's way to global memory: two boxes in shared memory, of which one is filled while the other is on its way.
struct Results {
    unsigned char* boxes;
    int group;  // of the computing ones: 1 or 2
    int turn = 0;

    // begin gives the box to fill, end sends it.
    __device__ __forceinline__ unsigned char* begin() {
        if (threadIdx.x % 128 == 0) tensorWait<1>();
        groupBarrier(group, 128);
        return boxes + turn * kBox;
    }
    __device__ __forceinline__ void end(const TensorMap* map, int column, int row, bool add) {
        sharedForTensor();
        groupBarrier(group, 128);
        if (threadIdx.x % 128 == 0) {
            if (add)
                tensorAdd(map, column, row, boxes + turn * kBox);
            else
                tensorStore(map, column, row, boxes + turn * kBox);
            tensorCommit();
        }
        turn ^= 1;
    }
};

// put writes two neighbouring elements: of row r of a box, columns 8 j + 2 q and the next.
template <class C>
__device__ __forceinline__ void put(unsigned char* box, int r, int j, int q, float x, float y) {
    if constexpr (sizeof(C) == 2)
        *reinterpret_cast<uint32_t*>(box + swizzled(r, j) + 4 * q) = packed<C>(x, y);
    else
        *reinterpret_cast<float2*>(box + swizzled(r, 2 * j + q / 2) + q % 2 * 8) = make_float2(x, y);
}

// Earlier is what the warpgroup's 64 x 256 elements need of what was there before: Pre with kGeluGradient, or C of 16 bits with accumulate.
// Its reads begin before the products, so that nobody waits for them.
template <class T>
struct Earlier {
    uint32_t pair[64];  // as the accumulator's, two by two; 0 outside

    __device__ __forceinline__ void fetch(const View& v, int m0, int n0) {
        const int t = threadIdx.x % 128, m = m0 + t / 32 * 16 + t % 32 / 4, n = n0 + t % 4 * 2;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const T* p = row<T>(v, m + 8 * h) + n;
#pragma unroll
            for (int j = 0; j < 32; j++) {
                pair[2 * j + h] = 0;
                if (m + 8 * h < v.rows && n + 8 * j < v.cols) pair[2 * j + h] = *reinterpret_cast<const uint32_t*>(p + 8 * j);
            }
        }
    }
    __device__ __forceinline__ float2 at(int i) const {
        T two[2];
        memcpy(two, &pair[i], 4);
        return make_float2(load(two[0]), load(two[1]));
    }
};

// finishTile is the end of the warpgroup's 64 x 256 elements at (m0, n0); see epilogue.cuh. Columns are a multiple of 8: pairs are whole.
template <class T, class C, int Act>
__device__ __forceinline__ void finishTile(const TensorGemm& g, float (&acc)[128], const Earlier<T>& earlier, int m0, int n0,
                                           Results& results) {
    constexpr int columns = 128 / sizeof(C), steps = columns / 8;  // of a box
    const int t = threadIdx.x % 128, r = t / 32 * 16 + t % 32 / 4, q = t % 4;
    if (m0 >= g.m) return;
#pragma unroll
    for (int box = 0; box < kTileN / columns; box++) {
        const int n1 = n0 + box * columns;
        if (n1 >= g.n) continue;
        float* z = acc + box * steps * 4;
        if (g.bias) {
            const T* bias = static_cast<const T*>(g.bias) + n1 + 2 * q;
#pragma unroll
            for (int j = 0; j < steps; j++) {
                float2 b = make_float2(0, 0);
                if (n1 + 8 * j < g.n) b = make_float2(load(bias[8 * j]), load(bias[8 * j + 1]));
#pragma unroll
                for (int e = 0; e < 4; e++) z[4 * j + e] = z[4 * j + e] * g.alpha + (e % 2 ? b.y : b.x);
            }
        } else {
#pragma unroll
            for (int e = 0; e < 4 * steps; e++) z[e] *= g.alpha;
        }
        if constexpr (Act == kGeluGradient) {
#pragma unroll
            for (int i = 0; i < 2 * steps; i++) {
                const float2 pre = earlier.at(box * 2 * steps + i);
                z[2 * i] *= geluGradient(pre.x);
                z[2 * i + 1] *= geluGradient(pre.y);
            }
        }
        if constexpr (Act == kGelu) {
            if (g.withPre) {
                unsigned char* to = results.begin();
#pragma unroll
                for (int e = 0; e < 4 * steps; e += 2) put<T>(to, r + e % 4 / 2 * 8, e / 4, q, z[e], z[e + 1]);
                results.end(&g.pre, n1, m0, false);
            }
#pragma unroll
            for (int e = 0; e < 4 * steps; e++) z[e] = gelu(load(round<T>(z[e])));  // of z as it is stored: see epilogue.cuh
        }
        if constexpr (sizeof(C) == 2 && Act == kNone) {
            if (g.accumulate) {
#pragma unroll
                for (int i = 0; i < 2 * steps; i++) {
                    const int m = m0 + r + i % 2 * 8, n = n1 + i / 2 * 8 + 2 * q;
                    if (m >= g.m || n >= g.n) continue;
                    const Vec<C, 2> old = *reinterpret_cast<const Vec<C, 2>*>(row<C>(g.earlier, m) + n);
                    z[2 * i] += load(old.v[0]);
                    z[2 * i + 1] += load(old.v[1]);
                }
            }
        }
        unsigned char* to = results.begin();
#pragma unroll
        for (int e = 0; e < 4 * steps; e += 2) put<C>(to, r + e % 4 / 2 * 8, e / 4, q, z[e], z[e + 1]);
        results.end(&g.c, n1, m0, sizeof(C) == 4 && g.accumulate);
    }
}

template <int kCluster, class T, class C, int Act, bool TransA, bool TransB>
__device__ __forceinline__ void warpgroups(const TensorGemm& g) {
    constexpr bool alongA = !TransA, alongB = TransB;
    // Registers of a thread that fetches, and of one that computes: 168 on average.
    constexpr int few = Act == kGeluGradient ? 40 : 56, many = Act == kGeluGradient ? 232 : 224;
    DYNAMIC_SHARED(unsigned char, shared);
    uint64_t *full = reinterpret_cast<uint64_t*>(shared + kBarriers), *empty = full + kStages;
    const int group = threadIdx.x / 128, rank = kCluster > 1 ? clusterRank() : 0;
    if (threadIdx.x == 0) {
        for (int s = 0; s < kStages; s++) barrierInit(full + s, 1), barrierInit(empty + s, 2 * kCluster);
        barrierInitDone();
    }
    if (kCluster > 1)
        clusterBarrier();
    else
        __syncthreads();
    if (group == 0) {
        fewerRegisters<few>();
        if (threadIdx.x == 0) fetch<kCluster, alongA, alongB>(g, shared, full, empty, rank);
    } else {
        moreRegisters<many>();
        Ring ring;
        Results results{shared + kStages * kStage + (group - 1) * 2 * kBox, group};
        float acc[128];
        for (Work<kCluster> w(g); w.next();) {
            const int m0 = (w.m * kCluster + rank) * kTileM + (group - 1) * 64, n0 = w.n * kTileN;
            Earlier<T> earlier;
            if constexpr (Act == kGeluGradient) earlier.fetch(g.earlier, m0, n0);
            multiply<kCluster, T, alongA, alongB>(acc, w, shared, full, empty, ring, group - 1);
            if (w.begin > 0) {
                leave(g, acc, w.cluster * kCluster + rank);
                continue;
            }
            if (w.slices < w.depth) collect(g, acc, w, w.at - w.slices + w.depth, rank);
            finishTile<T, C, Act>(g, acc, earlier, m0, n0, results);
        }
        if (threadIdx.x % 128 == 0) tensorWait<0>();
    }
    if (kCluster > 1) {  // a block's shared memory must live as long as another of its cluster may arrive at its barriers
        __syncwarp();
        clusterBarrier();
    }
}

}  // namespace

#ifdef CAMBIUM_EMULATED
#define CLUSTER(n)
constexpr int kPair = 1;
#else
#define CLUSTER(n) __cluster_dims__(n, 1, 1)
constexpr int kPair = 2;
#endif

// Names end in how op(A) and op(B) lie: n as they are, t transposed.
#define WGMMA(name, size, T, C, Act, TransA, TransB)                                                                              \
    extern "C" __global__ void CLUSTER(size) __launch_bounds__(kThreads, 1) gemm_wgmma_##name(const GRID_CONSTANT TensorGemm g) { \
        warpgroups<size, T, C, Act, TransA, TransB>(g);                                                                           \
    }                                                                                                                             \
    KERNEL(gemm_wgmma_##name);
// The forms that training has: forward nt, data gradients nn, weight gradients tn; GELU goes forward, its gradient back.
#define FORMS(name, size, T, C)                       \
    WGMMA(name##_nn, size, T, C, kNone, false, false) \
    WGMMA(name##_nt, size, T, C, kNone, false, true)  \
    WGMMA(name##_tn, size, T, C, kNone, true, false)
#define TYPES(t, T, size)                                                     \
    FORMS(t##_##t, size, T, T)                                                \
    FORMS(t##_f32, size, T, float)                                            \
    WGMMA(t##_##t##_gelu_nt, size, T, T, kGelu, false, true)                  \
    WGMMA(t##_##t##_geluGradient_nn, size, T, T, kGeluGradient, false, false) \
    WGMMA(t##_##t##_geluGradient_nt, size, T, T, kGeluGradient, false, true)
TYPES(bf16, bf16, kPair)
TYPES(f16, f16, kPair)

#endif
