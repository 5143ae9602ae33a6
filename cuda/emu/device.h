// What a .cu file includes when g++ compiles it for the processor: CUDA C++'s keywords, built-in variables, vector and
// 16-bit types, barriers, warp collectives, atomics, and the tensor-core and asynchronous-copy building blocks of
// cuda/common. A CUDA thread is a fiber, a block runs on one OS thread at a time, so that __shared__ is thread_local.
//
// Semantics are the hardware's where it promises something, and the worst legal ones where it does not: warps run ahead
// of each other until they meet a barrier, asynchronous copies land as late as they may, fresh memory is poison.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define CAMBIUM_EMULATED 1

// Kernels are not inlined into what calls them, which the checks leave alone.
#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static thread_local

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint3 {
    unsigned x, y, z;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---------------------------------------------------------------------------------------------- the runtime's side

namespace emu {

// Place is where a CUDA thread stands. Each fiber has its own; the block's scheduler switches it.
struct Place {
    uint3 thread, block;
    dim3 blockSize, gridSize;
    unsigned lane;
    char* dynamicShared;
};
extern thread_local const Place* place;

// A warp collective: every lane named in mask calls it with its own operands; the last one to arrive runs op on all
// operands, lane by lane (null for lanes outside the mask).
using WarpOp = void (*)(void** lanes, unsigned mask);
void warpCollective(unsigned mask, void* mine, WarpOp op, const char* what);
void blockBarrier(const char* what);
void fence();
int blockReduce(int value, int op, const char* what);
enum { kOr, kAnd, kCount };

void asyncCopy(void* shared, const void* global, unsigned bytes, unsigned fill);
void asyncCommit();
void asyncWait(int pending);

// Kernel is a registered __global__ function: its name, how to call it with the driver's void** parameters, their sizes.
struct Kernel {
    const char* name;
    void (*invoke)(void** params);
    const uint32_t* sizes;
    int params;
    const Kernel* next;
    Kernel(const char* name, void (*invoke)(void**), const uint32_t* sizes, int params);
};

template <class F>
struct Invoker;
template <class... A>
struct Invoker<void (*)(A...)> {
    static constexpr int count = sizeof...(A);
    static constexpr uint32_t sizes[sizeof...(A) + 1] = {sizeof(A)..., 0};
    template <void (*K)(A...), size_t... I>
    __attribute__((no_sanitize("thread"))) static void unpack(void** p, std::index_sequence<I...>) {
        K(*static_cast<std::decay_t<A>*>(p[I])...);
    }
    template <void (*K)(A...)>
    __attribute__((no_sanitize("thread"))) static void call(void** p) {
        unpack<K>(p, std::index_sequence_for<A...>{});
    }
};

}  // namespace emu

// KERNEL makes a __global__ function known by its name, as cuModuleGetFunction finds it. It follows the definition.
#define KERNEL(name)                                                                                  \
    static const ::emu::Kernel emuKernel_##name(#name, &::emu::Invoker<decltype(&name)>::call<&name>, \
                                                ::emu::Invoker<decltype(&name)>::sizes, ::emu::Invoker<decltype(&name)>::count)

#define GRID_CONSTANT

// DYNAMIC_SHARED names the launch's dynamic shared memory as an array of T.
#define DYNAMIC_SHARED(T, name) T* const name = reinterpret_cast<T*>(::emu::place->dynamicShared)

#define threadIdx (::emu::place->thread)
#define blockIdx (::emu::place->block)
#define blockDim (::emu::place->blockSize)
#define gridDim (::emu::place->gridSize)
static constexpr int warpSize = 32;

// ---------------------------------------------------------------------------------------------- barriers and warps

inline void __syncthreads() { emu::blockBarrier("__syncthreads"); }
inline int __syncthreads_or(int p) { return emu::blockReduce(p, emu::kOr, "__syncthreads_or"); }
inline int __syncthreads_and(int p) { return emu::blockReduce(p, emu::kAnd, "__syncthreads_and"); }
inline int __syncthreads_count(int p) { return emu::blockReduce(p, emu::kCount, "__syncthreads_count"); }
inline void __syncwarp(unsigned mask = ~0u) { emu::warpCollective(mask, nullptr, nullptr, "__syncwarp"); }
inline void __threadfence() { emu::fence(); }
inline void __threadfence_block() {}

