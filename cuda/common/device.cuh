// The one header of every kernel. The same .cu file is compiled by nvcc for a GPU and by g++ for cuda/emu; what they spell
// differently stands here: the tensor core's instructions, asynchronous copies, dynamic shared memory, and KERNEL, which makes
// a kernel known by its name.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#define KERNEL(name) extern "C" int kernelDeclared_##name
#define GRID_CONSTANT __grid_constant__  // a parameter of which threads read what they want where the launch put it
#define DYNAMIC_SHARED(T, name)                                      \
    extern __shared__ __align__(1024) unsigned char dynamicShared[]; \
    T* const name = reinterpret_cast<T*>(dynamicShared)
#else
#include "../emu/device.h"
#endif

namespace cambium {

using bf16 = __nv_bfloat16;
using f16 = __half;

// ---- element types: storage in T, arithmetic in fp32, rounding to nearest even

__device__ __forceinline__ float load(float v) { return v; }
__device__ __forceinline__ float load(bf16 v) { return __bfloat162float(v); }
__device__ __forceinline__ float load(f16 v) { return __half2float(v); }

template <class T>
__device__ __forceinline__ T round(float v);
template <>
__device__ __forceinline__ float round<float>(float v) {
    return v;
}
template <>
__device__ __forceinline__ bf16 round<bf16>(float v) {
    return __float2bfloat16_rn(v);
}
template <>
__device__ __forceinline__ f16 round<f16>(float v) {
    return __float2half_rn(v);
}

// ---- tensor cores (sm_80 on): D = A B + C, fp32 accumulation; fragments as the PTX manual lays them out for m16n8k16

#ifdef __CUDACC__
__device__ __forceinline__ unsigned sharedAddress(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

#define CAMBIUM_MMA(name, type)                                                                                                       \
    __device__ __forceinline__ void name(float(&d)[4], const uint32_t(&a)[4], const uint32_t(&b)[2], const float(&c)[4]) {            \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                                                           \
                     ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"                                                 \
                     : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                                                 \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3])); \
    }
CAMBIUM_MMA(mmaBF16, "bf16")
CAMBIUM_MMA(mmaF16, "f16")

__device__ __forceinline__ void loadMatrices(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(sharedAddress(row))
                 : "memory");
}
__device__ __forceinline__ void loadMatricesTransposed(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(sharedAddress(row))
                 : "memory");
}

// copyAsync starts a copy of 16 bytes from global to shared memory; of which bytes (0 to 16) are read and the rest is zero.
__device__ __forceinline__ void copyAsync(void* shared, const void* global, unsigned bytes = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(shared)), "l"(global), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copyCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Pending>
__device__ __forceinline__ void copyWait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// groupBarrier is a barrier among the threads of a block that name the same id, 1 to 15; they are whole warps, threads in number.
// Every thread of a block comes to as many of them: the emulator knows barriers of whole blocks only.
__device__ __forceinline__ void groupBarrier(unsigned id, unsigned threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
#else
inline void mmaBF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4]) {
    emu::Mma m{d, a, b, c};
    emu::warpCollective(~0u, &m, emu::mmaBF16, "mma.sync bf16");
}
inline void mmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4]) {
    emu::Mma m{d, a, b, c};
    emu::warpCollective(~0u, &m, emu::mmaF16, "mma.sync f16");
}
inline void loadMatrices(uint32_t (&r)[4], const void* row) {
    emu::MatrixLoad m{row, r};
    emu::warpCollective(~0u, &m, emu::loadMatrices, "ldmatrix");
}
inline void loadMatricesTransposed(uint32_t (&r)[4], const void* row) {
    emu::MatrixLoad m{row, r};
    emu::warpCollective(~0u, &m, emu::loadMatricesTransposed, "ldmatrix.trans");
}
inline void copyAsync(void* shared, const void* global, unsigned bytes = 16) { emu::asyncCopy(shared, global, bytes, 16); }
inline void copyCommit() { emu::asyncCommit(); }
template <int Pending>
inline void copyWait() {
    emu::asyncWait(Pending);
}
inline void groupBarrier(unsigned, unsigned) { emu::blockBarrier("groupBarrier"); }
#endif

