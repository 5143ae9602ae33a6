// Token and position embeddings:
//
//	x[n] = scale (table[token - start] + positions[n mod T])
//	dtable[token - start] += scale dx[n]     dpositions[n mod T] += scale dx[n]
//
// A table may hold the rows [start, start + rows) of the vocabulary only: other tokens read zero and get no gradient. N is how many
// elements a thread moves at once: 16 bytes of T where addresses and rows allow it, one elsewhere.
//
// Bytes: forward (2 T + T) C a token, of which the positions come from cache; backward T C a token and 8 C for every row of the table
// that occurs, and T C a token and 8 C a position again. The backward pass has no atomics but on whole numbers, whose order does not
// show: tokens_link makes a list of every row's tokens, in any order, and embedding_gather brings it in order before it adds up. A
// row that occurs up to kFew times is the work of a warp for every 32 N columns. One that occurs more often, as the frequent words of
// every text do, is that of a block for every 8 N columns, which finds the tokens itself and divides them among 32 groups of
// threads. Results do not depend on the device.
#include "../common/device.cuh"

using namespace cambium;

struct Embedding {
    View x, table, positions;
    const int* tokens;
    int seq, start;
    float scale;
    int vector;
};

// A thread has four vectors, those of its place in four runs of blockDim.x, so that four are on their way: first their tokens, then
// their rows.
template <class T, class V>
__device__ void embeddingForward(const Embedding& a) {
    const int packs = a.x.cols / V::size, step = blockDim.x;
    const long long item = blockIdx.x * 4LL * step + threadIdx.x;
    int n[4], j[4], at[4];
    n[0] = static_cast<int>(item / packs), j[0] = static_cast<int>(item % packs);
#pragma unroll
    for (int u = 1; u < 4; u++) n[u] = n[u - 1] + (j[u - 1] + step) / packs, j[u] = (j[u - 1] + step) % packs;
#pragma unroll
    for (int u = 0; u < 4; u++) at[u] = n[u] < a.x.rows ? a.tokens[n[u]] - a.start : -1;
    V x[4], p[4];
#pragma unroll
    for (int u = 0; u < 4; u++) {
        x[u] = at[u] >= 0 && at[u] < a.table.rows ? reinterpret_cast<const V*>(row<T>(a.table, at[u]))[j[u]] : V{};
        p[u] = a.positions.data && n[u] < a.x.rows ? reinterpret_cast<const V*>(row<T>(a.positions, n[u] % a.seq))[j[u]] : V{};
    }
#pragma unroll
    for (int u = 0; u < 4; u++) {
        if (n[u] >= a.x.rows) return;
        float v[V::size];
#pragma unroll
        for (int k = 0; k < V::size; k++) v[k] = a.scale * (element(x[u], k) + element(p[u], k));
        narrow(x[u], v);
        reinterpret_cast<V*>(row<T>(a.x, n[u]))[j[u]] = x[u];
    }
}

constexpr int kFew = 32;

// A list of tokens for every row of the table: 1 + the last of them is in head, 1 + the one before token n in before[n], and 0 ends it.
// Rows that have more than kFew are in many, as well.
struct TokenLists {
    const int* tokens;
    int *manyRows, *count, *head;  // the number of rows in many; [rows]; [rows]. One behind the other
    int *before, *many;            // [n], [n / kFew]
    int n, rows, start;
};

extern "C" __global__ void tokens_clear(TokenLists a) {
    for
        STRIDED(i, 1 + 2LL * a.rows) a.manyRows[i] = 0;
}
KERNEL(tokens_clear);

extern "C" __global__ void tokens_link(TokenLists a) {
    for
        STRIDED(i, a.n) {
            const int at = a.tokens[i] - a.start;
            if (at < 0 || at >= a.rows) continue;
            a.before[i] = atomicExch(a.head + at, static_cast<int>(i) + 1);
            if (atomicAdd(a.count + at, 1) == kFew) a.many[atomicAdd(a.manyRows, 1)] = at;
        }
}
KERNEL(tokens_link);

