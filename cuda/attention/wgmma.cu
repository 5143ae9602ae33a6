// Causal attention for sm_90a, by TMA and wgmma (FlashAttention-2 and -3, arXiv 2307.08691 and 2407.08608; see kernel.cu for the formulas
// and forward.cu for the softmax). A warpgroup owns 64 rows: queries, or keys for dK and dV, which makes the transposed scores and takes
// the query heads of its group one after the other. The other side's rows come by in tiles of 64, in a ring of three. Several blocks share
// a multiprocessor: while one makes exponentials, others multiply. Nothing is added across blocks: sums have a fixed order. P and dS are
// rounded to T where they meet the other factor.
//
// A tile is 64 rows of 64 channels, 128 bytes a row, swizzled; heads of 128 channels have two next to each other. As TMA knows nothing of
// sequences, rows beyond the end of one are the next one's: what comes of them is masked, or not written.
#include "../common/hopper.cuh"

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

using namespace cambium;

namespace cambium {

// TensorAttention is what these kernels are launched with. The host's mirror is in src/backend/cuda.
struct TensorAttention {
    TensorMap q, k, v, dO;   // boxes of 64 x 64
    View out, more;          // O; dQ; dK and dV
    float* lse;              // [batch, heads, seq]
    const float* headScale;  // [heads], may be null
    const float* d;          // [batches of this launch, heads, seq]: sum(dO o O)
    int heads, groups, seq;
    int first;  // batch of the launch's first blocks
    float scale;
};

}  // namespace cambium

namespace {

constexpr int kRows = 64, kBox = 8192, kStages = 3;
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

// Ring is where tiles of two tensors arrive, and the barriers that tell.
template <int D>
struct Ring {
    static constexpr int tile = D / 64 * kBox;
    unsigned char* tiles;
    uint64_t* full;

    __device__ __forceinline__ const unsigned char* one(int j) const { return tiles + j % kStages * 2 * tile; }
    __device__ __forceinline__ const unsigned char* other(int j) const { return one(j) + tile; }
    // fetch starts tile j, rows from row0 on, of head h of both tensors; one thread does.
    __device__ __forceinline__ void fetch(int j, const TensorMap* a, const TensorMap* b, int h, int row0) const {
        unsigned char* to = tiles + j % kStages * 2 * tile;
        uint64_t* bar = full + j % kStages;
        barrierExpect(bar, 2 * tile);
#pragma unroll
        for (int c = 0; c < D / 64; c++) {
            tensorFetch(to + c * kBox, a, h * D + 64 * c, row0, bar, 0);
            tensorFetch(to + tile + c * kBox, b, h * D + 64 * c, row0, bar, 0);
        }
    }
    __device__ __forceinline__ void wait(int j) const { barrierWait(full + j % kStages, j / kStages & 1); }
};

// fetchOwn starts the rows of the warpgroups themselves, one tile each.
template <int D, int Groups>
__device__ __forceinline__ void fetchOwn(unsigned char* to, const TensorMap* map, int h, int row0, uint64_t* bar) {
#pragma unroll
    for (int c = 0; c < Groups * D / 64; c++)
        tensorFetch(to + c * kBox, map, h * D + 64 * (c % (D / 64)), row0 + kRows * (c / (D / 64)), bar, 0);
}

// scores starts s = a b^T over the channels of two tiles, weighted acc += w b for weights w; both in the open group.
template <class T, int D>
__device__ __forceinline__ void scores(float (&s)[32], const unsigned char* a, const unsigned char* b) {
#pragma unroll
    for (int k = 0; k < D / 16; k++)
        product<T, true, true>(s, operandStep<true>(operandOf<true>(a + k / 4 * kBox), k % 4),
                               operandStep<true>(operandOf<true>(b + k / 4 * kBox), k % 4), k > 0);
}
template <class T, int D>
__device__ __forceinline__ void weighted(float (&acc)[D / 2], const uint32_t (&w)[4][4], const unsigned char* b) {
    const uint64_t at = operandOf<false>(b);
#pragma unroll
    for (int k = 0; k < 4; k++) product<T, false>(acc, w[k], operandStep<false>(at, k), 1);
}
template <class T>
__device__ __forceinline__ void allWeights(uint32_t (&w)[4][4], const float (&s)[32]) {
#pragma unroll
    for (int k = 0; k < 4; k++) weights<T>(w[k], s, k);
    settle(w);
}

// storeRows writes a warp's 16 x D result, times f[0] in its rows 0 to 7 and f[1] in 8 to 15, through its rows of a tile that nobody reads
// any more; `rows` of them are in the sequence.
template <class T, int D>
__device__ __forceinline__ void storeRows(const View& to, long long token, int rows, int head, unsigned char* tile,
                                          const float (&acc)[D / 2], const float (&f)[2]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x % 128 / 32, r = 16 * warp + lane / 4;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < D / 4; i++) {  // pairs: row r + 8 h, columns 8 j + 2 (lane % 4)
        const int j = i / 2, h = i % 2;
        *reinterpret_cast<uint32_t*>(tile + j / 8 * kBox + swizzled(r + 8 * h, j % 8) + lane % 4 * 4) =
            packed<T>(acc[4 * j + 2 * h] * f[h], acc[4 * j + 2 * h + 1] * f[h]);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 16 * D / 8 / 32; i++) {
        const int chunk = lane + 32 * i, at = chunk / (D / 8), c = chunk % (D / 8);
        if (at < rows)
            *reinterpret_cast<Pack<T>*>(row<T>(to, token + at) + head * D + 8 * c) =
                *reinterpret_cast<const Pack<T>*>(tile + c / 8 * kBox + swizzled(16 * warp + at, c % 8));
    }
}

