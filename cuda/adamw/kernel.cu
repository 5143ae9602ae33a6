// AdamW (arXiv 1711.05101) on many tensors at once, each seen as a matrix, fp32 state, with the gradient's unscaling and clipping
// and the 16-bit weight fused in:
//
//	g = scale G     M = b1 M + (1-b1) g     V = b2 V + (1-b2) g^2
//	W = W (1 - lr wd) - lr (M/(1-b1^t)) / (sqrt(V/(1-b2^t)) + eps)     out = round(W)
//
// t = step - max(birth of the row, birth of the column): entries that growth added count their own steps. Without births the
// two corrections come from the host, in fp64.
//
// Bytes: 28 and those of the weight's type for every element. A model has some large matrices and many vectors: a launch takes the
// tensors of a list that lies in its parameter, a block blockElements neighbouring elements of one of them, whatever their sizes. A
// thread has 4 neighbouring elements at once where addresses and columns allow it.
#include "../common/device.cuh"

using namespace cambium;

constexpr int blockElements = 4096;  // of a block; adamw.go knows it too

// Piece is one tensor.
struct Piece {
    float *w, *m, *v;
    const float* g;
    void* out;  // may be null
    const int *birthRow, *birthCol;
    long long elements, cols;
    float lr, decay;
    int block;  // the first that works on it
    int vector;
};

// AdamW is the parameter of a launch: some 4 KB, as many pieces as fit.
struct AdamW {
    float beta1, beta2, eps, scale;
    float correction1, correction2;  // 1/(1-b1^t), 1/(1-b2^t) at t = step
    float logBeta1, logBeta2;        // natural logarithms
    int step, pieces;
    Piece piece[46];
};

// pieceOf is the last piece that begins at or before a block.
__device__ __forceinline__ int pieceOf(const AdamW& a, int block) {
    int at = 0;
    for (int end = a.pieces; end - at > 1;) {
        const int middle = (at + end) / 2;
        if (a.piece[middle].block <= block)
            at = middle;
        else
            end = middle;
    }
    return at;
}

// adamw updates vectors [lo, hi) of N elements of piece p.
template <class T, int N>
__device__ __forceinline__ void adamw(const AdamW& a, const Piece& p, long long lo, long long hi) {
    for (long long i = lo + threadIdx.x; i < hi; i += blockDim.x) {
        const Vec<float, N> g = loadVec<N>(p.g, i);
        Vec<float, N> w = loadVec<N>(p.w, i), m = loadVec<N>(p.m, i), v = loadVec<N>(p.v, i);
        const long long row = p.birthRow ? i * N / p.cols : 0, col = i * N - row * p.cols;
        Vec<T, N> out;
#pragma unroll
        for (int k = 0; k < N; k++) {
            float c1 = a.correction1, c2 = a.correction2;
            if (p.birthRow) {
                const int birth = max(p.birthRow[row], p.birthCol[col + k]);
                if (birth > 0) {
                    const float t = static_cast<float>(a.step - birth);
                    c1 = 1.0f / -expm1f(t * a.logBeta1);
                    c2 = 1.0f / -expm1f(t * a.logBeta2);
                }
            }
            const float d = a.scale * g.v[k];
            m.v[k] = a.beta1 * m.v[k] + (1.0f - a.beta1) * d;
            v.v[k] = a.beta2 * v.v[k] + (1.0f - a.beta2) * d * d;
            w.v[k] = w.v[k] * (1.0f - p.lr * p.decay) - p.lr * (m.v[k] * c1) / (sqrtf(v.v[k] * c2) + a.eps);
            out.v[k] = round<T>(w.v[k]);
        }
        storeVec<N>(p.m, i, m);
        storeVec<N>(p.v, i, v);
        storeVec<N>(p.w, i, w);
        if (p.out) storeVec<N>(static_cast<T*>(p.out), i, out);
    }
}

template <class T>
__device__ __forceinline__ void adamw(const AdamW& a) {
    const int block = static_cast<int>(blockIdx.x);
    const Piece p = a.piece[pieceOf(a, block)];
    const long long lo = static_cast<long long>(block - p.block) * blockElements, hi = min(lo + blockElements, p.elements);
    if (p.vector)
        adamw<T, 4>(a, p, lo / 4, hi / 4);
    else
        adamw<T, 1>(a, p, lo, hi);
}

#define ADAMW(suffix, type)                                                                    \
    extern "C" __global__ void adamw_##suffix(const GRID_CONSTANT AdamW a) { adamw<type>(a); } \
    KERNEL(adamw_##suffix);
FOR_TYPES(ADAMW)
