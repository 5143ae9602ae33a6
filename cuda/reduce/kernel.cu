// Sums with a fixed order: of columns (gradients of biases) and of squares in fp64 (the gradient norm). Both go in two
// launches: blocks leave partial sums in workspace, and a second kernel adds those in order. No atomics: results are the same
// bits on every run.
#include "../common/device.cuh"

using namespace cambium;

// partial[p, j] = sum over the rows of part p of x[i, j]; the rows are divided evenly into gridDim.y parts. Blocks of 32 x 8
// threads: 32 neighbouring columns, 8 rows at a time.
struct ColumnSum {
    View x;
    float* partial;  // [parts, cols]
};

template <class T>
__device__ void columnSum(const ColumnSum& a) {
    __shared__ float sums[8][33];
    const int j = blockIdx.x * 32 + threadIdx.x;
    const long long begin = static_cast<long long>(a.x.rows) * blockIdx.y / gridDim.y;
    const long long end = static_cast<long long>(a.x.rows) * (blockIdx.y + 1) / gridDim.y;
    float sum = 0;
    if (j < a.x.cols)
        for (long long i = begin + threadIdx.y; i < end; i += 8) sum += load(row<T>(a.x, i)[j]);
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && j < a.x.cols) {
        for (int k = 1; k < 8; k++) sum += sums[k][threadIdx.x];
        a.partial[static_cast<long long>(blockIdx.y) * a.x.cols + j] = sum;
    }
}

#define COLUMN_SUM(suffix, type)                                                        \
    extern "C" __global__ void column_sum_##suffix(ColumnSum a) { columnSum<type>(a); } \
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

// partial[block] = sum of x^2 over what the block's threads meet, in fp64. Infinities and NaNs go through: the sum is not
// finite when any element is not.
struct SumSquares {
    View x;
    double* partial;
    int vector;
};

__device__ __forceinline__ double blockSum(double v, double* scratch) {
    v = warpSum(v);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
    __syncthreads();
    return warpSum(threadIdx.x % 32 < blockDim.x / 32 ? scratch[threadIdx.x % 32] : 0.0);
}

template <class T>
__device__ void sumSquares(const SumSquares& a) {
    __shared__ double scratch[32];
    constexpr int n = Pack<T>::size;
    double sum = 0;
    for (int i = 0; i < a.x.rows; i++) {
        const T* x = row<T>(a.x, i);
        if (a.vector) {
            for
                STRIDED(j, a.x.cols / n) {
                    const Pack<T> p = reinterpret_cast<const Pack<T>*>(x)[j];
                    for (int k = 0; k < n; k++) sum += static_cast<double>(load(p.v[k])) * load(p.v[k]);
                }
        } else {
            for
                STRIDED(j, a.x.cols) sum += static_cast<double>(load(x[j])) * load(x[j]);
        }
    }
    sum = blockSum(sum, scratch);
    if (threadIdx.x == 0) a.partial[blockIdx.x] = sum;
}

#define SUM_SQUARES(suffix, type)                                                          \
    extern "C" __global__ void sum_squares_##suffix(SumSquares a) { sumSquares<type>(a); } \
    KERNEL(sum_squares_##suffix);
FOR_TYPES(SUM_SQUARES)

// out (+)= sum of the partial sums. One block.
struct AddSquares {
    const double* partial;
    double* out;
    int parts, accumulate;
};

extern "C" __global__ void add_squares(AddSquares a) {
    __shared__ double scratch[32];
    double sum = 0;
    for (int p = threadIdx.x; p < a.parts; p += blockDim.x) sum += a.partial[p];
    sum = blockSum(sum, scratch);
    if (threadIdx.x == 0) *a.out = a.accumulate ? *a.out + sum : sum;
}
KERNEL(add_squares);