// mma by element type.
template <class T>
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4]);
template <>
__device__ __forceinline__ void mma<bf16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4]) {
    mmaBF16(d, a, b, c);
}
template <>
__device__ __forceinline__ void mma<f16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4]) {
    mmaF16(d, a, b, c);
}

// packed is two numbers as an mma's operand holds them, the first in the lower half.
#ifdef __CUDACC__
template <class T>
__device__ __forceinline__ uint32_t packed(float low, float high);
template <>
__device__ __forceinline__ uint32_t packed<bf16>(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}
template <>
__device__ __forceinline__ uint32_t packed<f16>(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}
#else
template <class T>
inline uint32_t packed(float low, float high) {
    const T pair[2] = {round<T>(low), round<T>(high)};
    uint32_t bits;
    std::memcpy(&bits, pair, 4);
    return bits;
}
#endif

// ---- tensors and launches

// View is a tensor as a kernel's arguments hold it: rows x cols elements of a type that the kernel knows, rows ld elements apart.
// data is null when an optional tensor is absent. The host's mirror is in src/backend/cuda.
struct View {
    void* data;
    long long ld;
    int rows, cols;
};

template <class T>
__device__ __forceinline__ T* row(const View& v, long long i) {
    return static_cast<T*>(v.data) + i * v.ld;
}

// Pack is 16 bytes of elements: what one thread moves at once where addresses allow it.
template <class T>
struct __align__(16) Pack {
    static constexpr int size = 16 / sizeof(T);
    T v[size];
};

// Vec is N elements that are moved at once: one, or the elements of a Pack.
template <class T, int N>
struct __align__(sizeof(T) * N) Vec {
    T v[N];
};

template <int N, class T>
__device__ __forceinline__ Vec<T, N> loadVec(const T* row, long long j) {
    return reinterpret_cast<const Vec<T, N>*>(row)[j];
}
template <int N, class T>
__device__ __forceinline__ void storeVec(T* row, long long j, const Vec<T, N>& v) {
    reinterpret_cast<Vec<T, N>*>(row)[j] = v;
}

// Words is a Pack in four registers. (The compiler gives every 16-bit element of a Pack that lives on a register of its own.)
template <class T>
struct __align__(16) Words {
    static constexpr int size = 16 / sizeof(T);
    uint32_t w[4];
};

// element is one of them, widened; k is known to the compiler.
__device__ __forceinline__ float element(const Words<float>& v, int k) { return __uint_as_float(v.w[k]); }
__device__ __forceinline__ float element(const Words<bf16>& v, int k) {
    return __uint_as_float(k % 2 ? v.w[k / 2] & 0xffff0000u : v.w[k / 2] << 16);
}
__device__ __forceinline__ float element(const Words<f16>& v, int k) {
#ifdef __CUDACC__
    const __half2 pair = *reinterpret_cast<const __half2*>(v.w + k / 2);
    return k % 2 ? __high2float(pair) : __low2float(pair);
#else
    f16 h;
    std::memcpy(&h, reinterpret_cast<const char*>(v.w) + 2 * k, 2);
    return load(h);
#endif
}

// put stores two neighbouring elements, rounded: k is even.
template <class T>
__device__ __forceinline__ void put(Words<T>& v, int k, float first, float second) {
    v.w[k / 2] = packed<T>(first, second);
}
__device__ __forceinline__ void put(Words<float>& v, int k, float first, float second) {
    v.w[k] = __float_as_uint(first), v.w[k + 1] = __float_as_uint(second);
}

// One is a single element with the interface of Words, for what does not lie as 16-byte accesses want it.
template <class T>
struct One {
    static constexpr int size = 1;
    T v;
};
template <class T>
__device__ __forceinline__ float element(const One<T>& v, int) {
    return load(v.v);
}

// narrow stores all elements of a One or of Words, rounded.
template <class T>
__device__ __forceinline__ void narrow(One<T>& v, const float (&from)[1]) {
    v.v = round<T>(from[0]);
}
template <class T>
__device__ __forceinline__ void narrow(Words<T>& v, const float (&from)[Words<T>::size]) {
#pragma unroll
    for (int k = 0; k < Words<T>::size; k += 2) put(v, k, from[k], from[k + 1]);
}