// Softmax of two rows a thread, in powers of two: see forward.cu.
struct Softmax {
    float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};

    // soften turns scores into weights, and brings the output so far to the new maxima. mask: keys beyond the query count nothing; ahead is
    // how far the thread's first key is beyond its first query.
    template <int N>
    __device__ __forceinline__ void soften(float (&s)[32], float (&o)[N], float scale, bool mask, int ahead) {
        float higher[2] = {top[0], top[1]}, keep[2];
#pragma unroll
        for (int i = 0; i < 32; i++) {
            if (mask && ahead + i / 4 * 8 + i % 2 > i % 4 / 2 * 8) s[i] = -INFINITY;
            higher[i % 4 / 2] = fmaxf(higher[i % 4 / 2], s[i]);
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {  // a row lies in four neighbouring lanes
            higher[h] = fmaxf(higher[h], __shfl_xor_sync(0xffffffffu, higher[h], 1));
            higher[h] = fmaxf(higher[h], __shfl_xor_sync(0xffffffffu, higher[h], 2));
            keep[h] = exp2Fast((top[h] - higher[h]) * scale);
            top[h] = higher[h];
            sum[h] *= keep[h];
            higher[h] *= -scale;
        }
#pragma unroll
        for (int i = 0; i < 32; i++) {
            s[i] = exp2Fast(s[i] * scale + higher[i % 4 / 2]);
            sum[i % 4 / 2] += s[i];
        }
#pragma unroll
        for (int i = 0; i < N; i++) o[i] *= keep[i % 4 / 2];
    }
};

// Block is what all three kernels begin with: the place, its shared memory, and its barriers.
template <int D, int Owned>
struct Block {
    unsigned char* own;  // Owned tiles of the warpgroups' rows, then the ring's, then barriers
    Ring<D> ring;
    uint64_t* owned;
    int group, lane, m;  // warpgroup; lane; the thread's first row of its warpgroup's

    __device__ __forceinline__ explicit Block(unsigned char* shared)
        : own(shared), group(threadIdx.x / 128), lane(threadIdx.x % 32), m(threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4) {
        ring.tiles = shared + Owned * Ring<D>::tile;
        owned = reinterpret_cast<uint64_t*>(ring.tiles + kStages * 2 * Ring<D>::tile);
        ring.full = owned + 1;
        if (threadIdx.x == 0) {
            for (int i = 0; i <= kStages; i++) barrierInit(owned + i, 1);
            barrierInitDone();
        }
        __syncthreads();
    }
};

