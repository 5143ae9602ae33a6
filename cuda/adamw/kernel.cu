// AdamW (arXiv 1711.05101) on one tensor seen as a matrix, fp32 state, with the gradient's unscaling and clipping and the
// 16-bit weight fused in:
//
//	g = scale G     M = b1 M + (1-b1) g     V = b2 V + (1-b2) g^2
//	W = W (1 - lr wd) - lr (M/(1-b1^t)) / (sqrt(V/(1-b2^t)) + eps)     out = round(W)
//
// t = step - max(birth of the row, birth of the column): entries that growth added count their own steps. Without births the
// two corrections come from the host, in fp64.
//
// Bytes: 28 and those of the weight's type for every element. A thread has 4 neighbouring elements at once where addresses and
// columns allow it.
#include "../common/device.cuh"

using namespace cambium;

struct AdamW {
    float *w, *m, *v;
    const float* g;
    void* out;  // may be null
    const int *birthRow, *birthCol;
    long long rows, cols;
    float lr, beta1, beta2, eps, decay, scale;
    float correction1, correction2;  // 1/(1-b1^t), 1/(1-b2^t) at t = step
    float logBeta1, logBeta2;        // natural logarithms
    int step, vector;
};

template <class T, int N>
__device__ void adamw(const AdamW& a) {
    for
        STRIDED(i, a.rows * a.cols / N) {
            const Vec<float, N> g = loadVec<N>(a.g, i);
            Vec<float, N> w = loadVec<N>(a.w, i), m = loadVec<N>(a.m, i), v = loadVec<N>(a.v, i);
            const long long row = a.birthRow ? i * N / a.cols : 0, col = i * N - row * a.cols;
            Vec<T, N> out;
#pragma unroll
            for (int k = 0; k < N; k++) {
                float c1 = a.correction1, c2 = a.correction2;
                if (a.birthRow) {
                    const int birth = max(a.birthRow[row], a.birthCol[col + k]);
                    if (birth > 0) {
                        const float t = static_cast<float>(a.step - birth);
                        c1 = 1.0f / -expm1f(t * a.logBeta1);
                        c2 = 1.0f / -expm1f(t * a.logBeta2);
                    }
                }
                const float d = a.scale * g.v[k];
                m.v[k] = a.beta1 * m.v[k] + (1.0f - a.beta1) * d;
                v.v[k] = a.beta2 * v.v[k] + (1.0f - a.beta2) * d * d;
                w.v[k] = w.v[k] * (1.0f - a.lr * a.decay) - a.lr * (m.v[k] * c1) / (sqrtf(v.v[k] * c2) + a.eps);
                out.v[k] = round<T>(w.v[k]);
            }
            storeVec<N>(a.m, i, m);
            storeVec<N>(a.v, i, v);
            storeVec<N>(a.w, i, w);
            if (a.out) storeVec<N>(static_cast<T*>(a.out), i, out);
        }
}

#define ADAMW(suffix, type)                              \
    extern "C" __global__ void adamw_##suffix(AdamW a) { \
        afterPrevious();                                 \
        if (a.vector)                                    \
            adamw<type, 4>(a);                           \
        else                                             \
            adamw<type, 1>(a);                           \
    }                                                    \
    KERNEL(adamw_##suffix);
FOR_TYPES(ADAMW)
