// The arithmetic: sums in fp32, in order of the inner dimension, and one rounding at the end.
#include <cstring>
#include <vector>

#include "cublaslt.h"

namespace cublaslt {

namespace {

float read(int type, const void* data, size_t i) {
    if (type == kF32) return static_cast<const float*>(data)[i];
    if (type == kF16) return static_cast<float>(static_cast<const _Float16*>(data)[i]);
    const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(data)[i]) << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

void write(int type, void* data, size_t i, float x) {
    uint32_t b;
    memcpy(&b, &x, 4);
    if (type == kF32)
        static_cast<float*>(data)[i] = x;
    else if (type == kF16)
        static_cast<_Float16*>(data)[i] = static_cast<_Float16>(x);
    else
        static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>(x != x ? b >> 16 | 0x40 : (b + 0x7fff + (b >> 16 & 1)) >> 16);
}

// widen is op(M) as rows of its inner dimension: row i of A, or column j of B.
std::vector<float> widen(const Layout& l, const void* data, bool innerIsRows) {
    std::vector<float> out(l.rows * l.cols);
    const uint64_t outer = innerIsRows ? l.cols : l.rows, inner = innerIsRows ? l.rows : l.cols;
    for (uint64_t o = 0; o < outer; o++)
        for (uint64_t k = 0; k < inner; k++) {
            const uint64_t i = innerIsRows ? k : o, j = innerIsRows ? o : k;
            out[o * inner + k] = read(l.type, data, i + j * static_cast<uint64_t>(l.ld));
        }
    return out;
}

}  // namespace

size_t typeSize(int type) { return type == kF32 ? 4 : type == kF16 || type == kBF16 ? 2 : 0; }

void multiply(const Product& p) {
    const uint64_t inner = p.inner();
    const std::vector<float> a = widen(p.a, p.pa, p.desc.transA), b = widen(p.b, p.pb, !p.desc.transB);
    for (uint64_t j = 0; j < p.d.cols; j++)
        for (uint64_t i = 0; i < p.d.rows; i++) {
            float sum = 0;
            for (uint64_t q = 0; q < p.parts; q++) {
                float part = 0;
                for (uint64_t k = inner * q / p.parts; k < inner * (q + 1) / p.parts; k++) part += a[i * inner + k] * b[j * inner + k];
                sum += part;
            }
            const uint64_t at = i + j * static_cast<uint64_t>(p.d.ld);
            float z = p.alpha * sum;
            if (p.beta != 0) z += p.beta * read(p.d.type, p.pd, at);
            if (p.desc.epilogue == kBias) z += read(p.d.type, p.desc.bias, i);
            write(p.d.type, p.pd, at, z);
        }
}

}  // namespace cublaslt
