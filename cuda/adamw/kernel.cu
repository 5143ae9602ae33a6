// AdamW (arXiv 1711.05101) on one tensor seen as a matrix, fp32 state, with the gradient's unscaling and clipping and the
// 16-bit weight fused in:
//
//	g = scale G     M = b1 M + (1-b1) g     V = b2 V + (1-b2) g^2
//	W = W (1 - lr wd) - lr (M/(1-b1^t)) / (sqrt(V/(1-b2^t)) + eps)     out = round(W)
//
// t = step - max(birth of the row, birth of the column): entries that growth added count their own steps. Without births the
// two corrections come from the host, in fp64.
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
    int step;
};

template <class T>
__device__ void adamw(const AdamW& a) {
    for
        STRIDED(i, a.rows * a.cols) {
            float c1 = a.correction1, c2 = a.correction2;
            if (a.birthRow) {
                const int birth = max(a.birthRow[i / a.cols], a.birthCol[i % a.cols]);
                if (birth > 0) {
                    const float t = static_cast<float>(a.step - birth);
                    c1 = 1.0f / -expm1f(t * a.logBeta1);
                    c2 = 1.0f / -expm1f(t * a.logBeta2);
                }
            }
            const float g = a.scale * a.g[i];
            const float m = a.beta1 * a.m[i] + (1.0f - a.beta1) * g;
            const float v = a.beta2 * a.v[i] + (1.0f - a.beta2) * g * g;
            const float w = a.w[i] * (1.0f - a.lr * a.decay) - a.lr * (m * c1) / (sqrtf(v * c2) + a.eps);
            a.m[i] = m;
            a.v[i] = v;
            a.w[i] = w;
            if (a.out) static_cast<T*>(a.out)[i] = round<T>(w);
        }
}

#define ADAMW(suffix, type)                                                \
    extern "C" __global__ void adamw_##suffix(AdamW a) { adamw<type>(a); } \
    KERNEL(adamw_##suffix);
FOR_TYPES(ADAMW)
