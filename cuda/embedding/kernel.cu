// Token and position embeddings:
//
//	x[n] = scale (table[token - start] + positions[n mod T])     dtable[token - start] += scale dx[n]     dpositions[n mod T] += scale
// dx[n]
//
// A table may hold the rows [start, start + rows) of the vocabulary only: other tokens read zero and get no gradient. The
// backward pass adds in the order of the tokens and uses no atomics.
#include "../common/device.cuh"

using namespace cambium;

struct Embedding {
    View x, table, positions;
    const int* tokens;
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
    KERNEL(positions_backward_##suffix);
FOR_TYPES(EMBEDDING)
