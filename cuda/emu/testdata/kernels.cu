// Kernels with which the emulator tests itself: some that are right, and one with each kind of bug.
#include "../../common/device.cuh"

using namespace cambium;

extern "C" __global__ void add(const float* a, const float* b, float* c, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) c[i] = a[i] + b[i];  // here
}
KERNEL(add);

extern "C" __global__ void row_sums(const float* x, float* y, int columns) {
    __shared__ float scratch[32];
    float sum = 0;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += x[blockIdx.x * columns + i];
    sum = blockSum(sum, scratch);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
}
KERNEL(row_sums);

// One warp: C [16,8] = A [16,16] B^T with B [8,16], through asynchronous copies, ldmatrix and mma.
template <class T>
__device__ void tile(const T* a, const T* b, float* c) {
    __shared__ __align__(16) T sa[16][16], sb[16][16];
    const int lane = threadIdx.x;
    copyAsync(&sa[lane / 2][lane % 2 * 8], a + lane * 8);
    copyAsync(&sb[lane / 2][lane % 2 * 8], lane < 16 ? b + lane * 8 : b, lane < 16 ? 16 : 0);
    copyCommit();
    copyWait<0>();
    __syncwarp();
    uint32_t fa[4], fb[4];
    loadMatrices(fa, &sa[lane % 16][lane / 16 * 8]);
    loadMatrices(fb, &sb[lane % 8 + lane / 16 * 8][lane / 8 % 2 * 8]);
    const uint32_t low[2] = {fb[0], fb[1]};
    float d[4], zero[4] = {0, 0, 0, 0};
    mma<T>(d, fa, low, zero);
    for (int e = 0; e < 4; e++) c[(lane / 4 + e / 2 * 8) * 8 + lane % 4 * 2 + e % 2] = d[e];
}
extern "C" __global__ void tile_bf16(const bf16* a, const bf16* b, float* c) { tile<bf16>(a, b, c); }
KERNEL(tile_bf16);
extern "C" __global__ void tile_f16(const f16* a, const f16* b, float* c) { tile<f16>(a, b, c); }
KERNEL(tile_f16);

extern "C" __global__ void votes(int* out) {
    const unsigned odd = __ballot_sync(0xffffffffu, threadIdx.x % 2);
    const int up = __shfl_up_sync(0xffffffffu, static_cast<int>(threadIdx.x), 1);
    const int down = __shfl_down_sync(0xffffffffu, static_cast<int>(threadIdx.x), 4, 8);
    const int count = __syncthreads_count(threadIdx.x % 3 == 0);
    out[threadIdx.x] = static_cast<int>(odd >> 28) * 1000000 + up * 10000 + down * 100 + count;
}
KERNEL(votes);

extern "C" __global__ void counter(int* n) { atomicAdd(n, 1); }
KERNEL(counter);

// ---- one bug each, at a line marked so; x and y are 256 floats, blocks have 256 threads

extern "C" __global__ void bug_missing_barrier(const float* x, float* y) {
    __shared__ float s[256];
    s[threadIdx.x] = x[threadIdx.x];        // here
    y[threadIdx.x] = s[255 - threadIdx.x];  // here
}
KERNEL(bug_missing_barrier);

extern "C" __global__ void bug_overwrite(const float* x, float* y) {  // no barrier between reading a tile and loading the next
    __shared__ float s[64];
    float sum = 0;
    for (int k = 0; k < 4; k++) {
        if (threadIdx.x < 64) s[threadIdx.x] = x[k * 64 + threadIdx.x];  // here
        __syncthreads();
        for (int i = 0; i < 64; i++) sum += s[i];  // here
    }
    y[threadIdx.x] = sum;
}
KERNEL(bug_overwrite);

extern "C" __global__ void bug_missing_syncwarp(const float* x, float* y) {
    __shared__ float s[256];
    s[threadIdx.x] = x[threadIdx.x];      // here
    y[threadIdx.x] = s[threadIdx.x ^ 1];  // here
}
KERNEL(bug_missing_syncwarp);

