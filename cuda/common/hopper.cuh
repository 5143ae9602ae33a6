// What sm_90a has beyond sm_80, for kernels that are written for it: tensor memory access (TMA) with its barriers in shared memory,
// warpgroup matrix products (wgmma), clusters, named barriers. PTX ISA 8.x, sections "mbarrier", "cp.async.bulk.tensor" and
// "Asynchronous warpgroup level matrix instructions". The emulator's counterparts are in cuda/emu/hopper.h.
//
// Tiles in shared memory are rows of 128 bytes in the 128-byte swizzle: the 16-byte chunk c of row r lies at chunk c ^ (r % 8). A tile
// begins at a multiple of 1024 bytes.
#pragma once

#include <type_traits>

#include "device.cuh"

#ifdef __CUDACC__
#include <cuda.h>  // CUtensorMap
#else
#include "../emu/hopper.h"
#endif

namespace cambium {

// swizzled is the byte offset of chunk c (16 bytes) of row r of a tile.
__device__ __forceinline__ int swizzled(int r, int c) { return r * 128 + ((c ^ (r & 7)) << 4); }

#ifdef __CUDACC__

using TensorMap = CUtensorMap;

// ---- barriers in shared memory: a phase ends when all arrivals have come and all announced bytes have landed

__device__ __forceinline__ void barrierInit(uint64_t* b, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(sharedAddress(b)), "r"(arrivals) : "memory");
}
// barrierInitDone makes initialised barriers visible to TMA and to the cluster; the block's barrier follows.
__device__ __forceinline__ void barrierInitDone() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void barrierArrive(uint64_t* b) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(sharedAddress(b)) : "memory");
}
// barrierArriveAt arrives at the same barrier of block `rank` of the cluster. It orders nothing but reads by TMA and wgmma, which are over:
// with .release.cluster every arrival would wait for a fence of the whole device.
__device__ __forceinline__ void barrierArriveAt(uint64_t* b, int rank) {
    asm volatile(
        "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\nmbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(
            sharedAddress(b)),
        "r"(rank)
        : "memory");
}
// barrierExpect arrives and announces bytes.
__device__ __forceinline__ void barrierExpect(uint64_t* b, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(sharedAddress(b)), "r"(bytes) : "memory");
}
// barrierWait returns once the phase of that parity has ended.
__device__ __forceinline__ void barrierWait(uint64_t* b, int parity) {
    asm volatile(
        "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra ended;\nbra again;\nended:\n}" ::
            "r"(sharedAddress(b)),
        "r"(parity)
        : "memory");
}

// ---- TMA: boxes of a tensor map between global memory and tiles; x counts columns, y rows. What lies outside of the tensor reads as 0 and
// is not written.

// tensorFetch copies a box into the tile and counts its bytes at the barrier; mask != 0: into the same place of all blocks of the
// cluster that it names, and at their barriers.
__device__ __forceinline__ void tensorFetch(void* tile, const TensorMap* map, int x, int y, uint64_t* b, int mask) {
    if (mask)
        asm volatile(
            "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], "
            "%5;" ::"r"(sharedAddress(tile)),
            "l"(map), "r"(x), "r"(y), "r"(sharedAddress(b)), "h"(static_cast<uint16_t>(mask))
            : "memory");
    else
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
                         sharedAddress(tile)),
                     "l"(map), "r"(x), "r"(y), "r"(sharedAddress(b))
                     : "memory");
}
// tensorStore copies a tile into a box, tensorAdd adds it to what is there; both in the background, in the calling thread's open group.
__device__ __forceinline__ void tensorStore(const TensorMap* map, int x, int y, const void* tile) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(x), "r"(y),
                 "r"(sharedAddress(tile))
                 : "memory");
}
__device__ __forceinline__ void tensorAdd(const TensorMap* map, int x, int y, const void* tile) {
    asm volatile("cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(x), "r"(y),
                 "r"(sharedAddress(tile))
                 : "memory");
}
__device__ __forceinline__ void tensorCommit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// tensorWait returns when all but the calling thread's last Pending groups have read their tiles.
template <int Pending>
__device__ __forceinline__ void tensorWait() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory");
}
__device__ __forceinline__ void tensorPrefetch(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }
// sharedForTensor makes a thread's ordinary writes of shared memory visible to TMA and wgmma; a barrier follows.
__device__ __forceinline__ void sharedForTensor() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- blocks, clusters, registers

// groupBarrier is barrier number id (1 to 15) of `threads` threads of the block, whole warps.
__device__ __forceinline__ void groupBarrier(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
__device__ __forceinline__ int clusterRank() {
    int r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}
__device__ __forceinline__ void clusterBarrier() {
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}
// fewerRegisters and moreRegisters give registers of a warpgroup back, and take them.
template <int N>
__device__ __forceinline__ void fewerRegisters() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
__device__ __forceinline__ void moreRegisters() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
// waitNotZero returns once another block has set *flag, whose writes before that are then visible.
__device__ __forceinline__ void waitNotZero(const unsigned* flag) {
    unsigned v;
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(flag) : "memory");
    while (!v);
}

// ---- wgmma

// settle fixes an accumulator in its registers at this point: what computes with it comes wholly before, or wholly after. It stands before
// productFence and after productWait; otherwise the compiler, which moves arithmetic past them, must end every product before the next.
template <int N>
__device__ __forceinline__ void settle(float (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}
// The same for operands in registers.
template <int N>
__device__ __forceinline__ void settle(uint32_t (&a)[N][4]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3])::"memory");
}

