// LayerNorm and RMSNorm (see kernel.cu for the formulas) with rows in registers: memory is read once and written once, 16 bytes at a
// time. Blocks are of 32 W x R threads: R rows at a time, W warps a row, and a thread holds P packs of its row, those at
// threadIdx.x, threadIdx.x + 32 W, ... Up to 1024 elements of 16 bits a row are one warp's, which needs no barrier for it.
//
// Bytes, of T each: forward 2 rows x cols read (residual and delta, or x alone) and 2 written (x, y, or y alone), backward 3 read (x,
// dy, residual) and 1 written. The backward pass makes the gradients of gain and bias beside dx: a block takes a run of rows, a
// thread adds up its columns over its rows, the block's R threads of a column add theirs by a tree, and add_parts (cuda/reduce) adds
// what blocks leave in order. How rows are divided depends on the number of multiprocessors; on one kind of GPU results are the
// same bits on every run.
#include "norm.cuh"

using namespace cambium;

// packsOf reads a thread's packs of a row, or zeros where there are none.
template <class T, int P>
__device__ __forceinline__ void packsOf(Words<T> (&v)[P], const void* row, int packs) {
#pragma unroll
    for (int p = 0; p < P; p++) {
        const int j = threadIdx.x + p * blockDim.x;
        v[p] = row && j < packs ? static_cast<const Words<T>*>(row)[j] : Words<T>{};
    }
}

// rowSums makes two sums over the threads of a row, with one barrier. scratch may be used again after the next barrier but one, so
// that neighbouring rows take turns with two of them.
__device__ __forceinline__ void rowSums(float& a, float& b, float (&scratch)[2][32]) {
    a = warpSum(a), b = warpSum(b);
    const int warps = blockDim.x / 32, lane = threadIdx.x % 32, first = threadIdx.y * warps;
    if (warps == 1) return;
    if (lane == 0) scratch[0][first + threadIdx.x / 32] = a, scratch[1][first + threadIdx.x / 32] = b;
    groupBarrier(1 + threadIdx.y, blockDim.x);
    a = warpSum(lane < warps ? scratch[0][first + lane] : 0.0f);
    b = warpSum(lane < warps ? scratch[1][first + lane] : 0.0f);
}

// Weight is m[j], or 1 where nothing grows.
template <bool masked>
__device__ __forceinline__ float weight(const Mask& m, int j) {
    return masked ? m.at(j) : 1.0f;
}

template <class T, int P, bool masked>
__device__ __forceinline__ void normForwardRow(const NormForward& a) {
    __shared__ float scratch[2][2][32];
    constexpr int n = Words<T>::size;
    const long long i = blockIdx.x * static_cast<long long>(blockDim.y) + threadIdx.y;
    const int packs = i < a.x.rows ? a.x.cols / n : 0;  // rows beyond the last go along to the barriers
    Words<T> x[P];
    if (a.delta.data) {
        Words<T> delta[P];
        packsOf(x, row<T>(a.residual, i), packs);
        packsOf(delta, row<T>(a.delta, i), packs);
#pragma unroll
        for (int p = 0; p < P; p++) {
            const int j = threadIdx.x + p * blockDim.x;
#pragma unroll
            for (int k = 0; k < n; k += 2)
                put(x[p], k, element(x[p], k) + a.scale * element(delta[p], k), element(x[p], k + 1) + a.scale * element(delta[p], k + 1));
            if (j < packs) reinterpret_cast<Words<T>*>(row<T>(a.x, i))[j] = x[p];
        }
    } else {
        packsOf(x, row<T>(a.x, i), packs);
    }
    float mean = 0, square = 0, unused = 0;
    if (!a.rms) {
#pragma unroll
        for (int p = 0; p < P; p++)
#pragma unroll
            for (int k = 0; k < n; k++) mean += weight<masked>(a.mask, (threadIdx.x + p * blockDim.x) * n + k) * element(x[p], k);
        rowSums(mean, unused, scratch[0]);
        mean /= a.mask.sum;
    }
#pragma unroll
    for (int p = 0; p < P; p++) {
        const int j = threadIdx.x + p * blockDim.x;
        if (j >= packs) continue;
#pragma unroll
        for (int k = 0; k < n; k++) {
            const float d = element(x[p], k) - mean;
            square += weight<masked>(a.mask, j * n + k) * d * d;
        }
    }
    rowSums(square, unused, scratch[1]);
    const float r = 1.0f / sqrtf(square / a.mask.divisor + a.eps);
#pragma unroll
    for (int p = 0; p < P; p++) {
        const int j = threadIdx.x + p * blockDim.x;
        if (j >= packs) continue;
        const Words<T> gain = static_cast<const Words<T>*>(a.gain)[j];
        Words<T> y, bias = {};
        if (a.bias) bias = static_cast<const Words<T>*>(a.bias)[j];
#pragma unroll
        for (int k = 0; k < n; k += 2) {
            float v[2];
#pragma unroll
            for (int e = 0; e < 2; e++)
                v[e] = weight<masked>(a.mask, j * n + k + e) *
                       (element(gain, k + e) * (element(x[p], k + e) - mean) * r + element(bias, k + e));
            put(y, k, v[0], v[1]);
        }
        reinterpret_cast<Words<T>*>(row<T>(a.y, i))[j] = y;
    }
    if (threadIdx.x == 0 && packs) {
        a.rstd[i] = r;
        if (a.mean) a.mean[i] = mean;
    }
}

