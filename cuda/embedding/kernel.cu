// Token and position embeddings:
//
//	x[n] = scale (table[token - start] + positions[n mod T])
//	dtable[token - start] += scale dx[n]     dpositions[n mod T] += scale dx[n]
//
// A table may hold the rows [start, start + rows) of the vocabulary only: other tokens read zero and get no gradient. The
// backward pass adds in the order of the tokens: it sorts them by their rows first (atomics on whole numbers only, whose order
// does not show in the result), or, for tables beyond the workspace, looks for them.
#include "../common/device.cuh"

using namespace cambium;

struct Embedding {
    View x, table, positions;
    const int* tokens;
    const int *begin, *bucket;  // of sorted tokens: row r of the table has the tokens bucket[begin[r]], ..., bucket[begin[r+1] - 1]
    int* order;                 // the same, each row's in order
    int seq, start;
    float scale;
};

template <class T>
__device__ void embeddingForward(const Embedding& a) {
    const long long n = blockIdx.x;
    const int at = a.tokens[n] - a.start;
    const T* from = at >= 0 && at < a.table.rows ? row<T>(a.table, at) : nullptr;
    const T* position = a.positions.data ? row<T>(a.positions, n % a.seq) : nullptr;
    T* x = row<T>(a.x, n);
    for (int j = threadIdx.x; j < a.x.cols; j += blockDim.x) {
        float v = from ? load(from[j]) : 0.0f;
        if (position) v += load(position[j]);
        x[j] = round<T>(a.scale * v);
    }
}

// The tokens' sort, with workspace: next [rows], begin [rows+1], bucket and order [n].
struct TokenSort {
    const int* tokens;
    int *begin, *next, *bucket, *order;
    int n, rows, start;
};

extern "C" __global__ void tokens_clear(TokenSort a) {
    for
        STRIDED(r, a.rows) a.next[r] = 0;
}
KERNEL(tokens_clear);

// next[r] = how many tokens are row r's.
extern "C" __global__ void tokens_count(TokenSort a) {
    for
        STRIDED(i, a.n) {
            const int at = a.tokens[i] - a.start;
            if (at >= 0 && at < a.rows) atomicAdd(a.next + at, 1);
        }
}
KERNEL(tokens_count);

// begin[r] = the sum of the counts before r; next becomes a copy of it. One block of 256 threads, a run of rows each.
extern "C" __global__ void tokens_scan(TokenSort a) {
    __shared__ int sums[256];
    const int run = (a.rows + 255) / 256, from = min(static_cast<int>(threadIdx.x) * run, a.rows), to = min(from + run, a.rows);
    int sum = 0;
    for (int r = from; r < to; r++) sum += a.next[r];
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (unsigned by = 1; by < 256; by *= 2) {
        const int before = threadIdx.x >= by ? sums[threadIdx.x - by] : 0;
        __syncthreads();
        sums[threadIdx.x] += before;
        __syncthreads();
    }
    int at = sums[threadIdx.x] - sum;
    for (int r = from; r < to; r++) {
        const int count = a.next[r];
        a.begin[r] = a.next[r] = at;
        at += count;
    }
    if (threadIdx.x == 255) a.begin[a.rows] = at;
}
KERNEL(tokens_scan);

extern "C" __global__ void tokens_place(TokenSort a) {
    for
        STRIDED(i, a.n) {
            const int at = a.tokens[i] - a.start;
            if (at >= 0 && at < a.rows) a.bucket[atomicAdd(a.next + at, 1)] = static_cast<int>(i);
        }
}
KERNEL(tokens_place);

// One block a row of the table: it puts the row's tokens in order, each by how many of them come before it, and adds up.
template <class T>
__device__ void embeddingGather(const Embedding& a) {
    const int begin = a.begin[blockIdx.x], count = a.begin[blockIdx.x + 1] - begin;
    if (count == 0) return;
    const int* bucket = a.bucket + begin;
    int* order = a.order + begin;
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        const int token = bucket[i];
        int before = 0;
        for (int k = 0; k < count; k++) before += bucket[k] < token;
        order[before] = token;
    }
    __syncthreads();
    float* to = row<float>(a.table, blockIdx.x);
    for (int j = threadIdx.x; j < a.x.cols; j += blockDim.x) {
        float sum = to[j];
        for (int i = 0; i < count; i++) sum += a.scale * load(row<T>(a.x, order[i])[j]);
        to[j] = sum;
    }
}

// One block a token. The block of a token's first occurrence adds up all of its occurrences, in order; the others end.
template <class T>
__device__ void embeddingBackward(const Embedding& a) {
    const int n = blockIdx.x, token = a.tokens[n], at = token - a.start;
    if (at < 0 || at >= a.table.rows) return;
    int before = 0;
    for (int m = threadIdx.x; m < n; m += blockDim.x) before |= a.tokens[m] == token;
    if (__syncthreads_or(before)) return;
    float* to = row<float>(a.table, at);
    for (int begin = n; begin < a.x.rows; begin += 32) {
        const int m = begin + threadIdx.x % 32;  // every warp looks at the same 32 tokens
        unsigned found = __ballot_sync(0xffffffffu, m < a.x.rows && a.tokens[m] == token);
        for (; found; found &= found - 1) {
            const T* x = row<T>(a.x, begin + __ffs(found) - 1);
            for (int j = threadIdx.x; j < a.x.cols; j += blockDim.x) to[j] += a.scale * load(x[j]);
        }
    }
}

// One block a position.
template <class T>
__device__ void positionsBackward(const Embedding& a) {
    const int t = blockIdx.x;
    for (int j = threadIdx.x; j < a.x.cols; j += blockDim.x) {
        float sum = row<float>(a.positions, t)[j];
        for (long long n = t; n < a.x.rows; n += a.seq) sum += a.scale * load(row<T>(a.x, n)[j]);
        row<float>(a.positions, t)[j] = sum;
    }
}

#define EMBEDDING(suffix, type)                                                                         \
    extern "C" __global__ void embedding_forward_##suffix(Embedding a) { embeddingForward<type>(a); }   \
    KERNEL(embedding_forward_##suffix);                                                                 \
    extern "C" __global__ void embedding_backward_##suffix(Embedding a) { embeddingBackward<type>(a); } \
    KERNEL(embedding_backward_##suffix);                                                                \
    extern "C" __global__ void positions_backward_##suffix(Embedding a) { positionsBackward<type>(a); } \
    KERNEL(positions_backward_##suffix);                                                                \
    extern "C" __global__ void embedding_gather_##suffix(Embedding a) { embeddingGather<type>(a); }     \
    KERNEL(embedding_gather_##suffix);
FOR_TYPES(EMBEDDING)