// Operand is where one of a product's operands lies, as the instruction wants to hear it. Along: rows of the inner dimension are
// contiguous, a row of the tile is one m (or n) and 64 k. Otherwise a row is one k and 64 m; further 64 are in the next 8 KiB.
template <bool Along>
__device__ __forceinline__ uint64_t operandOf(const void* tile) {
    const uint64_t address = (sharedAddress(tile) & 0x3ffff) >> 4;
    const uint64_t chunks = Along ? 1 : 8192 >> 4, groups = 1024 >> 4, swizzle128 = 1;
    return address | chunks << 16 | groups << 32 | swizzle128 << 62;
}
// operandStep is the operand 16 k further on.
template <bool Along>
__device__ __forceinline__ uint64_t operandStep(uint64_t o, int k16) {
    return o + (Along ? 32 >> 4 : 2048 >> 4) * k16;
}

__device__ __forceinline__ void productFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void productCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending>
__device__ __forceinline__ void productWait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

// What follows spells the registers of accumulators. The operands after them: where a lies (or its four registers), where b lies, whether
// to add.
#define D8(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define D32(d, i) D8(d, i), D8(d, i + 8), D8(d, i + 16), D8(d, i + 24)
#define LIST32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define LIST64                                                                                                               \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define LIST128                                                                                                                            \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"               \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"     \
    "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"     \
    "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%" \
    "123,%124,%125,%126,%127"
#define PRODUCT(N, LIST, a, b, more, transA, transB, type, ...)                                                                        \
    asm volatile("{\n.reg .pred more;\nsetp.ne.b32 more, %" more ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type \
                 " {" LIST "}, " a ", " b ", more, 1, 1" transA transB ";\n}"                                                          \
                 : __VA_ARGS__)
#define CAMBIUM_PRODUCTS(T, type)                                                                                            \
    template <bool AlongA, bool AlongB>                                                                                      \
    __device__ __forceinline__ void productOf(T, float(&d)[128], uint64_t a, uint64_t b, int add) {                          \
        PRODUCT(256, LIST128, "%128", "%129", "130", ", %131", ", %132", type, D32(d, 0), D32(d, 32), D32(d, 64), D32(d, 96) \
                : "l"(a), "l"(b), "r"(add), "n"(AlongA ? 0 : 1), "n"(AlongB ? 0 : 1));                                       \
    }                                                                                                                        \
    template <bool AlongA, bool AlongB>                                                                                      \
    __device__ __forceinline__ void productOf(T, float(&d)[32], uint64_t a, uint64_t b, int add) {                           \
        PRODUCT(64, LIST32, "%32", "%33", "34", ", %35", ", %36", type, D32(d, 0)                                            \
                : "l"(a), "l"(b), "r"(add), "n"(AlongA ? 0 : 1), "n"(AlongB ? 0 : 1));                                       \
    }                                                                                                                        \
    template <bool AlongB>                                                                                                   \
    __device__ __forceinline__ void productOf(T, float(&d)[32], const uint32_t(&a)[4], uint64_t b, int add) {                \
        PRODUCT(64, LIST32, "{%32,%33,%34,%35}", "%36", "37", "", ", %38", type, D32(d, 0)                                   \
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(AlongB ? 0 : 1));                        \
    }                                                                                                                        \
    template <bool AlongB>                                                                                                   \
    __device__ __forceinline__ void productOf(T, float(&d)[64], const uint32_t(&a)[4], uint64_t b, int add) {                \
        PRODUCT(128, LIST64, "{%64,%65,%66,%67}", "%68", "69", "", ", %70", type, D32(d, 0), D32(d, 32)                      \
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(AlongB ? 0 : 1));                        \
    }
CAMBIUM_PRODUCTS(bf16, "bf16")
CAMBIUM_PRODUCTS(f16, "f16")

// exp2Fast is 2^x to 2 ulp, by the special-function unit; what is too small for a normal number is 0.
__device__ __forceinline__ float exp2Fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif

// product starts d = a b, or d += a b with add, for a of 64 x 16 and b of 16 x N, N = 64, 128 or 256: in the background, in the warpgroup's
// open group. Thread t of the warpgroup has rows 16 (t / 32) + t % 32 / 4 (and + 8) and columns 8 j + 2 (t % 4) (and + 1): d[4 j + 2 h + e]
// is the element at row + 8 h, column + e. a lies in shared memory, or in registers as mma's A does.
template <class T, bool AlongA, bool AlongB, int N>
__device__ __forceinline__ void product(float (&d)[N], uint64_t a, uint64_t b, int add) {
    productOf<AlongA, AlongB>(T(), d, a, b, add);
}
template <class T, bool AlongB, int N>
__device__ __forceinline__ void product(float (&d)[N], const uint32_t (&a)[4], uint64_t b, int add) {
    productOf<AlongB>(T(), d, a, b, add);
}

// weights makes the A of such products of an accumulator of 64 x 16 n: columns 16 k to 16 k + 15.
template <class T, int N>
__device__ __forceinline__ void weights(uint32_t (&a)[4], const float (&d)[N], int k) {
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = packed<T>(d[8 * k + 2 * i], d[8 * k + 2 * i + 1]);
}

}  // namespace cambium