template <class T, int D, int Groups>
__device__ __forceinline__ void forward(const TensorAttention& a) {
    DYNAMIC_SHARED(unsigned char, shared);
    const Block<D, Groups> block(shared);
    const Ring<D>& ring = block.ring;
    const int head = blockIdx.x, kv = head / (a.heads / a.groups),
              q0 = (gridDim.z - 1 - blockIdx.z) * kRows * Groups;  // the longest work first
    const long long batch = a.first + static_cast<long long>(blockIdx.y), first = batch * a.seq;
    const int mine = q0 + block.group * kRows, tiles = (min(q0 + kRows * Groups, a.seq) + kRows - 1) / kRows;
    const auto fetch = [&](int j) {
        if (threadIdx.x == 0 && j < tiles) ring.fetch(j, &a.k, &a.v, kv, static_cast<int>(first) + j * kRows);
    };
    if (threadIdx.x == 0) {
        barrierExpect(block.owned, Groups * Ring<D>::tile);
        fetchOwn<D, Groups>(block.own, &a.q, head, static_cast<int>(first) + q0, block.owned);
    }
    for (int j = 0; j < kStages; j++) fetch(j);
    unsigned char* queries = block.own + block.group * Ring<D>::tile;
    const float scale = a.scale * kLog2E;
    float o[D / 2] = {}, s[32];
    Softmax softmax;
    barrierWait(block.owned, 0);
    ring.wait(0);
    settle(s);
    productFence();
    scores<T, D>(s, queries, ring.one(0));
    productCommit();
    productWait<0>();
    settle(s);
    for (int j = 0; j < tiles; j++) {
        softmax.soften(s, o, scale, j * kRows + kRows > mine, j * kRows + block.lane % 4 * 2 - (mine + block.m));
        uint32_t w[4][4];
        allWeights<T>(w, s);
        settle(s);
        settle(o);
        productFence();
        weighted<T, D>(o, w, ring.other(j));
        productCommit();
        if (j + 1 < tiles) {
            ring.wait(j + 1);
            scores<T, D>(s, queries, ring.one(j + 1));
            productCommit();
        }
        productWait<0>();
        settle(s);
        settle(o);
        groupBarrier(1, 128 * Groups);  // nobody reads tile j any more
        fetch(j + kStages);
    }
    const float factor = a.headScale ? a.headScale[head] : 1.0f;
    float f[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float& sum = softmax.sum[h];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        f[h] = factor / sum;
        const int t = mine + block.m + 8 * h;
        if (block.lane % 4 == 0 && t < a.seq) a.lse[(batch * a.heads + head) * a.seq + t] = softmax.top[h] * a.scale + logf(sum);
    }
    const int warp = mine + block.m - block.lane / 4;
    storeRows<T, D>(a.out, first + warp, a.seq - warp, head, queries, o, f);
}

