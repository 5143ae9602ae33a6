// Sums with a fixed order: of columns (gradients of biases) and of squares in fp64 (the gradient norm). Blocks leave partial sums in
// workspace, and the block that comes last, or a second kernel, adds those in order; which block that is does not show. The only
// atomics are those that count blocks: results are the same bits on every run. The number of blocks comes from the tensor's shape and
// not from the device, and so do the results.
//
// Bytes: T for every element, read once.
#include "../common/device.cuh"

using namespace cambium;

// out[j] (+)= sum over i of x[i, j]. Blocks of 32 x 16 threads have 32 n columns, n elements a thread at once, and the blockIdx.y-th
// run of rows. The last block for some columns adds the runs' sums.
struct ColumnSum {
    View x;
    float *partial, *out;  // [runs, cols]; [cols]
    int* counters;         // one for every 32 n columns
    int run, accumulate, vector;
};

constexpr int kRows = 16;  // of threads

// addRows gives thread t of the block the sum of column t of the block's 32 n, over the 16 threads that have it.
template <int n>
__device__ __forceinline__ float addRows(const float (&sum)[n], float (&shared)[kRows][32 * n]) {
    const int t = threadIdx.y * 32 + threadIdx.x;
#pragma unroll
    for (int k = 0; k < n; k++) shared[threadIdx.y][k * 32 + threadIdx.x] = sum[k];
    __syncthreads();
    float total = 0;
    if (t < 32 * n)
        for (int y = 0; y < kRows; y++) total += shared[y][t % n * 32 + t / n];
    __syncthreads();
    return total;
}

template <class V, class T>
__device__ void columnSum(const ColumnSum& a) {
    constexpr int n = V::size, n4 = n % 4 == 0 ? 4 : 1;
    __shared__ float shared[kRows][32 * n];
    const int j = blockIdx.x * 32 + threadIdx.x, packs = a.x.cols / n, parts = gridDim.y;
    const int begin = blockIdx.y * a.run, end = min(begin + a.run, a.x.rows);
    float sum[n] = {};
    if (j < packs) {
#pragma unroll 8
        for (int i = begin + threadIdx.y; i < end; i += kRows) {
            const V v = reinterpret_cast<const V*>(row<T>(a.x, i))[j];
#pragma unroll
            for (int k = 0; k < n; k++) sum[k] += element(v, k);
        }
    }
    float total = addRows(sum, shared);
    const int t = threadIdx.y * 32 + threadIdx.x, column = blockIdx.x * 32 * n + t;
    const bool mine = t < 32 * n && column < a.x.cols;
    if (parts > 1) {
        if (mine) a.partial[static_cast<long long>(blockIdx.y) * a.x.cols + column] = total;
        if (!lastBlock(a.counters + blockIdx.x, parts)) return;
#pragma unroll
        for (int k = 0; k < n; k++) sum[k] = 0;
        if (j < packs) {
#pragma unroll 4
            for (int p = threadIdx.y; p < parts; p += kRows) {
                const float* from = a.partial + static_cast<long long>(p) * a.x.cols + j * n;
#pragma unroll
                for (int k = 0; k < n; k += n4) {
                    if (n4 == 1) {
                        sum[k] += published(from);
                    } else {
                        const float4 v = published(reinterpret_cast<const float4*>(from + k));
                        sum[k] += v.x, sum[k + 1 % n] += v.y, sum[k + 2 % n] += v.z, sum[k + 3 % n] += v.w;
                    }
                }
            }
        }
        total = addRows(sum, shared);
    }
    if (mine) a.out[column] = a.accumulate ? a.out[column] + total : total;
}

#define COLUMN_SUM(suffix, T)                                                                      \
    extern "C" __global__ void __launch_bounds__(32 * kRows, 2) column_sum_##suffix(ColumnSum a) { \
        if (a.vector)                                                                              \
            columnSum<Words<T>, T>(a);                                                             \
        else                                                                                       \
            columnSum<One<T>, T>(a);                                                               \
    }                                                                                              \
    KERNEL(column_sum_##suffix);
FOR_TYPES(COLUMN_SUM)

// out[j] (+)= sum over p of partial[p, j], for one or two sums: the parts of the second lie behind those of the first. Blocks of 32 x
// 16 threads, 32 columns each: a thread adds every 16th part, in order, and one of them the 16 sums, in order.
struct AddParts {
    const float* partial;
    float *out, *second;
    int parts, cols, accumulate;
};

extern "C" __global__ void __launch_bounds__(512) add_parts(AddParts a) {
    __shared__ float sums[16][33];
    const int j = blockIdx.x * 32 + threadIdx.x;
    float* const out = blockIdx.y == 0 ? a.out : a.second;
    const float* const partial = a.partial + blockIdx.y * static_cast<long long>(a.parts) * a.cols;
    float sum = 0;
    if (j < a.cols)
#pragma unroll 4
        for (int p = threadIdx.y; p < a.parts; p += 16) sum += partial[static_cast<long long>(p) * a.cols + j];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || j >= a.cols) return;
    for (int k = 1; k < 16; k++) sum += sums[k][threadIdx.x];
    out[j] = a.accumulate ? out[j] + sum : sum;
}
KERNEL(add_parts);

// out (+)= sum of x^2 in fp64, each thread over what it meets, then blocks, then the last one. Infinities and NaNs go through: the sum
// is not finite when any element is not.
struct SumSquares {
    View x;
    double *partial, *out;  // [blocks]
    int* counter;
    int accumulate, vector;
};

__device__ __forceinline__ double blockSum(double v, double* scratch) {
    v = warpSum(v);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
    __syncthreads();
    return warpSum(threadIdx.x % 32 < blockDim.x / 32 ? scratch[threadIdx.x % 32] : 0.0);
}

template <class V, class T>
__device__ double squares(const View& x) {
    double sum = 0;
    for (int i = 0; i < x.rows; i++) {
        const V* v = reinterpret_cast<const V*>(row<T>(x, i));
#pragma unroll 4
        for
            STRIDED(j, x.cols / V::size) {
                const V pack = v[j];
#pragma unroll
                for (int k = 0; k < V::size; k++) sum += static_cast<double>(element(pack, k)) * element(pack, k);
            }
    }
    return sum;
}

template <class T>
__device__ void sumSquares(const SumSquares& a) {
    __shared__ double scratch[2][32];
    const int blocks = gridDim.x;
    double sum = blockSum(a.vector ? squares<Words<T>, T>(a.x) : squares<One<T>, T>(a.x), scratch[0]);
    if (blocks > 1) {
        if (threadIdx.x == 0) a.partial[blockIdx.x] = sum;
        if (!lastBlock(a.counter, blocks)) return;
        sum = 0;
        for (int p = threadIdx.x; p < blocks; p += blockDim.x) sum += published(a.partial + p);
        sum = blockSum(sum, scratch[1]);
    }
    if (threadIdx.x == 0) *a.out = a.accumulate ? *a.out + sum : sum;
}

#define SUM_SQUARES(suffix, type)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) sum_squares_##suffix(SumSquares a) { sumSquares<type>(a); } \
    KERNEL(sum_squares_##suffix);
FOR_TYPES(SUM_SQUARES)