extern "C" __global__ void bug_partial_barrier(const float* x, float* y) {
    if (threadIdx.x < 64) __syncthreads();  // here
    y[threadIdx.x] = x[threadIdx.x];
}
KERNEL(bug_partial_barrier);

extern "C" __global__ void bug_divergent_barrier(const float* x, float* y) {
    if (threadIdx.x < 128) {
        __syncthreads();
        y[threadIdx.x] = x[threadIdx.x];
    } else {
        __syncthreads();  // here
        y[threadIdx.x] = -x[threadIdx.x];
    }
}
KERNEL(bug_divergent_barrier);

extern "C" __global__ void bug_partial_shuffle(const float* x, float* y) {
    float v = x[threadIdx.x];
    if (threadIdx.x % 2) v = __shfl_xor_sync(0xffffffffu, v, 1);  // here
    y[threadIdx.x] = v;
}
KERNEL(bug_partial_shuffle);

extern "C" __global__ void bug_deadlock(const float* x, float* y) {  // each half of the warp waits for all of it, elsewhere
    if (threadIdx.x % 32 < 16)
        y[threadIdx.x] = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);  // here
    else
        __syncthreads();
}
KERNEL(bug_deadlock);

extern "C" __global__ void bug_read_past_end(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x + 1]; }  // here
KERNEL(bug_read_past_end);

extern "C" __global__ void bug_write_before_begin(const float* x, float* y) {
    y[static_cast<int>(threadIdx.x) - 1] = x[threadIdx.x];  // here
}
KERNEL(bug_write_before_begin);

extern "C" __global__ void bug_shared_index(const float* x, float* y) {
    __shared__ float s[200];
    s[threadIdx.x] = x[threadIdx.x];  // here
    __syncthreads();
    y[threadIdx.x] = s[199];
}
KERNEL(bug_shared_index);

extern "C" __global__ void bug_dynamic_shared(const float* x, float* y) {  // launched with 512 bytes
    DYNAMIC_SHARED(float, s);
    s[threadIdx.x] = x[threadIdx.x];  // here
    __syncthreads();
    y[threadIdx.x] = s[0];
}
KERNEL(bug_dynamic_shared);

extern "C" __global__ void bug_misaligned(const float* x, float* y) {
    const float4 v = *reinterpret_cast<const float4*>(x + 1);  // here
    y[threadIdx.x] = v.x + v.y + v.z + v.w;
}
KERNEL(bug_misaligned);

extern "C" __global__ void bug_missing_copy_wait(const float* x, float* y) {
    __shared__ __align__(16) float s[256];
    if (threadIdx.x < 64) {
        copyAsync(&s[threadIdx.x * 4], x + threadIdx.x * 4);  // here
        copyCommit();
    }
    __syncthreads();
    y[threadIdx.x] = s[255 - threadIdx.x];  // here
}
KERNEL(bug_missing_copy_wait);

extern "C" __global__ void bug_missing_barrier_matrices(const float* x, float* y) {  // ldmatrix of what other warps wrote
    __shared__ __align__(16) float s[256];
    s[threadIdx.x] = x[threadIdx.x];
    uint32_t r[4] = {};
    if (threadIdx.x >= 224) loadMatrices(r, &s[threadIdx.x % 32 * 4]);  // here
    y[threadIdx.x] = __uint_as_float(r[0]);
}
KERNEL(bug_missing_barrier_matrices);

extern "C" __global__ void bug_blocks_race(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x] + blockIdx.x; }  // here
KERNEL(bug_blocks_race);

extern "C" __global__ void bug_uninitialised_shared(const float* x, float* y) {  // half of it is never written
    DYNAMIC_SHARED(float, s);
    if (threadIdx.x < 128) s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = s[threadIdx.x];
}
KERNEL(bug_uninitialised_shared);