template <class T, int D>
__device__ __forceinline__ void gradientOfQueries(const TensorAttention& a) {
    DYNAMIC_SHARED(unsigned char, shared);
    const Block<D, 2> block(shared);
    const Ring<D>& ring = block.ring;
    const int head = blockIdx.x, kv = head / (a.heads / a.groups), q0 = (gridDim.z - 1 - blockIdx.z) * kRows;  // the longest work first
    const long long batch = a.first + static_cast<long long>(blockIdx.y), first = batch * a.seq;
    const int t = q0 + block.m, tiles = (min(q0 + kRows, a.seq) + kRows - 1) / kRows;
    unsigned char *const queries = block.own, *const dOs = queries + Ring<D>::tile;
    const auto fetch = [&](int j) {
        if (threadIdx.x == 0 && j < tiles) ring.fetch(j, &a.k, &a.v, kv, static_cast<int>(first) + j * kRows);
    };
    if (threadIdx.x == 0) {
        barrierExpect(block.owned, 2 * Ring<D>::tile);
        fetchOwn<D, 1>(queries, &a.q, head, static_cast<int>(first) + q0, block.owned);
        fetchOwn<D, 1>(dOs, &a.dO, head, static_cast<int>(first) + q0, block.owned);
    }
    for (int j = 0; j < kStages; j++) fetch(j);
    const float factor = a.headScale ? a.headScale[head] : 1.0f, scale = a.scale * kLog2E;
    float lse[2], d[2], dq[D / 2] = {}, s[32], dp[32];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const bool there = t + 8 * h < a.seq;
        lse[h] = there ? a.lse[(batch * a.heads + head) * a.seq + t + 8 * h] * -kLog2E : 0.0f;
        d[h] = there ? a.d[(static_cast<long long>(blockIdx.y) * a.heads + head) * a.seq + t + 8 * h] : 0.0f;
    }
    const auto multiply = [&](int j) {
        ring.wait(j);
        scores<T, D>(s, queries, ring.one(j));
        scores<T, D>(dp, dOs, ring.other(j));
        productCommit();
    };
    barrierWait(block.owned, 0);
    settle(s);
    settle(dp);
    productFence();
    multiply(0);
    productWait<0>();
    settle(s);
    settle(dp);
    for (int j = 0; j < tiles; j++) {
        const int ahead = j * kRows + block.lane % 4 * 2 - t;
        const bool mask = j * kRows + kRows > q0;
#pragma unroll
        for (int i = 0; i < 32; i++) {
            float p = exp2Fast(s[i] * scale + lse[i % 4 / 2]);
            if (mask && ahead + i / 4 * 8 + i % 2 > i % 4 / 2 * 8) p = 0;
            s[i] = p * (factor * dp[i] - d[i % 4 / 2]);
        }
        uint32_t w[4][4];
        allWeights<T>(w, s);
        settle(s);
        settle(dp);
        settle(dq);
        productFence();
        weighted<T, D>(dq, w, ring.one(j));
        productCommit();
        if (j + 1 < tiles) multiply(j + 1);
        productWait<0>();
        settle(s);
        settle(dp);
        settle(dq);
        groupBarrier(1, 128);  // nobody reads tile j any more
        fetch(j + kStages);
    }
    const float f[2] = {a.scale, a.scale};
    const int warp = t - block.lane / 4;
    storeRows<T, D>(a.out, first + warp, a.seq - warp, head, queries, dq, f);
}

