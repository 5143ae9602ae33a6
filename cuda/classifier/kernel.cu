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
};

// finite is what an absent maximum is taken for in differences, so that no infinity meets another.
__device__ __forceinline__ float finite(float m) { return m == -INFINITY ? 0.0f : m; }

template <class T>
__device__ void stats(const Classifier& a, long long n, int real, float* scratch, float (&out)[3]) {
    const T* z = row<T>(a.logits, n);
    float top = -INFINITY;
    for (int j = threadIdx.x; j < real; j += blockDim.x) top = fmaxf(top, load(z[j]));
    // fmaxf passes a NaN over; the sum does not.
    out[0] = blockMax(top, scratch);
    float sum = 0;
    for (int j = threadIdx.x; j < real; j += blockDim.x) sum += expf(load(z[j]) - finite(out[0]));
    out[1] = blockSum(sum, scratch + 32);
    const int at = a.targets[n] - a.start;
    out[2] = at >= 0 && at < real ? load(z[at]) : 0.0f;
}

// gradient overwrites a row's logits.
template <class T>
__device__ void gradient(const Classifier& a, long long n, int real, float top, float sum) {
    T* z = row<T>(a.logits, n);
    const int target = a.targets[n] - a.start;
    const bool counts = a.targets[n] >= 0;
    for (int j = threadIdx.x; j < a.logits.cols; j += blockDim.x) {
        float v = 0;
        if (counts && j < real) v = a.scale * (expf(load(z[j]) - finite(top)) / sum - (j == target ? 1.0f : 0.0f));
        z[j] = round<T>(v);
    }
}

__device__ __forceinline__ int realColumns(const Classifier& a) { return max(0, min(a.vocab - a.start, a.logits.cols)); }

// outOfRange raises the flag for a target that no shard has.
__device__ __forceinline__ bool outOfRange(const Classifier& a, long long n) {
    if (a.targets[n] < a.vocab) return false;
    if (threadIdx.x == 0) atomicMax(a.error, 1);
    return true;
}

template <class T>
__device__ void classifier(const Classifier& a) {
    __shared__ float scratch[64];
    const long long n = blockIdx.x;
    if (outOfRange(a, n)) return;
    const int real = realColumns(a);
    float s[3];
    stats<T>(a, n, real, scratch, s);
    __syncthreads();  // everybody has read the target's logit
    const bool counts = a.targets[n] >= 0;
    if (threadIdx.x == 0) a.loss[n] = counts ? logf(s[1]) + finite(s[0]) - s[2] : 0.0f;
    if (a.scale != 0) gradient<T>(a, n, real, s[0], s[1]);
}

template <class T>
__device__ void classifierStats(const Classifier& a) {
    __shared__ float scratch[64];
    const long long n = blockIdx.x;
    if (outOfRange(a, n)) return;
    float s[3];
    stats<T>(a, n, realColumns(a), scratch, s);
    if (threadIdx.x < 3) a.stats[3 * n + threadIdx.x] = a.targets[n] >= 0 ? s[threadIdx.x] : 0.0f;
}

template <class T>
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
    if (a.scale != 0) gradient<T>(a, n, realColumns(a), top, sum);
}

#define CLASSIFIER(suffix, type)                                                                       \
    extern "C" __global__ void classifier_##suffix(Classifier a) { classifier<type>(a); }              \
    KERNEL(classifier_##suffix);                                                                       \
    extern "C" __global__ void classifier_stats_##suffix(Classifier a) { classifierStats<type>(a); }   \
    KERNEL(classifier_stats_##suffix);                                                                 \
    extern "C" __global__ void classifier_finish_##suffix(Classifier a) { classifierFinish<type>(a); } \
    KERNEL(classifier_finish_##suffix);
FOR_TYPES(CLASSIFIER)
