// Sums and maxima of every element type.
#include <cstring>

#include "nccl.h"

namespace nccl {

size_t typeSize(int type) {
    switch (type) {
        case kInt8:
        case kUint8: return 1;
        case kFloat16:
        case kBfloat16: return 2;
        case kInt32:
        case kFloat32: return 4;
        case kFloat64: return 8;
    }
    return 0;
}

const char* typeName(int type) {
    static const char* const names[] = {"int8", "uint8", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64", "bfloat16"};
    return type >= 0 && type <= kBfloat16 ? names[type] : "unknown type";
}

namespace {

struct Bf16 {
    uint16_t bits;
};

float widen(Bf16 x) {
    const uint32_t b = static_cast<uint32_t>(x.bits) << 16;
    float f;
    memcpy(&f, &b, 4);
    return f;
}
float widen(_Float16 x) { return static_cast<float>(x); }
template <class T>
T widen(T x) {
    return x;
}

void narrow(Bf16* out, float x) {
    uint32_t b;
    memcpy(&b, &x, 4);
    out->bits = static_cast<uint16_t>(x != x ? b >> 16 | 0x40 : (b + 0x7fff + (b >> 16 & 1)) >> 16);
}
void narrow(_Float16* out, float x) { *out = static_cast<_Float16>(x); }
template <class T>
void narrow(T* out, T x) {
    *out = x;
}

// Like NCCL's, the maximum of a number and a NaN is the number.
template <class T>
T larger(T a, T b) {
    return a != a || b > a ? b : a;
}

template <class T>
void run(int op, const std::vector<const void*>& in, void* out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        auto acc = widen(static_cast<const T*>(in[0])[i]);
        for (size_t q = 1; q < in.size(); q++) {
            const auto x = widen(static_cast<const T*>(in[q])[i]);
            acc = static_cast<decltype(acc)>(op == kSum ? acc + x : larger(acc, x));
        }
        narrow(static_cast<T*>(out) + i, acc);
    }
}

}  // namespace

void reduce(int type, int op, const std::vector<const void*>& in, void* out, size_t count) {
    switch (type) {
        case kInt8: return run<int8_t>(op, in, out, count);
        case kUint8: return run<uint8_t>(op, in, out, count);
        case kInt32: return run<int32_t>(op, in, out, count);
        case kFloat16: return run<_Float16>(op, in, out, count);
        case kFloat32: return run<float>(op, in, out, count);
        case kFloat64: return run<double>(op, in, out, count);
        case kBfloat16: return run<Bf16>(op, in, out, count);
    }
}

}  // namespace nccl
