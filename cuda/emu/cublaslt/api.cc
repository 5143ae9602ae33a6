// The functions of libcublasLt.so.13 that Cambium calls, with their signatures. What the library leaves undefined is refused here, with a
// line on standard error: addresses outside of device memory or less aligned than was promised, an algorithm that was found for another
// product, a workspace that is too small.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cublaslt.h"

#define CUBLASLT_API extern "C" __attribute__((visibility("default")))

namespace cublaslt {

namespace {

void* symbol(const char* name) {
    static void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    return driver ? dlsym(driver, name) : dlsym(RTLD_DEFAULT, name);
}

int refuse(const char* why) {
    fprintf(stderr, "cuBLASLt stand-in: %s\n", why);
    return kInvalidValue;
}

// Algorithm is what the library's opaque 64 bytes hold here.
struct Algorithm {
    uint64_t magic, product, parts, workspace;
    uint32_t alignment[4];
};
static_assert(sizeof(Algorithm) <= 64);

constexpr uint64_t kMagic = 0x43616d6269756d01;

struct Heuristic {
    uint64_t algo[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

// fingerprint tells products apart: of one that an algorithm was found for it is the same.
uint64_t fingerprint(const Desc& d, const Layout& a, const Layout& b, const Layout& c) {
    uint64_t h = 1469598103934665603ull;
    const auto add = [&](uint64_t x) { h = (h ^ x) * 1099511628211ull; };
    for (const Layout* l : {&a, &b, &c}) {
        add(static_cast<uint64_t>(l->type)), add(l->rows), add(l->cols);
        add(static_cast<uint64_t>(l->ld));
    }
    for (const int x : {d.transA, d.transB, d.epilogue}) add(static_cast<uint64_t>(x));
    return h;
}

// supported is the part of the library's table of types and epilogues that training needs.
bool supported(const Desc& d, const Layout& a, const Layout& b, const Layout& c) {
    const bool half = (a.type == kF16 || a.type == kBF16) && a.type == b.type;
    if (!half || (c.type != a.type && c.type != kF32)) return false;
    if (c.type == kF32 && d.epilogue != kPlain) return false;
    if (d.epilogue == kBias && !d.bias) return false;
    return d.epilogue == kPlain || d.epilogue == kBias;
}

bool shaped(const Desc& d, const Layout& a, const Layout& b, const Layout& c) {
    const uint64_t m = d.transA ? a.cols : a.rows, ka = d.transA ? a.rows : a.cols, n = d.transB ? b.rows : b.cols,
                   kb = d.transB ? b.cols : b.rows;
    for (const Layout* l : {&a, &b, &c})
        if (!l->rows || !l->cols || l->ld < static_cast<int64_t>(l->rows)) return false;
    return m == c.rows && n == c.cols && ka == kb;
}

bool aligned(const void* p, uint32_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

void run(void* data) {
    const std::unique_ptr<Product> p(static_cast<Product*>(data));
    multiply(*p);
}

// runAgain is for products in graphs, which run as often as these are launched and are never freed.
void runAgain(void* data) { multiply(*static_cast<Product*>(data)); }

bool capturing(void* stream) {
    const auto ask = reinterpret_cast<int (*)(void*, int*)>(symbol("cuStreamIsCapturing"));
    int status = 0;
    return ask && !ask(stream, &status) && status;
}

}  // namespace

int launchHost(void* stream, void (*f)(void*), void* data) {
    const auto launch = reinterpret_cast<int (*)(void*, void (*)(void*), void*)>(symbol("cuLaunchHostFunc"));
    return launch ? launch(stream, f, data) : 3;
}

bool inDevice(const void* data, const Layout& l) {
    const auto range = reinterpret_cast<int (*)(unsigned long long*, size_t*, unsigned long long)>(symbol("cuMemGetAddressRange_v2"));
    unsigned long long begin = 0;
    size_t size = 0;
    const auto at = reinterpret_cast<unsigned long long>(data);
    if (!range || range(&begin, &size, at)) return false;
    return at + (static_cast<uint64_t>(l.ld) * (l.cols - 1) + l.rows) * typeSize(l.type) <= begin + size;
}

}  // namespace cublaslt

using namespace cublaslt;

CUBLASLT_API size_t cublasLtGetVersion() {
    const char* v = getenv("CAMBIUM_EMU_CUBLASLT_VERSION");
    return v && *v ? strtoul(v, nullptr, 10) : 130000;
}

CUBLASLT_API const char* cublasLtGetStatusString(int status) {
    switch (status) {
        case kSuccess: return "CUBLAS_STATUS_SUCCESS";
        case kNotInitialized: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case kInvalidValue: return "CUBLAS_STATUS_INVALID_VALUE";
        case kExecutionFailed: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case kNotSupported: return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown status";
}

CUBLASLT_API int cublasLtCreate(void** handle) {
    const auto current = reinterpret_cast<int (*)(int*)>(symbol("cuCtxGetDevice"));
    int device;
    if (!current || current(&device)) return kNotInitialized;
    *handle = new int(device);
    return kSuccess;
}
CUBLASLT_API int cublasLtDestroy(void* handle) {
    delete static_cast<int*>(handle);
    return kSuccess;
}

CUBLASLT_API int cublasLtMatmulDescCreate(Desc** out, int compute, int scale) {
    if (compute != 68 || scale != kF32) return refuse("only sums in fp32 (CUBLAS_COMPUTE_32F) are here");
    *out = new Desc;
    return kSuccess;
}
CUBLASLT_API int cublasLtMatmulDescDestroy(Desc* d) {
    delete d;
    return kSuccess;
}
CUBLASLT_API int cublasLtMatmulDescSetAttribute(Desc* d, int attribute, const void* value, size_t size) {
    const auto take = [&](auto* field) {
        if (size != sizeof *field) return refuse("an attribute of another size");
        memcpy(field, value, size);
        return static_cast<int>(kSuccess);
    };
    switch (attribute) {
        case 3: return take(&d->transA);
        case 4: return take(&d->transB);
        case 7: return take(&d->epilogue);
        case 8: return take(&d->bias);
    }
    return refuse("an attribute that the stand-in lacks");
}

CUBLASLT_API int cublasLtMatrixLayoutCreate(Layout** out, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    if (!typeSize(type)) return refuse("a type that the stand-in lacks");
    *out = new Layout{type, rows, cols, ld};
    return kSuccess;
}
CUBLASLT_API int cublasLtMatrixLayoutDestroy(Layout* l) {
    delete l;
    return kSuccess;
}

CUBLASLT_API int cublasLtMatmulPreferenceCreate(Preference** out) {
    *out = new Preference;
    return kSuccess;
}
CUBLASLT_API int cublasLtMatmulPreferenceDestroy(Preference* p) {
    delete p;
    return kSuccess;
}
CUBLASLT_API int cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* value, size_t size) {
    if (attribute == 1 && size == 8) return memcpy(&p->workspace, value, 8), kSuccess;
    if (attribute == 3 && size == 4) return memcpy(&p->reductions, value, 4), kSuccess;
    if (attribute >= 5 && attribute <= 8 && size == 4) return memcpy(&p->alignment[attribute - 5], value, 4), kSuccess;
    return refuse("a preference that the stand-in lacks, or of another size");
}

// Two algorithms: one that goes through the inner dimension at once, and one that splits it in four. A preference that lets partial sums be
// added in the output's type gets nothing: their rounding would not be what Cambium promises.
CUBLASLT_API int cublasLtMatmulAlgoGetHeuristic(void*, const Desc* d, const Layout* a, const Layout* b, const Layout* c, const Layout* out,
                                                const Preference* p, int wanted, Heuristic* found, int* count) {
    *count = 0;
    if (!shaped(*d, *a, *b, *out)) return refuse("shapes or leading dimensions that do not fit");
    if (memcmp(c, out, sizeof *c)) return refuse("C and D of different layouts");
    if (p->reductions & (kInPlace | kOutputType) || (p->reductions && out->type != kF32))
        return refuse("sums that are split might be added in 16 bits");
    if (!supported(*d, *a, *b, *out)) return kNotSupported;
    const uint64_t split = 4 * 4 * out->rows * out->cols;
    for (const uint64_t parts : {uint64_t{1}, uint64_t{4}}) {
        const uint64_t workspace = parts > 1 ? split : 0;
        if (*count >= wanted || workspace > p->workspace || (parts > 1 && !(p->reductions & kComputeType))) continue;
        Heuristic& h = found[(*count)++];
        h = {};
        Algorithm algo{kMagic, fingerprint(*d, *a, *b, *out), parts, workspace, {}};
        memcpy(algo.alignment, p->alignment, sizeof algo.alignment);
        memcpy(h.algo, &algo, sizeof algo);
        h.workspace = workspace;
        h.state = kSuccess;
        h.waves = 1;
    }
    return *count ? kSuccess : kNotSupported;
}

CUBLASLT_API int cublasLtMatmul(void*, const Desc* d, const float* alpha, const void* pa, const Layout* a, const void* pb, const Layout* b,
                                const float* beta, const void* pc, const Layout* c, void* pd, const Layout* out, const void* algorithm,
                                const void* workspace, size_t bytes, void* stream) {
    Algorithm algo;
    memcpy(&algo, algorithm, sizeof algo);
    if (algo.magic != kMagic || algo.product != fingerprint(*d, *a, *b, *out)) return refuse("an algorithm of another product");
    if (pc != pd || memcmp(c, out, sizeof *c)) return refuse("C elsewhere than D");
    if (algo.workspace > bytes || !aligned(workspace, 256) ||
        (algo.workspace && !inDevice(workspace, {kF32, algo.workspace / 4, 1, static_cast<int64_t>(algo.workspace / 4)})))
        return refuse("a workspace that is too small or lies badly");
    if (!aligned(pa, algo.alignment[0]) || !aligned(pb, algo.alignment[1]) || !aligned(pc, algo.alignment[2]) ||
        !aligned(pd, algo.alignment[3]))
        return refuse("an operand that is less aligned than was promised");
    if (!inDevice(pa, *a) || !inDevice(pb, *b) || !inDevice(pd, *out)) return refuse("an operand outside of device memory");
    if (d->epilogue == kBias && (!aligned(d->bias, 16) || !inDevice(d->bias, {out->type, out->rows, 1, static_cast<int64_t>(out->rows)})))
        return refuse("a bias that lies badly");
    auto p = std::make_unique<Product>(Product{*d, *a, *b, *out, pa, pb, pd, *alpha, *beta, algo.parts});
    if (launchHost(stream, capturing(stream) ? runAgain : run, p.get())) return kExecutionFailed;
    p.release();
    return kSuccess;
}