template <class T, int D>
__device__ __forceinline__ void gradientOfKeys(const TensorAttention& a) {
    __shared__ float lse[kStages][kRows], d[kStages][kRows];  // of the queries of a tile
    DYNAMIC_SHARED(unsigned char, shared);
    const Block<D, 2> block(shared);
    const Ring<D>& ring = block.ring;
    const int kv = blockIdx.x, share = a.heads / a.groups, k0 = blockIdx.z * kRows;
    const long long batch = a.first + static_cast<long long>(blockIdx.y), first = batch * a.seq;
    const int begin = blockIdx.z, each = (a.seq + kRows - 1) / kRows - begin, tiles = share * each;  // tiles a head, from the diagonal on
    unsigned char *const keys = block.own, *const values = keys + Ring<D>::tile;
    const auto fetch = [&](int j) {
        if (j >= tiles) return;
        const int head = kv * share + j / each, q0 = (begin + j % each) * kRows;
        if (threadIdx.x == 0) ring.fetch(j, &a.q, &a.dO, head, static_cast<int>(first) + q0);
        const int t = q0 + threadIdx.x % kRows;  // queries beyond the sequence have weight 2^-inf
        if (threadIdx.x < kRows)
            lse[j % kStages][threadIdx.x] = t < a.seq ? a.lse[(batch * a.heads + head) * a.seq + t] * -kLog2E : -INFINITY;
        else
            d[j % kStages][threadIdx.x - kRows] = t < a.seq ? a.d[(static_cast<long long>(blockIdx.y) * a.heads + head) * a.seq + t] : 0.0f;
    };
    if (threadIdx.x == 0) {
        barrierExpect(block.owned, 2 * Ring<D>::tile);
        fetchOwn<D, 1>(keys, &a.k, kv, static_cast<int>(first) + k0, block.owned);
        fetchOwn<D, 1>(values, &a.v, kv, static_cast<int>(first) + k0, block.owned);
    }
    for (int j = 0; j < kStages; j++) fetch(j);
    const float scale = a.scale * kLog2E;
    float dk[D / 2] = {}, dv[D / 2] = {}, s[32], dp[32];
    const auto multiply = [&](int j) {
        ring.wait(j);
        scores<T, D>(s, keys, ring.one(j));
        scores<T, D>(dp, values, ring.other(j));
        productCommit();
    };
    barrierWait(block.owned, 0);
    settle(s);
    settle(dp);
    productFence();
    multiply(0);
    productWait<0>();
    settle(s);
    settle(dp);
    groupBarrier(1, 128);  // lse and d of the first tiles are there
    for (int j = 0; j < tiles; j++) {
        const float factor = a.headScale ? a.headScale[kv * share + j / each] : 1.0f;
        const int at = block.lane % 4 * 2, behind = k0 + block.m - ((begin + j % each) * kRows + at);
        const bool mask = j % each == 0;
#pragma unroll
        for (int i = 0; i < 32; i++) {
            const int q = i / 4 * 8 + i % 2;
            float p = exp2Fast(s[i] * scale + lse[j % kStages][at + q]);
            if (mask && behind + i % 4 / 2 * 8 > q) p = 0;
            s[i] = p * factor;
            dp[i] = p * (factor * dp[i] - d[j % kStages][at + q]);
        }
        uint32_t w[4][4], u[4][4];
        allWeights<T>(w, s);
        allWeights<T>(u, dp);
        settle(s);
        settle(dp);
        settle(dk);
        settle(dv);
        productFence();
        weighted<T, D>(dv, w, ring.other(j));
        weighted<T, D>(dk, u, ring.one(j));
        productCommit();
        // The next scores go along, where registers suffice.
        constexpr bool along = D == 64;
        if (along && j + 1 < tiles) multiply(j + 1);
        productWait<0>();
        settle(dk);
        settle(dv);
        if constexpr (along) settle(s), settle(dp);
        groupBarrier(1, 128);  // nobody reads tile j any more
        fetch(j + kStages);
        if (!along && j + 1 < tiles) {
            settle(s);
            settle(dp);
            productFence();
            multiply(j + 1);
            productWait<0>();
            settle(s);
            settle(dp);
        }
    }
    const float one[2] = {1, 1}, f[2] = {a.scale, a.scale};
    const int warp = k0 + block.m - block.lane / 4;
    storeRows<T, D>(a.out, first + warp, a.seq - warp, kv, keys, dk, f);
    storeRows<T, D>(a.more, first + warp, a.seq - warp, kv, values, dv, one);
}

}  // namespace

// Blocks that share a multiprocessor: as many as registers allow.
#define WGMMA(name, call, t, T, D, threads, blocks)                                 \
    extern "C" __global__ void __launch_bounds__(threads, blocks)                   \
        attention_wgmma_##name##_##D##_##t(const GRID_CONSTANT TensorAttention a) { \
        call(a);                                                                    \
    }                                                                               \
    KERNEL(attention_wgmma_##name##_##D##_##t);
#define COMMA ,
#define TYPES(t, T)                                                   \
    WGMMA(forward, forward<T COMMA 64 COMMA 2>, t, T, 64, 256, 2)     \
    WGMMA(forward, forward<T COMMA 128 COMMA 2>, t, T, 128, 256, 1)   \
    WGMMA(queries, gradientOfQueries<T COMMA 64>, t, T, 64, 128, 3)   \
    WGMMA(queries, gradientOfQueries<T COMMA 128>, t, T, 128, 128, 2) \
    WGMMA(keys, gradientOfKeys<T COMMA 64>, t, T, 64, 128, 2)         \
    WGMMA(keys, gradientOfKeys<T COMMA 128>, t, T, 128, 128, 2)
TYPES(bf16, bf16)
TYPES(f16, f16)

#endif
