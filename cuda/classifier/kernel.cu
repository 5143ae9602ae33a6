// The fused classifier, one block a row of logits: softmax, cross-entropy and the gradient of the logits in their own place.
//
//	stats[n] = (m, s, t)     m = max_j z[n,j]     s = sum_j exp(z[n,j] - m)     t = z[n, target - start], 0 when it is elsewhere
//
// over the real columns of this shard of the vocabulary, and from the stats (m_q, s_q, t_q) of all shards, in their order,
//
//	M = max m_q     S = sum s_q exp(m_q - M)     loss = log S + M - sum t_q     z <- scale (exp(z - M)/S - onehot), 0 in padding
//
// With one shard both halves run in one kernel, which keeps the row in shared memory where it fits: a row of GPT-2's 50304 logits of 16
// bits is 98 KiB, and two of an H100's blocks have room for theirs, so that one computes while the other reads or writes. Bytes: T for
// every logit read and T written. A target of vocab or more raises the error flag.
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

// follow takes logits into a thread's maximum and sum; only the first `there` count.
template <class V>
__device__ __forceinline__ void follow(float& top, float& sum, const V& z, int there) {
    float higher = top;
#pragma unroll
    for (int k = 0; k < V::size; k++)
        if (k < there) higher = fmaxf(higher, element(z, k));  // passes a NaN over; the sum does not
    if (higher > top) {
        if (top != -INFINITY) sum *= exponential(top - higher);
        top = higher;
    }
    const float below = finite(top);
#pragma unroll
    for (int k = 0; k < V::size; k++)
        if (k < there) sum += exponential(element(z, k) - below);
}

// followRun takes a thread's share of the elements [from, to) of a row into its maximum and sum.
template <class V>
__device__ __forceinline__ void followRun(float& top, float& sum, const V* z, int from, int to, int real) {
    constexpr int n = V::size;
    const int whole = min(to, real / n);
    int j = from + threadIdx.x;
#pragma unroll 2
    for (; j < whole; j += blockDim.x) follow(top, sum, z[j], n);
    if (j < to && j * n < real) follow(top, sum, z[j], real - j * n);
}

// together brings the threads' maxima and sums to those of the row.
__device__ __forceinline__ void together(float& top, float& sum, float* scratch) {
    const float mine = top;
    top = blockMax(mine, scratch);
    if (mine != -INFINITY) sum *= exponential(mine - top);
    sum = blockSum(sum, scratch + 32);
}

// gradient writes the gradient of a row, of which `from` has the logits.
template <class V>
__device__ void gradient(const Classifier& a, const V* from, V* to, int target, int real, float top, float sum) {
    constexpr int n = V::size;
    const float below = finite(top), factor = a.scale / sum;
    const int aim = target >= 0 && target < real ? target / n : -1;
#pragma unroll 2
    for (int j = threadIdx.x; j < a.logits.cols / n; j += blockDim.x) {
        const V z = from[j];
        float d[n];
#pragma unroll
        for (int k = 0; k < n; k++) d[k] = factor * exponential(element(z, k) - below);
        if (j == aim || (j + 1) * n > real) {
#pragma unroll
            for (int k = 0; k < n; k++) {
                const int column = j * n + k;
                if (column == target) d[k] -= a.scale;
                if (column >= real) d[k] = 0;
            }
        }
        V out;
        narrow(out, d);
        to[j] = out;
    }
}

// nothing is the gradient of a row whose target is negative.
template <class V>
__device__ void nothing(const Classifier& a, V* to) {
    const float zeros[V::size] = {};
    V zero;
    narrow(zero, zeros);
    for (int j = threadIdx.x; j < a.logits.cols / V::size; j += blockDim.x) to[j] = zero;
}

__device__ __forceinline__ int realColumns(const Classifier& a) { return max(0, min(a.vocab - a.start, a.logits.cols)); }

// outOfRange raises the flag for a target that no shard has.
__device__ __forceinline__ bool outOfRange(const Classifier& a, long long n) {
    if (a.targets[n] < a.vocab) return false;
    if (threadIdx.x == 0) atomicMax(a.error, 1);
    return true;
}

// ignored tells whether a row has no target, and leaves its results.
template <class V>
__device__ __forceinline__ bool ignored(const Classifier& a, V* z, long long n) {
    if (a.targets[n] >= 0) return false;
    if (threadIdx.x == 0) a.loss[n] = 0;
    if (a.scale != 0) nothing(a, z);
    return true;
}

// hold starts copying a row to shared memory in four parts of some packs each. Threads read only what they copied themselves.
template <class T>
__device__ __forceinline__ void hold(Words<T>* held, const Words<T>* z, int packs, int part) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        for (int j = i * part + threadIdx.x; j < min((i + 1) * part, packs); j += blockDim.x) copyAsync(held + j, z + j);
        copyCommit();
    }
}

