// What the stand-in's files share: the part of cublasLt.h that it has, with the same numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace cublaslt {

enum Status { kSuccess = 0, kNotInitialized = 1, kInvalidValue = 7, kExecutionFailed = 13, kNotSupported = 15 };
enum Type { kF32 = 0, kF16 = 2, kBF16 = 14 };
enum Epilogue { kPlain = 1, kBias = 4 };
enum Reduction { kInPlace = 1, kComputeType = 2, kOutputType = 4 };

// Layout is a column-major matrix: element (i, j) is at i + j ld.
struct Layout {
    int type;
    uint64_t rows, cols;
    int64_t ld;
};

struct Desc {
    int transA = 0, transB = 0, epilogue = kPlain;
    const void* bias = nullptr;
};

struct Preference {
    uint64_t workspace = 0;
    uint32_t reductions = kInPlace | kComputeType | kOutputType;
    uint32_t alignment[4] = {256, 256, 256, 256};
};

// Product is one multiplication: D = epilogue(alpha op(A) op(B) + beta D), all of it known. parts is into how many pieces the inner
// dimension is split; their sums are added in order.
struct Product {
    Desc desc;
    Layout a, b, d;
    const void *pa, *pb;
    void* pd;
    float alpha, beta;
    uint64_t parts;

    uint64_t inner() const { return desc.transA ? a.rows : a.cols; }
};

size_t typeSize(int type);

// multiply computes it on the calling thread.
void multiply(const Product& p);

// inDevice tells whether a matrix lies in one allocation of the emulated driver.
bool inDevice(const void* data, const Layout& l);

// launchHost puts f on a stream of the driver; 0 is success.
int launchHost(void* stream, void (*f)(void*), void* data);

}  // namespace cublaslt