struct EmbeddingGather {
    View x, table;  // the gradients
    TokenLists lists;
    float scale;
    int vector, blocks;  // for rows in many: the first of the grid
};

// Floats are N elements of a row of gradients.
template <int N>
struct Floats {
    static constexpr int n = N % 4 == 0 ? 4 : 1, count = N / n;
    Vec<float, n> part[count];
    __device__ __forceinline__ void read(const float* row, int j) {
#pragma unroll
        for (int i = 0; i < count; i++) part[i] = loadVec<n>(row, static_cast<long long>(j) * count + i);
    }
    __device__ __forceinline__ void writeWith(const float (&sum)[N], float* row, int j) const {
#pragma unroll
        for (int i = 0; i < count; i++) {
            Vec<float, n> v = part[i];
#pragma unroll
            for (int e = 0; e < n; e++) v.v[e] += sum[i * n + e];
            storeVec<n>(row, static_cast<long long>(j) * count + i, v);
        }
    }
};

// addScaled adds N elements of x.
template <class T, int N>
__device__ __forceinline__ void addScaled(float (&sum)[N], float scale, const Vec<T, N>& x) {
#pragma unroll
    for (int k = 0; k < N; k++) sum[k] += scale * load(x.v[k]);
}

// gatherFew is one warp: the row of token n, if n is the last in the row's list, and the 32 N columns of a slice.
template <class T, int N>
__device__ void gatherFew(const EmbeddingGather& a, long long n, int slice) {
    const TokenLists& l = a.lists;
    if (n >= l.n) return;
    const int at = l.tokens[n] - l.start, lane = threadIdx.x % 32;
    if (at < 0 || at >= l.rows || l.head[at] != n + 1) return;
    const int count = l.count[at];
    if (count > kFew) return;
    int mine = static_cast<int>(n), rank = 0;  // lane i has the i-th of the list, and how many of the list come before it
    for (int i = 1, m = mine; i < count; i++) {
        m = l.before[m] - 1;
        if (lane == i) mine = m;
    }
    for (int i = 0; i < count; i++) rank += __shfl_sync(0xffffffffu, mine, i) < mine;
    const int j = slice * 32 + lane;
    const bool inside = j < a.x.cols / N;
    float* const to = row<float>(a.table, at);
    float sum[N] = {};
    Floats<N> old = {};
    if (inside) old.read(to, j);
#pragma unroll 4
    for (int i = 0; i < count; i++) {
        const unsigned holder = __ballot_sync(0xffffffffu, lane < count && rank == i);
        const int token = __shfl_sync(0xffffffffu, mine, __ffs(holder) - 1);
        if (inside) addScaled<T, N>(sum, a.scale, loadVec<N>(row<T>(a.x, token), j));
    }
    if (inside) old.writeWith(sum, to, j);
}

constexpr int kThreads = 256, kGroup = 8, kGroups = kThreads / kGroup, kTile = 8 * kThreads;

// Found is what findTokens finds.
struct Found {
    int tokens[kTile], counts[kThreads / 32];
};
__device__ __forceinline__ Found& foundOfBlock() {
    __shared__ Found found;
    return found;
}

// findTokens leaves those of kTile tokens from base on that are row `at` of the table, in order, in found, and their number in every
// thread. Warps look at runs of 256 tokens.
__device__ __forceinline__ int findTokens(const TokenLists& l, long long base, int at, Found& found) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const long long first = base + warp * 256 + lane;
    unsigned here[8];
    int count = 0;
#pragma unroll
    for (int u = 0; u < 8; u++) here[u] = first + 32 * u < l.n ? l.tokens[first + 32 * u] - l.start == at : 0;
#pragma unroll
    for (int u = 0; u < 8; u++) count += __popc(here[u] = __ballot_sync(0xffffffffu, here[u]));
    if (lane == 0) found.counts[warp] = count;
    __syncthreads();  // found is free, too
    int total = 0, place = 0;
    for (int w = 0; w < kThreads / 32; w++) {
        if (w == warp) place = total;
        total += found.counts[w];
    }
