// LayerNorm and RMSNorm (see kernel.cu for the formulas) with a row in the registers of a block: memory is read once and written
// once, 16 bytes at a time. A thread holds P packs of a row, those at threadIdx.x, threadIdx.x + blockDim.x, ...
//
// The backward pass makes the gradients of gain and bias beside dx: a block takes a run of rows, in which a thread adds up the
// columns that it holds, and leaves one partial sum a column, which add_parts (cuda/reduce) adds in order.
#include "norm.cuh"

using namespace cambium;

template <class T>
__device__ __forceinline__ Pack<T> pack(const T* row, int j) {
    return reinterpret_cast<const Pack<T>*>(row)[j];
}

template <class T, int P>
__device__ void normForwardRows(const NormForward& a) {
    __shared__ float scratch[2][32];
    constexpr int n = Pack<T>::size;
    const long long i = blockIdx.x;
    const int packs = a.x.cols / n;
    float v[P][n];
    float sum = 0;
#pragma unroll
    for (int p = 0; p < P; p++) {
        const int j = threadIdx.x + p * blockDim.x;
        if (j >= packs) continue;
        Pack<T> x;
        if (a.delta.data) {
            const Pack<T> residual = pack(row<T>(a.residual, i), j), delta = pack(row<T>(a.delta, i), j);
#pragma unroll
            for (int k = 0; k < n; k++) x.v[k] = round<T>(load(residual.v[k]) + a.scale * load(delta.v[k]));
            reinterpret_cast<Pack<T>*>(row<T>(a.x, i))[j] = x;
        } else {
            x = pack(row<T>(a.x, i), j);
        }
#pragma unroll
        for (int k = 0; k < n; k++) sum += a.mask.at(j * n + k) * (v[p][k] = load(x.v[k]));
    }
    const float mean = a.rms ? 0.0f : blockSum(sum, scratch[0]) / a.mask.sum;
    float square = 0;
#pragma unroll
    for (int p = 0; p < P; p++) {
        const int j = threadIdx.x + p * blockDim.x;
        if (j >= packs) continue;
#pragma unroll
        for (int k = 0; k < n; k++) square += a.mask.at(j * n + k) * (v[p][k] - mean) * (v[p][k] - mean);
    }
    const float r = 1.0f / sqrtf(blockSum(square, scratch[1]) / a.mask.divisor + a.eps);
#pragma unroll
    for (int p = 0; p < P; p++) {
        const int j = threadIdx.x + p * blockDim.x;
        if (j >= packs) continue;
        const Pack<T> gain = pack(static_cast<const T*>(a.gain), j);
        Pack<T> y, bias = {};
        if (a.bias) bias = pack(static_cast<const T*>(a.bias), j);
#pragma unroll
        for (int k = 0; k < n; k++) {
            float w = load(gain.v[k]) * (v[p][k] - mean) * r;
            if (a.bias) w += load(bias.v[k]);
            y.v[k] = round<T>(a.mask.at(j * n + k) * w);
        }
        reinterpret_cast<Pack<T>*>(row<T>(a.y, i))[j] = y;
    }
    if (threadIdx.x == 0) {
        a.rstd[i] = r;
        if (a.mean) a.mean[i] = mean;
    }
}

// blockSums makes two sums over the block with one barrier.
__device__ __forceinline__ void blockSums(float& a, float& b, float (&scratch)[2][32]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    a = warpSum(a), b = warpSum(b);
    if (lane == 0) scratch[0][warp] = a, scratch[1][warp] = b;
    __syncthreads();
    a = warpSum(lane < warps ? scratch[0][lane] : 0.0f);
    b = warpSum(lane < warps ? scratch[1][lane] : 0.0f);
}

template <class T, int P>
__device__ void normBackwardRows(const NormBackward& a) {
    __shared__ float scratch[2][2][32];  // neighbouring rows take turns: one barrier a row is enough
    constexpr int n = Pack<T>::size;
    const int packs = a.x.cols / n;
    const long long begin = static_cast<long long>(a.x.rows) * blockIdx.x / gridDim.x;
    const long long end = static_cast<long long>(a.x.rows) * (blockIdx.x + 1) / gridDim.x;
    float dgain[P][n] = {}, dbias[P][n] = {};
    for (long long i = begin; i < end; i++) {
        const float mean = a.rms ? 0.0f : a.mean[i], r = a.rstd[i];
        Pack<T> x[P], dy[P];
        float sumA = 0, sumB = 0;
#pragma unroll
        for (int p = 0; p < P; p++) {
            const int j = threadIdx.x + p * blockDim.x;
            if (j >= packs) continue;
            x[p] = pack(row<T>(a.x, i), j), dy[p] = pack(row<T>(a.dy, i), j);
            const Pack<T> gain = pack(static_cast<const T*>(a.gain), j);
#pragma unroll
            for (int k = 0; k < n; k++) {
                const float d = load(dy[p].v[k]), xh = (load(x[p].v[k]) - mean) * r, h = a.mask.at(j * n + k) * load(gain.v[k]) * d;
                sumA += h, sumB += h * xh;
                dgain[p][k] += d * xh, dbias[p][k] += d;
            }
        }
        blockSums(sumA, sumB, scratch[i % 2]);
        const float meanA = a.rms ? 0.0f : sumA / a.mask.sum, meanB = sumB / a.mask.divisor;
#pragma unroll
        for (int p = 0; p < P; p++) {
            const int j = threadIdx.x + p * blockDim.x;
            if (j >= packs) continue;
            const Pack<T> gain = pack(static_cast<const T*>(a.gain), j);
            Pack<T> dx, residual = {};
            if (a.residual.data) residual = pack(row<T>(a.residual, i), j);
#pragma unroll
            for (int k = 0; k < n; k++) {
                const float xh = (load(x[p].v[k]) - mean) * r, h = load(gain.v[k]) * load(dy[p].v[k]);
                const float v = a.mask.at(j * n + k) * r * (h - meanA - xh * meanB);
                dx.v[k] = round<T>(a.residual.data ? load(residual.v[k]) + v : v);
            }
            reinterpret_cast<Pack<T>*>(row<T>(a.dx, i))[j] = dx;
        }
    }
#pragma unroll
    for (int p = 0; p < P; p++) {
        const int j = threadIdx.x + p * blockDim.x;
        if (j >= packs) continue;
        const long long at = static_cast<long long>(blockIdx.x) * a.x.cols + j * n;
#pragma unroll
        for (int k = 0; k < n; k++) {
            a.dgain[at + k] = a.mask.at(j * n + k) * dgain[p][k];
            if (a.dbias) a.dbias[at + k] = a.mask.at(j * n + k) * dbias[p][k];
        }
    }
}

// Names end in the elements that a thread holds.
#define NORM_ROWS(suffix, T, elements)                                                                          \
    extern "C" __global__ void __launch_bounds__(512) norm_forward_rows##elements##_##suffix(NormForward a) {   \
        normForwardRows<T, elements / Pack<T>::size>(a);                                                        \
    }                                                                                                           \
    KERNEL(norm_forward_rows##elements##_##suffix);                                                             \
    extern "C" __global__ void __launch_bounds__(512) norm_backward_rows##elements##_##suffix(NormBackward a) { \
        normBackwardRows<T, elements / Pack<T>::size>(a);                                                       \
    }                                                                                                           \
    KERNEL(norm_backward_rows##elements##_##suffix);
#define NORM_ALL(suffix, T) \
    NORM_ROWS(suffix, T, 8) \
    NORM_ROWS(suffix, T, 16)
FOR_TYPES(NORM_ALL)
