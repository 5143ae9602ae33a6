// AdamW (arXiv 1711.05101) on tensors seen as matrices, fp32 state, with the gradient's unscaling and clipping and the
// 16-bit weight fused in:
//
//	g = scale G     M = b1 M + (1-b1) g     V = b2 V + (1-b2) g^2
//	W = W (1 - lr wd) - lr (M/(1-b1^t)) / (sqrt(V/(1-b2^t)) + eps)     out = round(W)
//
// t = step - max(birth of the row, birth of the column): entries that growth added count their own steps. Without births the
// two corrections come from the host, in fp64.
//
// Bytes: 28 and those of the weight's type for every element. A thread has one element, or 4 neighbouring ones where addresses and
// columns allow it. One launch updates some tensors, each by a run of blocks: a model has many that are small.
#include "../common/device.cuh"

using namespace cambium;

constexpr int kEach = 6;

struct Tensor {
    float *w, *m, *v;
    const float* g;
    void* out;  // may be null
    const int *birthRow, *birthCol;
    long long elements;
    int cols, vector;
    float lr, decay;
    unsigned first;  // of the launch's blocks
    unsigned unused;
};

struct AdamW {
    Tensor each[kEach];
    float beta1, beta2, eps, scale;
    float correction1, correction2;  // 1/(1-b1^t), 1/(1-b2^t) at t = step
    float logBeta1, logBeta2;        // natural logarithms
    int step, tensors;
};

template <class T, int N>
__device__ void adamw(const AdamW& a, const Tensor& x) {
    const long long i = (blockIdx.x - x.first) * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (i >= x.elements / N) return;
    const Vec<float, N> g = loadVec<N>(x.g, i);
    Vec<float, N> w = loadVec<N>(x.w, i), m = loadVec<N>(x.m, i), v = loadVec<N>(x.v, i);
    const long long row = x.birthRow ? i * N / x.cols : 0, col = i * N - row * x.cols;
    Vec<T, N> out;
#pragma unroll
    for (int k = 0; k < N; k++) {
        float c1 = a.correction1, c2 = a.correction2;
        if (x.birthRow) {
            const int birth = max(x.birthRow[row], x.birthCol[col + k]);
            if (birth > 0) {
                const float t = static_cast<float>(a.step - birth);
                c1 = 1.0f / -expm1f(t * a.logBeta1);
                c2 = 1.0f / -expm1f(t * a.logBeta2);
            }
        }
        const float d = a.scale * g.v[k];
        m.v[k] = a.beta1 * m.v[k] + (1.0f - a.beta1) * d;
        v.v[k] = a.beta2 * v.v[k] + (1.0f - a.beta2) * d * d;
        w.v[k] = w.v[k] * (1.0f - x.lr * x.decay) - x.lr * (m.v[k] * c1) / (sqrtf(v.v[k] * c2) + a.eps);
        out.v[k] = round<T>(w.v[k]);
    }
    storeVec<N>(x.m, i, m);
    storeVec<N>(x.v, i, v);
    storeVec<N>(x.w, i, w);
    if (x.out) storeVec<N>(static_cast<T*>(x.out), i, out);
}

template <class T>
__device__ void adamwOfBlock(const AdamW& a) {
    int n = 0;
    while (n + 1 < a.tensors && blockIdx.x >= a.each[n + 1].first) n++;
    const Tensor x = a.each[n];
    if (x.vector)
        adamw<T, 4>(a, x);
    else
        adamw<T, 1>(a, x);
}

#define ADAMW(suffix, type)                                                       \
    extern "C" __global__ void adamw_##suffix(AdamW a) { adamwOfBlock<type>(a); } \
    KERNEL(adamw_##suffix);
FOR_TYPES(ADAMW)