#pragma unroll
    for (int u = 0; u < 8; u++) {
        if (here[u] >> lane & 1) found.tokens[place + __popc(here[u] & ((1u << lane) - 1))] = static_cast<int>(first + 32 * u);
        place += __popc(here[u]);
    }
    __syncthreads();
    return total;
}

// gatherMany is a block: row `at`, and the 8 N columns of a slice. Group g of 8 threads takes every 32nd token; their sums are added in
// order.
template <class T, int N>
__device__ void gatherMany(const EmbeddingGather& a, int at, int slice) {
    __shared__ float sums[kGroups][kGroup * N];
    Found& found = foundOfBlock();
    const int group = threadIdx.x / kGroup, member = threadIdx.x % kGroup, j = slice * kGroup + member;
    const bool inside = j < a.x.cols / N;
    float sum[N] = {};
    for (long long base = 0; base < a.lists.n; base += kTile) {
        const int count = findTokens(a.lists, base, at, found);
        if (inside)
#pragma unroll 4
            for (int i = group; i < count; i += kGroups) addScaled<T, N>(sum, a.scale, loadVec<N>(row<T>(a.x, found.tokens[i]), j));
    }
#pragma unroll
    for (int k = 0; k < N; k++) sums[group][member * N + k] = sum[k];
    __syncthreads();
    const int column = slice * kGroup * N + threadIdx.x;
    if (threadIdx.x < kGroup * N && column < a.x.cols) {
        float total = 0;
        for (int g = 0; g < kGroups; g++) total += sums[g][threadIdx.x];
        row<float>(a.table, at)[column] += total;
    }
    __syncthreads();  // sums and counts are free for the block's next row
}

template <class T, int N>
__device__ void embeddingGather(const EmbeddingGather& a) {
    const int packs = a.x.cols / N;
    if (blockIdx.x < static_cast<unsigned>(a.blocks)) {
        const int slices = (packs + kGroup - 1) / kGroup;
        const long long items = static_cast<long long>(*a.lists.manyRows) * slices;
        for (long long i = blockIdx.x; i < items; i += a.blocks)
            gatherMany<T, N>(a, a.lists.many[i / slices], static_cast<int>(i % slices));
        return;
    }
    const int slices = (packs + 31) / 32;
    const long long i = static_cast<long long>(blockIdx.x - a.blocks) * (kThreads / 32) + threadIdx.x / 32;
    gatherFew<T, N>(a, i / slices, static_cast<int>(i % slices));
}

// One block a position.
template <class T, int N>
__device__ void positionsBackward(const Embedding& a) {
    float* to = row<float>(a.positions, blockIdx.x);
    for (int j = threadIdx.x; j < a.x.cols / N; j += blockDim.x) {
        float sum[N] = {};
        Floats<N> old = {};
        old.read(to, j);
#pragma unroll 4
        for (long long n = blockIdx.x; n < a.x.rows; n += a.seq) addScaled<T, N>(sum, a.scale, loadVec<N>(row<T>(a.x, n), j));
        old.writeWith(sum, to, j);
    }
}

#define EMBEDDING_KERNEL(name, f, T, A)    \
    extern "C" __global__ void name(A a) { \
        if (a.vector)                      \
            f<T, Pack<T>::size>(a);        \
        else                               \
            f<T, 1>(a);                    \
    }                                      \
    KERNEL(name);
#define EMBEDDING(suffix, T)                                                       \
    extern "C" __global__ void embedding_forward_##suffix(Embedding a) {           \
        if (a.vector)                                                              \
            embeddingForward<T, Words<T>>(a);                                      \
        else                                                                       \
            embeddingForward<T, One<T>>(a);                                        \
    }                                                                              \
    KERNEL(embedding_forward_##suffix);                                            \
    EMBEDDING_KERNEL(positions_backward_##suffix, positionsBackward, T, Embedding) \
    EMBEDDING_KERNEL(embedding_gather_##suffix, embeddingGather, T, EmbeddingGather)
FOR_TYPES(EMBEDDING)
