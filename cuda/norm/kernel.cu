// LayerNorm and RMSNorm, fused with the residual addition before them, and the masked forms that growth needs:
//
//	x  = residual + scale delta                                       m[j] = 1 for j < old, v beyond
//	mu = sum(m x)/S (RMSNorm: 0)    q = sum(m (x-mu)^2)/D    r = 1/sqrt(q+eps)    y = m (g (x-mu) r + b)
//
// and the backward pass with h = g dy, A = sum(m h)/S (RMSNorm: 0), B = sum(m h xh)/D, xh = (x-mu) r:
//
//	dx = dresidual + m r (h - A - xh B)     dg += sum over rows of m dy xh     db += sum over rows of m dy
//
// Here for rows that do not lie as 16-byte accesses want them, or are very long; rows.cu has the others. One block a row; a row is
// read once from memory and then from cache.
// Gradients of gain and bias are sums over rows in two launches with a fixed order, see cuda/reduce.
#include "norm.cuh"

using namespace cambium;

template <class T>
__device__ void normForward(const NormForward& a) {
    __shared__ float scratch[3][32];
    const long long i = blockIdx.x;
    const int cols = a.x.cols;
    T* x = row<T>(a.x, i);
    if (a.delta.data) {
        const T* residual = row<T>(a.residual, i);
        const T* delta = row<T>(a.delta, i);
        for (int j = threadIdx.x; j < cols; j += blockDim.x) x[j] = round<T>(load(residual[j]) + a.scale * load(delta[j]));
        // A thread reads again only what it wrote itself.
    }
    float mean = 0;
    if (!a.rms) {
        float sum = 0;
        for (int j = threadIdx.x; j < cols; j += blockDim.x) sum += a.mask.at(j) * load(x[j]);
        mean = blockSum(sum, scratch[0]) / a.mask.sum;
    }
    float square = 0;
    for (int j = threadIdx.x; j < cols; j += blockDim.x) {
        const float d = load(x[j]) - mean;
        square += a.mask.at(j) * d * d;
    }
    const float r = 1.0f / sqrtf(blockSum(square, scratch[1]) / a.mask.divisor + a.eps);
    const T* gain = static_cast<const T*>(a.gain);
    const T* bias = static_cast<const T*>(a.bias);
    T* y = row<T>(a.y, i);
    for (int j = threadIdx.x; j < cols; j += blockDim.x) {
        float v = load(gain[j]) * (load(x[j]) - mean) * r;
        if (bias) v += load(bias[j]);
        y[j] = round<T>(a.mask.at(j) * v);
    }
    if (threadIdx.x == 0) {
        a.rstd[i] = r;
        if (a.mean) a.mean[i] = mean;
    }
}

template <class T>
__device__ void normBackward(const NormBackward& a) {
    __shared__ float scratch[2][32];
    const long long i = blockIdx.x;
    const int cols = a.x.cols;
    const T *x = row<T>(a.x, i), *dy = row<T>(a.dy, i), *gain = static_cast<const T*>(a.gain);
    const T* residual = a.residual.data ? row<T>(a.residual, i) : nullptr;
    T* dx = row<T>(a.dx, i);
    const float mean = a.rms ? 0.0f : a.mean[i], r = a.rstd[i];
    float sumA = 0, sumB = 0;
    for (int j = threadIdx.x; j < cols; j += blockDim.x) {
        const float h = a.mask.at(j) * load(gain[j]) * load(dy[j]);
        sumA += h;
        sumB += h * (load(x[j]) - mean) * r;
    }
    const float meanA = a.rms ? 0.0f : blockSum(sumA, scratch[0]) / a.mask.sum;
    const float meanB = blockSum(sumB, scratch[1]) / a.mask.divisor;
    for (int j = threadIdx.x; j < cols; j += blockDim.x) {
        const float h = load(gain[j]) * load(dy[j]), xh = (load(x[j]) - mean) * r;
        const float v = a.mask.at(j) * r * (h - meanA - xh * meanB);
        dx[j] = round<T>(residual ? load(residual[j]) + v : v);
    }
}

// gain[p, j] = sum over the rows of part p of m dy xh, bias[p, j] the same of m dy. It must run before dx overwrites dy. Blocks
// of 32 x 8 threads as in column_sum.
struct NormParameters {
    View x, dy;
    const float *mean, *rstd;
    float *gain, *bias;  // [parts, cols]; bias may be null
    int rms;
    Mask mask;
};

template <class T>
__device__ void normParameters(const NormParameters& a) {
    __shared__ float sums[2][8][33];
    const int j = blockIdx.x * 32 + threadIdx.x;
    const long long begin = static_cast<long long>(a.x.rows) * blockIdx.y / gridDim.y;
    const long long end = static_cast<long long>(a.x.rows) * (blockIdx.y + 1) / gridDim.y;
    float gain = 0, bias = 0;
    if (j < a.x.cols) {
        for (long long i = begin + threadIdx.y; i < end; i += 8) {
            const float dy = load(row<T>(a.dy, i)[j]);
            gain += dy * (load(row<T>(a.x, i)[j]) - (a.rms ? 0.0f : a.mean[i])) * a.rstd[i];
            bias += dy;
        }
    }
    sums[0][threadIdx.y][threadIdx.x] = gain;
    sums[1][threadIdx.y][threadIdx.x] = bias;
    __syncthreads();
    if (threadIdx.y || j >= a.x.cols) return;
    for (int k = 1; k < 8; k++) {
        gain += sums[0][k][threadIdx.x];
        bias += sums[1][k][threadIdx.x];
    }
    const long long at = static_cast<long long>(blockIdx.y) * a.x.cols + j;
    a.gain[at] = a.mask.at(j) * gain;
    if (a.bias) a.bias[at] = a.mask.at(j) * bias;
}

#define NORM(suffix, type)                                                                             \
    extern "C" __global__ void norm_forward_##suffix(NormForward a) { normForward<type>(a); }          \
    KERNEL(norm_forward_##suffix);                                                                     \
    extern "C" __global__ void norm_backward_##suffix(NormBackward a) { normBackward<type>(a); }       \
    KERNEL(norm_backward_##suffix);                                                                    \
    extern "C" __global__ void norm_parameters_##suffix(NormParameters a) { normParameters<type>(a); } \
    KERNEL(norm_parameters_##suffix);
FOR_TYPES(NORM)