// forget keeps the compiler from holding in registers what it computed from v: it takes v for another value from here on. What is cheap
// to make again from 16-bit elements needs twice their registers as fp32.
template <class T>
__device__ __forceinline__ void forget(Words<T>& v) {
#ifdef __CUDACC__
    asm volatile("" : "+r"(v.w[0]), "+r"(v.w[1]), "+r"(v.w[2]), "+r"(v.w[3]));
#endif
}

// FOR_TYPES instantiates MACRO(suffix, type) for every type that weights and activations may have.
#define FOR_TYPES(MACRO)       \
    MACRO(f32, float)          \
    MACRO(bf16, cambium::bf16) \
    MACRO(f16, cambium::f16)

// STRIDED loops i over [0, n) with all threads of a one-dimensional grid.
#define STRIDED(i, n)                                                                      \
    (long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x; i < (n); \
     i += static_cast<long long>(gridDim.x) * blockDim.x)

// exponential is e^x = 2^(x log2 e), in three instructions: within 2^-22 + 2^-24 |x| of it, relative, and 0 below 2^-126. x - y of what
// it is taken of must be rounded before: a product with log2 e would round at the size of x.
__device__ __forceinline__ float exponential(float x) {
#ifdef __CUDACC__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
    return y;
#else
    return std::exp2(x * 1.4426950408889634f);
#endif
}

// bitsOf and doubleOf go between a double and its bits.
__device__ __forceinline__ unsigned long long bitsOf(double v) {
#ifdef __CUDACC__
    return static_cast<unsigned long long>(__double_as_longlong(v));
#else
    unsigned long long bits;
    std::memcpy(&bits, &v, 8);
    return bits;
#endif
}
__device__ __forceinline__ double doubleOf(unsigned long long bits) {
#ifdef __CUDACC__
    return __longlong_as_double(static_cast<long long>(bits));
#else
    double v;
    std::memcpy(&v, &bits, 8);
    return v;
#endif
}

// ---- sums with a fixed order

// warpSum gives every lane the sum over its warp, by a butterfly: the same bits in every lane.
__device__ __forceinline__ float warpSum(float v) {
    for (int o = 16; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}
__device__ __forceinline__ float warpMax(float v) {
    for (int o = 16; o > 0; o /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

__device__ __forceinline__ double warpSum(double v) {
    for (int o = 16; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

// blockSum gives every thread the sum over its block of whole warps. scratch is 32 floats of shared memory; it may be used again
// once the next barrier has passed.
__device__ __forceinline__ float blockSum(float v, float* scratch) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    v = warpSum(v);
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
    return warpSum(lane < warps ? scratch[lane] : 0.0f);
}

// blockMax is the same for the maximum.
__device__ __forceinline__ float blockMax(float v, float* scratch) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    v = warpMax(v);
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
    return warpMax(lane < warps ? scratch[lane] : scratch[0]);
}

// ---- the last block of a launch, or of a part of one, adds up what all of them have left

// lastBlock tells all threads of a block whether it is the last of `blocks` that come here with the same counter, which is 0 before and
// after. What the others stored before is there for published.
__device__ __forceinline__ bool lastBlock(int* counter, int blocks) {
    __shared__ int last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0 && (last = atomicAdd(counter, 1) == blocks - 1)) atomicExch(counter, 0);
    __syncthreads();
    if (last) __threadfence();
    return last;
}

// published reads what another block stored, from where all of them see the same.
#ifdef __CUDACC__
template <class T>
__device__ __forceinline__ T published(const T* p) {
    return __ldcg(p);
}
#else
template <class T>
inline T published(const T* p) {
    T v;
    __atomic_load(p, &v, __ATOMIC_RELAXED);
    return v;
}
template <>
inline float4 published(const float4* p) {
    const float* f = &p->x;
    return {published(f), published(f + 1), published(f + 2), published(f + 3)};
}
#endif

}  // namespace cambium