// addGroups adds up v over the block's threads of the same threadIdx.x, into those with threadIdx.y = 0. shared has room for
// blockDim.y / 2 groups.
template <int N>
__device__ __forceinline__ void addGroups(float (&v)[N], float4* shared) {
    for (unsigned groups = blockDim.y; groups > 1;) {
        const unsigned half = (groups + 1) / 2;
        float4* const slot = shared + threadIdx.y % half * (N / 4) * blockDim.x + threadIdx.x;
        if (threadIdx.y >= half && threadIdx.y < groups)
#pragma unroll
            for (int k = 0; k < N / 4; k++) slot[k * blockDim.x] = make_float4(v[4 * k], v[4 * k + 1], v[4 * k + 2], v[4 * k + 3]);
        __syncthreads();
        if (threadIdx.y < groups - half)
#pragma unroll
            for (int k = 0; k < N / 4; k++) {
                const float4 w = slot[k * blockDim.x];
                v[4 * k] += w.x, v[4 * k + 1] += w.y, v[4 * k + 2] += w.z, v[4 * k + 3] += w.w;
            }
        __syncthreads();
        groups = half;
    }
}

// leave writes a block's sums of gradients, one a column.
template <int P, int n, bool masked>
__device__ __forceinline__ void leave(float* to, const float (&v)[P * n], const Mask& mask, int packs) {
#pragma unroll
    for (int p = 0; p < P; p++) {
        const int j = threadIdx.x + p * blockDim.x;
        if (j >= packs) continue;
        Vec<float, 4> out[n / 4];
#pragma unroll
        for (int k = 0; k < n; k++) out[k / 4].v[k % 4] = weight<masked>(mask, j * n + k) * v[p * n + k];
#pragma unroll
        for (int k = 0; k < n / 4; k++) storeVec<4>(to, j * (n / 4) + k, out[k]);
    }
}

// Ahead is where a thread's packs of the next rows are on their way to: shared memory that no other thread looks at, so that it costs
// neither registers nor barriers to have a whole row a warp under way while the row before it is worked on.
template <class T, int P>
struct Ahead {
    Words<T>* slots;  // [2][3][P][threads of the block]
    __device__ Words<T>& at(int turn, int which, int p) const {
        return slots[((turn * 3 + which) * P + p) * (blockDim.x * blockDim.y) + threadIdx.y * blockDim.x + threadIdx.x];
    }
    // fetch starts the copies of row i of a view, or puts zeros.
    __device__ void fetch(int turn, int which, const View& v, int i, bool there) const {
        const int packs = there ? v.cols / Words<T>::size : 0;
        const Words<T>* from = static_cast<const Words<T>*>(packs ? row<T>(v, i) : v.data);
#pragma unroll
        for (int p = 0; p < P; p++) {
            const int j = threadIdx.x + p * blockDim.x;
            copyAsync(&at(turn, which, p), j < packs ? from + j : from, j < packs ? 16 : 0);
        }
    }
};

