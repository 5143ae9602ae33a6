// The emulator's counterparts of cuda/common/hopper.cuh, with the same names and meaning. Copies by TMA land when a barrier that counts
// them is waited for, stores when their tile may be used again, products when they are waited for: as late as the hardware may be. A
// cluster is one block.
#pragma once

#include "device.h"

namespace emu {

// What a tensor map holds here: a matrix of rows that lie stride bytes apart, and the box that a copy moves.
struct TensorMatrix {
    uint64_t magic;
    char* data;
    uint64_t element, columns, rows, stride, boxColumns, boxRows;
};
constexpr uint64_t kTensorMagic = 0x63616d6269756d21;

void barrierInit(uint64_t* b, int arrivals);
void barrierArrive(uint64_t* b, int64_t expected);
void barrierWait(uint64_t* b, int parity);
void tensorFetch(void* tile, const void* map, int x, int y, uint64_t* b);
enum TensorWrite { kTensorStore, kTensorAdd };
void tensorWrite(const void* map, int x, int y, const void* tile, TensorWrite how);
void tensorCommit();
void tensorWait(size_t pending);
void groupBarrier(int id, int threads);

// Product is one wgmma of m64 n<2 x size> k16: d [+]= a b for the calling thread's elements, of which there are `size`. a is in registers
// where its address is 0.
struct Product {
    float* d;
    int size;
    uint64_t a, b;
    uint32_t registers[4];
    bool accumulate, alongA, alongB, bf16;
    const void* site = nullptr;
};
void productStart(const Product& p);
void productCommit();
void productWait(size_t pending);

}  // namespace emu

namespace cambium {

struct alignas(64) TensorMap {
    uint64_t opaque[16];
};

inline void barrierInit(uint64_t* b, int arrivals) { emu::barrierInit(b, arrivals); }
inline void barrierInitDone() {}
inline void barrierArrive(uint64_t* b) { emu::barrierArrive(b, 0); }
inline void barrierArriveAt(uint64_t* b, int) { emu::barrierArrive(b, 0); }
inline void barrierExpect(uint64_t* b, int bytes) { emu::barrierArrive(b, bytes); }
inline void barrierWait(uint64_t* b, int parity) { emu::barrierWait(b, parity); }

inline void tensorFetch(void* tile, const TensorMap* map, int x, int y, uint64_t* b, int) { emu::tensorFetch(tile, map, x, y, b); }
inline void tensorStore(const TensorMap* map, int x, int y, const void* tile) { emu::tensorWrite(map, x, y, tile, emu::kTensorStore); }
inline void tensorAdd(const TensorMap* map, int x, int y, const void* tile) { emu::tensorWrite(map, x, y, tile, emu::kTensorAdd); }
inline void tensorCommit() { emu::tensorCommit(); }
template <int Pending>
inline void tensorWait() {
    emu::tensorWait(Pending);
}
inline void tensorPrefetch(const TensorMap*) {}
inline void sharedForTensor() {}

inline void groupBarrier(int id, int threads) { emu::groupBarrier(id, threads); }
inline int clusterRank() { return 0; }
inline void clusterBarrier() { __syncthreads(); }
template <int N>
inline void fewerRegisters() {}
template <int N>
inline void moreRegisters() {}
inline void waitNotZero(const unsigned* flag) {
    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
    }
}

template <bool Along>
inline uint64_t operandOf(const void* tile) {
    return reinterpret_cast<uint64_t>(tile);
}
template <bool Along>
inline uint64_t operandStep(uint64_t o, int k16) {
    return o + static_cast<uint64_t>((Along ? 32 : 2048) * k16);
}
template <int N>
inline void settle(float (&)[N]) {}
template <int N>
inline void settle(uint32_t (&)[N][4]) {}
inline void productFence() {}
inline void productCommit() { emu::productCommit(); }
template <int Pending>
inline void productWait() {
    emu::productWait(Pending);
}
template <bool AlongA, bool AlongB, class T, int N>
inline void productOf(T, float (&d)[N], uint64_t a, uint64_t b, int add) {
    emu::productStart({d, N, a, b, {}, add != 0, AlongA, AlongB, std::is_same_v<T, __nv_bfloat16>});
}
template <bool AlongB, class T, int N>
inline void productOf(T, float (&d)[N], const uint32_t (&a)[4], uint64_t b, int add) {
    emu::productStart({d, N, 0, b, {a[0], a[1], a[2], a[3]}, add != 0, true, AlongB, std::is_same_v<T, __nv_bfloat16>});
}
inline float exp2Fast(float x) { return x < -126 ? 0.0f : std::exp2(x); }

}  // namespace cambium