template <class T>
__device__ void classifierHeld(const Classifier& a) {
    __shared__ float scratch[64];
    DYNAMIC_SHARED(Words<T>, held);
    const long long n = blockIdx.x;
    Words<T>* z = reinterpret_cast<Words<T>*>(row<T>(a.logits, n));
    if (outOfRange(a, n) || ignored(a, z, n)) return;
    const int real = realColumns(a), packs = a.logits.cols / Words<T>::size;
    const int part = (packs + 4 * blockDim.x - 1) / (4 * blockDim.x) * blockDim.x;
    hold(held, z, packs, part);
    float top = -INFINITY, sum = 0;
    copyWait<3>();
    followRun(top, sum, held, 0, min(part, packs), real);
    copyWait<2>();
    followRun(top, sum, held, part, min(2 * part, packs), real);
    copyWait<1>();
    followRun(top, sum, held, 2 * part, min(3 * part, packs), real);
    copyWait<0>();
    followRun(top, sum, held, 3 * part, packs, real);
    const int target = a.targets[n];
    const float aim = threadIdx.x == 0 ? load(row<T>(a.logits, n)[target]) : 0.0f;
    together(top, sum, scratch);  // with barriers: the target's logit has been read
    if (threadIdx.x == 0) a.loss[n] = logf(sum) + finite(top) - aim;
    if (a.scale != 0) gradient(a, held, z, target, real, top, sum);
}

// classifier reads a row twice.
template <class T, class V>
__device__ void classifier(const Classifier& a) {
    __shared__ float scratch[64];
    const long long n = blockIdx.x;
    V* z = reinterpret_cast<V*>(row<T>(a.logits, n));
    if (outOfRange(a, n) || ignored(a, z, n)) return;
    const int real = realColumns(a), target = a.targets[n];
    float top = -INFINITY, sum = 0;
    followRun(top, sum, z, 0, a.logits.cols / V::size, real);
    const float aim = threadIdx.x == 0 ? load(row<T>(a.logits, n)[target]) : 0.0f;
    together(top, sum, scratch);
    if (threadIdx.x == 0) a.loss[n] = logf(sum) + finite(top) - aim;
    if (a.scale != 0) gradient(a, z, z, target, real, top, sum);
}

template <class T, class V>
__device__ void classifierStats(const Classifier& a) {
    __shared__ float scratch[64];
    const long long n = blockIdx.x;
    if (outOfRange(a, n)) return;
    const int real = realColumns(a), at = a.targets[n] - a.start;
    const bool counts = a.targets[n] >= 0;
    float top = -INFINITY, sum = 0;
    followRun(top, sum, reinterpret_cast<const V*>(row<T>(a.logits, n)), 0, a.logits.cols / V::size, counts ? real : 0);
    together(top, sum, scratch);
    if (threadIdx.x > 0) return;
    a.stats[3 * n] = counts ? top : 0.0f;
    a.stats[3 * n + 1] = sum;
    a.stats[3 * n + 2] = counts && at >= 0 && at < real ? load(row<T>(a.logits, n)[at]) : 0.0f;
}

template <class T, class V>
__device__ void classifierFinish(const Classifier& a) {
    const long long n = blockIdx.x;
    V* z = reinterpret_cast<V*>(row<T>(a.logits, n));
    if (ignored(a, z, n)) return;
    float top = -INFINITY, sum = 0, target = 0;
    for (int q = 0; q < a.shards; q++) top = fmaxf(top, a.ranks[3 * (q * static_cast<long long>(a.logits.rows) + n)]);
    for (int q = 0; q < a.shards; q++) {
        const float* s = a.ranks + 3 * (q * static_cast<long long>(a.logits.rows) + n);
        if (s[1] != 0) sum += s[1] * expf(finite(s[0]) - finite(top));
        target += s[2];
    }
    if (threadIdx.x == 0) a.loss[n] = logf(sum) + finite(top) - target;
    if (a.scale != 0) gradient(a, z, z, a.targets[n] - a.start, realColumns(a), top, sum);
}

#define CLASSIFIER_KERNEL(name, f, T)                                       \
    extern "C" __global__ void __launch_bounds__(1024) name(Classifier a) { \
        if (a.vector)                                                       \
            f<T, Words<T>>(a);                                              \
        else                                                                \
            f<T, One<T>>(a);                                                \
    }                                                                       \
    KERNEL(name);
#define CLASSIFIER(suffix, T)                                                                                           \
    CLASSIFIER_KERNEL(classifier_##suffix, classifier, T)                                                               \
    CLASSIFIER_KERNEL(classifier_stats_##suffix, classifierStats, T)                                                    \
    CLASSIFIER_KERNEL(classifier_finish_##suffix, classifierFinish, T)                                                  \
    extern "C" __global__ void __launch_bounds__(1024) classifier_held_##suffix(Classifier a) { classifierHeld<T>(a); } \
    KERNEL(classifier_held_##suffix);
FOR_TYPES(CLASSIFIER)
