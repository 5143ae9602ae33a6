// The fused classifier, one block a row of logits: softmax, cross-entropy and the gradient of the logits in their own place.
//
//	stats[n] = (m, s, t)     m = max_j z[n,j]     s = sum_j exp(z[n,j] - m)     t = z[n, target - start], 0 when it is elsewhere
//
// over the real columns of this shard of the vocabulary, and from the stats (m_q, s_q, t_q) of all shards, in their order,
//
//	M = max m_q     S = sum s_q exp(m_q - M)     loss = log S + M - sum t_q     z <- scale (exp(z - M)/S - onehot), 0 in padding
//
// With one shard both halves run in one kernel. A target of vocab or more raises the error flag.
#include "../common/device.cuh"

using namespace cambium;

struct Classifier {
    View logits;
    const int* targets;
    float* stats;        // [n, 3], out of the first half
    const float* ranks;  // [shards, n, 3], in of the second half
    float* loss;
    int* error;
    int start, vocab, shards;
    float scale;  // 0: no gradient
    int vector;   // 16 bytes at a time
};

// finite is what an absent maximum is taken for in differences, so that no infinity meets another.
__device__ __forceinline__ float finite(float m) { return m == -INFINITY ? 0.0f : m; }

// follow takes N logits into a thread's maximum and sum; only the first `there` count.
template <class T, int N>
__device__ __forceinline__ void follow(float& top, float& sum, const Vec<T, N>& z, int there) {
    float higher = top;
#pragma unroll
    for (int k = 0; k < N; k++)
        if (k < there) higher = fmaxf(higher, load(z.v[k]));  // passes a NaN over; the sum does not
    if (higher > top) {
        if (top != -INFINITY) sum *= expf(top - higher);
        top = higher;
    }
#pragma unroll
    for (int k = 0; k < N; k++)
        if (k < there) sum += expf(load(z.v[k]) - finite(top));
}

// stats reads a row once: threads follow their maximum and the sum below it, and the block brings all sums to one maximum.
template <class T, int N>
__device__ void stats(const Classifier& a, long long n, int real, float* scratch, float (&out)[3]) {
    const T* z = row<T>(a.logits, n);
    float top = -INFINITY, sum = 0;
    for (int j = threadIdx.x; j * N < real; j += blockDim.x) follow<T, N>(top, sum, loadVec<N>(z, j), real - j * N);
    out[0] = blockMax(top, scratch);
    if (top != -INFINITY) sum *= expf(top - out[0]);
    out[1] = blockSum(sum, scratch + 32);
    const int at = a.targets[n] - a.start;
    out[2] = at >= 0 && at < real ? load(z[at]) : 0.0f;
}

// gradient overwrites a row's logits.
template <class T, int N>
__device__ void gradient(const Classifier& a, long long n, int real, float top, float sum) {
    T* z = row<T>(a.logits, n);
    const int target = a.targets[n] - a.start;
    const bool counts = a.targets[n] >= 0;
    for (int j = threadIdx.x; j < a.logits.cols / N; j += blockDim.x) {
        Vec<T, N> v = loadVec<N>(z, j);
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int col = j * N + k;
            float d = 0;
            if (counts && col < real) d = a.scale * (expf(load(v.v[k]) - finite(top)) / sum - (col == target ? 1.0f : 0.0f));
            v.v[k] = round<T>(d);
        }
        storeVec<N>(z, j, v);
    }
}

__device__ __forceinline__ int realColumns(const Classifier& a) { return max(0, min(a.vocab - a.start, a.logits.cols)); }

// outOfRange raises the flag for a target that no shard has.
__device__ __forceinline__ bool outOfRange(const Classifier& a, long long n) {
    if (a.targets[n] < a.vocab) return false;
    if (threadIdx.x == 0) atomicMax(a.error, 1);
    return true;
}

template <class T, int N>
__device__ void classifier(const Classifier& a) {
    __shared__ float scratch[64];
    const long long n = blockIdx.x;
    if (outOfRange(a, n)) return;
    const int real = realColumns(a);
    float s[3];
    stats<T, N>(a, n, real, scratch, s);
    __syncthreads();  // everybody has read the target's logit
    const bool counts = a.targets[n] >= 0;
    if (threadIdx.x == 0) a.loss[n] = counts ? logf(s[1]) + finite(s[0]) - s[2] : 0.0f;
    if (a.scale != 0) gradient<T, N>(a, n, real, s[0], s[1]);
}

template <class T, int N>
__device__ void classifierStats(const Classifier& a) {
    __shared__ float scratch[64];
    const long long n = blockIdx.x;
    if (outOfRange(a, n)) return;
    float s[3];
    stats<T, N>(a, n, realColumns(a), scratch, s);
    if (threadIdx.x < 3) a.stats[3 * n + threadIdx.x] = a.targets[n] >= 0 ? s[threadIdx.x] : 0.0f;
}

template <class T, int N>
__device__ void classifierFinish(const Classifier& a) {
    const long long n = blockIdx.x;
    float top = -INFINITY, sum = 0, target = 0;
    for (int q = 0; q < a.shards; q++) top = fmaxf(top, a.ranks[3 * (q * static_cast<long long>(a.logits.rows) + n)]);
    for (int q = 0; q < a.shards; q++) {
        const float* s = a.ranks + 3 * (q * static_cast<long long>(a.logits.rows) + n);
        if (s[1] != 0) sum += s[1] * expf(finite(s[0]) - finite(top));
        target += s[2];
    }
    if (threadIdx.x == 0) a.loss[n] = a.targets[n] >= 0 ? logf(sum) + finite(top) - target : 0.0f;
    if (a.scale != 0) gradient<T, N>(a, n, realColumns(a), top, sum);
}

#define CLASSIFIER_KERNEL(name, f, T)               \
    extern "C" __global__ void name(Classifier a) { \
        if (a.vector)                               \
            f<T, Pack<T>::size>(a);                 \
        else                                        \
            f<T, 1>(a);                             \
    }                                               \
    KERNEL(name);
#define CLASSIFIER(suffix, T)                                        \
    CLASSIFIER_KERNEL(classifier_##suffix, classifier, T)            \
    CLASSIFIER_KERNEL(classifier_stats_##suffix, classifierStats, T) \
    CLASSIFIER_KERNEL(classifier_finish_##suffix, classifierFinish, T)
FOR_TYPES(CLASSIFIER)