template <class T, int P, bool masked>
__device__ __forceinline__ void normBackwardRun(const NormBackward& a) {
    __shared__ float scratch[2][2][32];
    DYNAMIC_SHARED(float4, shared);
    constexpr int n = Words<T>::size;
    const int packs = a.x.cols / n;
    const int begin = static_cast<int>(static_cast<long long>(a.x.rows) * blockIdx.x / gridDim.x);
    const int end = static_cast<int>(static_cast<long long>(a.x.rows) * (blockIdx.x + 1) / gridDim.x);
    const float overSum = a.rms ? 0.0f : 1.0f / a.mask.sum, overDivisor = 1.0f / a.mask.divisor;
    const Ahead<T, P> ahead{reinterpret_cast<Words<T>*>(shared)};
    float dgain[P * n] = {}, dbias[P * n] = {};
    float mean = 0, r = 0, nextMean = 0, nextR = 0;
    const auto fetch = [&](int turn, int i) {
        const bool there = i < end;  // threads without a row go along to the barriers, with zeros
        ahead.fetch(turn, 0, a.x, i, there), ahead.fetch(turn, 1, a.dy, i, there);
        if (a.residual.data) ahead.fetch(turn, 2, a.residual, i, there);
        copyCommit();
        nextMean = there && !a.rms ? a.mean[i] : 0.0f, nextR = there ? a.rstd[i] : 0.0f;
    };
    fetch(0, begin + threadIdx.y);
    int turn = 0;
    for (int base = begin; base < end; base += blockDim.y, turn ^= 1) {
        const int i = base + threadIdx.y;
        mean = nextMean, r = nextR;
        fetch(turn ^ 1, i + blockDim.y);
        copyWait<1>();
        Words<T> x[P], dy[P];
        float sumA = 0, sumB = 0;
#pragma unroll
        for (int p = 0; p < P; p++) {
            const int j = threadIdx.x + p * blockDim.x;
            x[p] = ahead.at(turn, 0, p), dy[p] = ahead.at(turn, 1, p);
            const Words<T> gain = j < packs ? static_cast<const Words<T>*>(a.gain)[j] : Words<T>{};
#pragma unroll
            for (int k = 0; k < n; k++) {
                const float d = element(dy[p], k), xh = (element(x[p], k) - mean) * r;
                const float h = weight<masked>(a.mask, j * n + k) * element(gain, k) * d;
                sumA += h, sumB += h * xh;
                dgain[p * n + k] += d * xh, dbias[p * n + k] += d;
            }
            forget(x[p]), forget(dy[p]);
        }
        rowSums(sumA, sumB, scratch[turn]);
        const float meanA = sumA * overSum, meanB = sumB * overDivisor;
#pragma unroll
        for (int p = 0; p < P; p++) {
            const int j = threadIdx.x + p * blockDim.x;
            if (i >= end || j >= packs) continue;
            const Words<T> gain = static_cast<const Words<T>*>(a.gain)[j];
            Words<T> dx, residual = {};
            if (a.residual.data) residual = ahead.at(turn, 2, p);
#pragma unroll
            for (int k = 0; k < n; k += 2) {
                float v[2];
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const float xh = (element(x[p], k + e) - mean) * r, h = element(gain, k + e) * element(dy[p], k + e);
                    v[e] = element(residual, k + e) + weight<masked>(a.mask, j * n + k + e) * r * (h - meanA - xh * meanB);
                }
                put(dx, k, v[0], v[1]);
            }
            reinterpret_cast<Words<T>*>(row<T>(a.dx, i))[j] = dx;
        }
    }
    copyWait<0>();
    __syncthreads();  // what was ahead is behind
    const long long at = static_cast<long long>(blockIdx.x) * a.x.cols;
    addGroups(dgain, shared);
    if (threadIdx.y == 0) leave<P, n, masked>(a.dgain + at, dgain, a.mask, packs);
    if (!a.dbias) return;
    addGroups(dbias, shared);
    if (threadIdx.y == 0) leave<P, n, masked>(a.dbias + at, dbias, a.mask, packs);
}

template <class T, int P>
__device__ void normForwardRows(const NormForward& a) {
    if (a.mask.old < a.x.cols)
        normForwardRow<T, P, true>(a);
    else
        normForwardRow<T, P, false>(a);
}

// Names end in the packs that a thread holds. The bounds are 32 times normWarps in src/backend/cuda: the most without spills. The
// backward pass of masked norms is a kernel of its own, because it needs more registers.
#define NORM_FORWARD(suffix, T, packs)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(512) norm_forward_rows##packs##_##suffix(NormForward a) { normForwardRows<T, packs>(a); } \
    KERNEL(norm_forward_rows##packs##_##suffix);
#define NORM_BACKWARD(name, suffix, T, packs, masked, warps)                                             \
    extern "C" __global__ void __launch_bounds__(32 * warps, 1) name##packs##_##suffix(NormBackward a) { \
        normBackwardRun<T, packs, masked>(a);                                                            \
    }                                                                                                    \
    KERNEL(name##packs##_##suffix);
#define NORM_ALL(suffix, T)                                     \
    NORM_FORWARD(suffix, T, 1)                                  \
    NORM_FORWARD(suffix, T, 2)                                  \
    NORM_FORWARD(suffix, T, 3)                                  \
    NORM_FORWARD(suffix, T, 4)                                  \
    NORM_BACKWARD(norm_backward_rows, suffix, T, 1, false, 32)  \
    NORM_BACKWARD(norm_backward_rows, suffix, T, 2, false, 20)  \
    NORM_BACKWARD(norm_backward_rows, suffix, T, 3, false, 16)  \
    NORM_BACKWARD(norm_backward_rows, suffix, T, 4, false, 12)  \
    NORM_BACKWARD(norm_backward_masked, suffix, T, 1, true, 28) \
    NORM_BACKWARD(norm_backward_masked, suffix, T, 2, true, 16) \
    NORM_BACKWARD(norm_backward_masked, suffix, T, 3, true, 12) \
    NORM_BACKWARD(norm_backward_masked, suffix, T, 4, true, 8)
FOR_TYPES(NORM_ALL)