namespace emu {

struct Shuffle {
    uint64_t in, out;
    int from;
};
void shuffle(void** lanes, unsigned mask);

template <class T>
inline T shuffled(unsigned mask, T v, int from, const char* what) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    Shuffle s{0, 0, from};
    std::memcpy(&s.in, &v, sizeof v);
    warpCollective(mask, &s, shuffle, what);
    std::memcpy(&v, &s.out, sizeof v);
    return v;
}
inline int lane() { return static_cast<int>(place->lane); }

struct Vote {
    unsigned in, out;
};
void ballot(void** lanes, unsigned mask);

}  // namespace emu

template <class T>
inline T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
    const int base = emu::lane() & ~(width - 1);
    return emu::shuffled(mask, v, base | (from & (width - 1)), "__shfl_sync");
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
    const int me = emu::lane(), from = me ^ bits;
    return emu::shuffled(mask, v, (from & ~(width - 1)) > (me & ~(width - 1)) ? me : from, "__shfl_xor_sync");
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
    const int me = emu::lane(), from = me + static_cast<int>(by);
    return emu::shuffled(mask, v, (me & (width - 1)) + static_cast<int>(by) >= width ? me : from, "__shfl_down_sync");
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
    const int me = emu::lane(), from = me - static_cast<int>(by);
    return emu::shuffled(mask, v, (me & (width - 1)) < static_cast<int>(by) ? me : from, "__shfl_up_sync");
}
inline unsigned __ballot_sync(unsigned mask, int p) {
    emu::Vote v{static_cast<unsigned>(p != 0), 0};
    emu::warpCollective(mask, &v, emu::ballot, "__ballot_sync");
    return v.out;
}
inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }

// ---------------------------------------------------------------------------------------------- atomics, loads, math

namespace emu {
// An atomic read-modify-write that other threads cannot be in conflict with.
template <class T, class F>
inline T update(T* p, F f) {
    T old, now;
    __atomic_load(p, &old, __ATOMIC_RELAXED);
    do now = f(old);
    while (!__atomic_compare_exchange(p, &old, &now, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
}  // namespace emu

template <class T>
inline T atomicAdd(T* p, T v) {
    return emu::update(p, [v](T old) { return old + v; });
}
template <class T>
inline T atomicMax(T* p, T v) {
    return emu::update(p, [v](T old) { return std::max(old, v); });
}
template <class T>
inline T atomicOr(T* p, T v) {
    return emu::update(p, [v](T old) { return old | v; });
}
template <class T>
inline T atomicExch(T* p, T v) {
    return emu::update(p, [v](T) { return v; });
}
template <class T>
inline T atomicCAS(T* p, T expected, T v) {
    return emu::update(p, [=](T old) { return old == expected ? v : old; });
}
template <class T>
inline T __ldg(const T* p) {
    return *p;
}

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float emuExp(float x) { return std::exp(x); }
inline float emuLog(float x) { return std::log(x); }
#define __expf emuExp  // glibc has functions of these names
#define __logf emuLog
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((static_cast<uint64_t>(a) * b) >> 32); }
inline unsigned __float_as_uint(float f) {
    unsigned u;
    std::memcpy(&u, &f, 4);
    return u;
}
inline float __uint_as_float(unsigned u) {
    float f;
    std::memcpy(&f, &u, 4);
    return f;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(unsigned x) { return __builtin_ffs(static_cast<int>(x)); }
inline bool isfinite_(float x) { return std::isfinite(x); }
using std::max;
using std::min;

// ---------------------------------------------------------------------------------------------- 16-bit types

// Storage types with conversion to nearest even; arithmetic is fp32's, as in the kernels.
struct __nv_bfloat16 {
    uint16_t x;
};
inline float __bfloat162float(__nv_bfloat16 v) { return __uint_as_float(static_cast<unsigned>(v.x) << 16); }
inline __nv_bfloat16 __float2bfloat16_rn(float f) {
    const unsigned u = __float_as_uint(f);
    if ((u & 0x7fffffff) > 0x7f800000) return {static_cast<uint16_t>(u >> 16 | 0x40)};
    return {static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
struct __half {
    _Float16 v;
};
inline float __half2float(__half h) { return static_cast<float>(h.v); }
inline __half __float2half_rn(float f) { return {static_cast<_Float16>(f)}; }

// ---------------------------------------------------------------------------------------------- tensor cores, copies

namespace emu {
struct Mma {
    float* d;
    const uint32_t *a, *b;
    const float* c;
};
void mmaBF16(void** lanes, unsigned mask);
void mmaF16(void** lanes, unsigned mask);
struct MatrixLoad {
    const void* row;
    uint32_t* out;
};
void loadMatrices(void** lanes, unsigned mask);
void loadMatricesTransposed(void** lanes, unsigned mask);
}  // namespace emu
