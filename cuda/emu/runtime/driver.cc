// Devices, contexts, modules, memory and launches of the emulated driver.
#include "driver.h"

#include <cstdio>
#include <cstdlib>

#include "../hopper.h"

extern "C" int cuStreamSynchronize(void*);

namespace emu {

namespace {

std::atomic<bool> initialized{false};

// contexts are the devices' primary contexts. They live as long as the process.
Context* context(int device) {
    static std::mutex mutex;
    static std::map<int, Context*>* all = new std::map<int, Context*>;
    std::lock_guard<std::mutex> lock(mutex);
    Context*& c = (*all)[device];
    if (!c) {
        c = new Context;
        c->device = device;
    }
    return c;
}

std::string& lastReport() {
    static std::string* text = new std::string;
    return *text;
}

std::mutex& reportMutex() {
    static std::mutex* m = new std::mutex;
    return *m;
}

// module stands for whatever image was loaded: the kernels are linked into this library.
int module;

}  // namespace

Context*& currentContext() {
    static thread_local Context* current;
    return current;
}

int ready() {
    if (!initialized) return kNotInitialized;
    Context* c = currentContext();
    if (!c) return kInvalidContext;
    std::lock_guard<std::mutex> lock(c->mutex);
    return c->failed ? kLaunchFailed : kSuccess;
}

Stream* Context::stream(void* handle) {
    if (handle) return static_cast<Stream*>(handle);
    std::lock_guard<std::mutex> lock(mutex);
    if (!none) none = std::make_unique<Stream>(this);
    return none.get();
}

void Context::fail(const std::string& text) {
    {
        std::lock_guard<std::mutex> lock(mutex);
        if (failed) return;
        failed = true;
        report = text;
    }
    std::lock_guard<std::mutex> lock(reportMutex());
    lastReport() = text;
    fprintf(stderr, "cuda/emu: %s\n", text.c_str());
}

namespace {

void synchronize(Context* c) {
    std::vector<Stream*> all;
    {
        std::lock_guard<std::mutex> lock(c->mutex);
        all = c->streams;
        if (c->none) all.push_back(c->none.get());
    }
    for (Stream* s : all)
        if (!s->capture) s->drain();
}

// Arguments are a kernel's parameters, copied when it is launched, as the driver does.
struct Arguments {
    struct alignas(64) Line {  // the alignment of tensor maps, which no parameter exceeds
        char bytes[64];
    };
    std::vector<Line> lines;
    std::vector<size_t> at;
    Arguments(const Kernel* k, void** params) {
        for (int i = 0; i < k->params; i++) {
            at.push_back(lines.size());
            lines.resize(at.back() + (k->sizes[i] + sizeof(Line) - 1) / sizeof(Line));
            memcpy(&lines[at.back()], params[i], k->sizes[i]);
        }
    }
    std::vector<void*> pointers() {
        std::vector<void*> p;
        for (size_t a : at) p.push_back(&lines[a]);
        return p;
    }
};

// packed finds the one parameter of a kernel in the driver's other way of passing them: a buffer of just its size
// (CU_LAUNCH_PARAM_BUFFER_POINTER 1, CU_LAUNCH_PARAM_BUFFER_SIZE 2, CU_LAUNCH_PARAM_END 0). null when the size is another one.
void** packed(void** extra, size_t size) {
    static thread_local void* buffer;
    buffer = nullptr;
    size_t given = 0;
    for (; extra && *extra; extra += 2) {
        if (reinterpret_cast<uintptr_t>(*extra) == 1) buffer = extra[1];
        if (reinterpret_cast<uintptr_t>(*extra) == 2) given = *static_cast<size_t*>(extra[1]);
    }
    return buffer && given == size ? &buffer : nullptr;
}

int copy(void* to, const void* from, size_t bytes, void* stream, bool wait) {
    if (const int r = ready()) return r;
    Stream* s = currentContext()->stream(stream);
    s->enqueue([=] { memcpy(to, from, bytes); });
    if (wait) s->drain();
    return kSuccess;
}

// maxShared is what a block may have of shared memory: an A100's or, from sm_90 on, an H100's.
int maxShared() { return options().major >= 9 ? static_cast<int>(kMaxShared) : 166912; }

void* host(unsigned long long address) { return reinterpret_cast<void*>(address); }

template <class T>
int set(unsigned long long to, T value, size_t count, void* stream) {
    if (const int r = ready()) return r;
    if (!inDevice(to, count * sizeof(T))) return kInvalidValue;
    currentContext()->stream(stream)->enqueue([=] { std::fill_n(static_cast<T*>(host(to)), count, value); });
    return kSuccess;
}

}  // namespace
}  // namespace emu

using namespace emu;

#define READY \
    if (const int r = ready()) return r

CU_API cuInit(unsigned) {
    if (options().devices < 1) return kNoDevice;
    initialized = true;
    return kSuccess;
}

CU_API cuDriverGetVersion(int* version) {
    *version = options().driver;
    return kSuccess;
}

CU_API cuDeviceGetCount(int* count) {
    if (!initialized) return kNotInitialized;
    *count = options().devices;
    return kSuccess;
}

CU_API cuDeviceGet(int* device, int ordinal) {
    if (ordinal < 0 || ordinal >= options().devices) return kInvalidDevice;
    *device = ordinal;
    return kSuccess;
}

CU_API cuDeviceGetName(char* name, int length, int) {
    snprintf(name, static_cast<size_t>(length), "Cambium CPU emulation of sm_%d%d", options().major, options().minor);
    return kSuccess;
}

CU_API cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
    memset(uuid, 0, 16);
    uuid[15] = static_cast<unsigned char>(device + 1);
    return kSuccess;
}

CU_API cuDeviceGetPCIBusId(char* id, int length, int device) {
    snprintf(id, static_cast<size_t>(length), "0000:%02x:00.0", device + 1);
    return kSuccess;
}

CU_API cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = options().memory;
    return kSuccess;
}

// Attributes that a launch may depend on are those of an A100; what nobody asks for is 0.
CU_API cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case 1: *value = kMaxThreads; break;         // MAX_THREADS_PER_BLOCK
        case 8: *value = 48 << 10; break;            // MAX_SHARED_MEMORY_PER_BLOCK
        case 10: *value = kWarp; break;              // WARP_SIZE
        case 13: *value = 1410000; break;            // CLOCK_RATE, kHz
        case 16: *value = options().threads; break;  // MULTIPROCESSOR_COUNT
        case 36: *value = 1215000; break;            // MEMORY_CLOCK_RATE, kHz
        case 37: *value = 5120; break;               // GLOBAL_MEMORY_BUS_WIDTH, bits
        case 38: *value = 40 << 20; break;           // L2_CACHE_SIZE
        case 39: *value = 2048; break;               // MAX_THREADS_PER_MULTIPROCESSOR
        case 75: *value = options().major; break;    // COMPUTE_CAPABILITY_MAJOR
        case 76: *value = options().minor; break;    // COMPUTE_CAPABILITY_MINOR
        case 81: *value = 164 << 10; break;          // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
        case 97: *value = maxShared(); break;        // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        default: *value = 0;
    }
    return kSuccess;
}

CU_API cuDevicePrimaryCtxRetain(void** out, int device) {
    if (!initialized) return kNotInitialized;
    if (device < 0 || device >= options().devices) return kInvalidDevice;
    *out = context(device);
    return kSuccess;
}
CU_API cuDevicePrimaryCtxRelease_v2(int) { return kSuccess; }
CU_API cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) {
    *flags = 0;
    *active = 1;
    return kSuccess;
}
CU_API cuCtxSetCurrent(void* c) {
    currentContext() = static_cast<Context*>(c);
    return kSuccess;
}
CU_API cuCtxGetCurrent(void** c) {
    *c = currentContext();
    return kSuccess;
}
CU_API cuCtxGetDevice(int* device) {
    if (!currentContext()) return kInvalidContext;
    *device = currentContext()->device;
    return kSuccess;
}
CU_API cuCtxSynchronize() {
    READY;
    synchronize(currentContext());
    return ready();
}

CU_API cuModuleLoadData(void** out, const void* image) {
    READY;
    if (!image) return kInvalidImage;
    if (options().driver < 13000) return kUnsupportedVersion;  // than the compiler's
    *out = &module;
    return kSuccess;
}
CU_API cuModuleLoadDataEx(void** out, const void* image, unsigned, void*, void*) { return cuModuleLoadData(out, image); }
CU_API cuModuleLoadFatBinary(void** out, const void* image) { return cuModuleLoadData(out, image); }
CU_API cuModuleUnload(void*) { return kSuccess; }
CU_API cuModuleGetFunction(void** out, void*, const char* name) {
    READY;
    *out = const_cast<Kernel*>(findKernel(name));
    return *out ? kSuccess : kNotFound;
}
CU_API cuFuncSetAttribute(void*, int attribute, int value) {
    return attribute == 8 && value > maxShared() ? kInvalidValue : kSuccess;  // MAX_DYNAMIC_SHARED_SIZE_BYTES
}
CU_API cuFuncGetAttribute(int* value, int, void*) {
    *value = 0;
    return kSuccess;
}

// cuTensorMapEncodeTiled takes matrices of 2- and 4-byte elements in the 128-byte swizzle, and refuses what a GPU refuses.
CU_API cuTensorMapEncodeTiled(void* map, int type, unsigned rank, void* data, const uint64_t* sizes, const uint64_t* strides,
                              const unsigned* box, const unsigned* elementStrides, int interleave, int swizzle, int, int fill) {
    const uint64_t element = type == 6 || type == 9 ? 2 : type == 7 ? 4 : 0;  // FLOAT16, BFLOAT16, FLOAT32
    if (rank != 2 || !element || interleave || swizzle != 3 || fill) return kNotSupported;
    if (reinterpret_cast<uintptr_t>(map) % 64 || reinterpret_cast<uintptr_t>(data) % 16 || !sizes[0] || !sizes[1] || strides[0] % 16 ||
        strides[0] < sizes[0] * element || !box[0] || !box[1] || box[1] > 256 || box[0] * element > 128 || box[0] * element % 16 ||
        elementStrides[0] != 1 || elementStrides[1] != 1)
        return kInvalidValue;
    const TensorMatrix m{kTensorMagic, static_cast<char*>(data), element, sizes[0], sizes[1], strides[0], box[0], box[1]};
    static_assert(sizeof m <= 128);
    memcpy(map, &m, sizeof m);
    return kSuccess;
}

CU_API cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                      void* stream, void** params, void** extra) {
    READY;
    static std::atomic<uint64_t> count{0};
    const Kernel* k = static_cast<Kernel*>(function);
    const uint64_t threads = uint64_t{bx} * by * bz;
    if (!k || !gx || !gy || !gz || gy > 65535 || gz > 65535 || !threads || threads > kMaxThreads ||
        shared > static_cast<unsigned>(maxShared()))
        return kInvalidValue;
    if (!params && k->params == 1) params = packed(extra, k->sizes[0]);
    if (!params && k->params) return kInvalidValue;
    Stream* s = currentContext()->stream(stream);
    Context* c = currentContext();
    s->enqueue([=, args = std::make_shared<Arguments>(k, params)] {
        {
            std::lock_guard<std::mutex> lock(c->mutex);
            if (c->failed) return;
        }
        std::vector<void*> p = args->pointers();
        const std::string report = run({k, dim3(gx, gy, gz), dim3(bx, by, bz), shared, p.data(), ++count});
        if (!report.empty()) c->fail(report);
    });
    return kSuccess;
}

CU_API cuMemAlloc_v2(unsigned long long* out, size_t bytes) {
    READY;
    uintptr_t p;
    if (!bytes) return kInvalidValue;
    if (!deviceAlloc(currentContext()->device, bytes, &p)) return kOutOfMemory;
    *out = p;
    return kSuccess;
}
CU_API cuMemFree_v2(unsigned long long p) {
    if (!currentContext()) return kInvalidContext;
    synchronize(currentContext());
    return deviceFree(p) ? kSuccess : kInvalidValue;
}
CU_API cuMemGetInfo_v2(size_t* free, size_t* total) {
    READY;
    *total = options().memory;
    *free = *total - std::min(*total, deviceUsed(currentContext()->device));
    return kSuccess;
}
CU_API cuMemGetAddressRange_v2(unsigned long long* begin, size_t* size, unsigned long long p) {
    READY;
    uintptr_t at;
    if (!findRegion(p, &at, size)) return kNotFound;
    *begin = at;
    return kSuccess;
}
CU_API cuMemHostAlloc(void** out, size_t bytes, unsigned) {
    READY;
    *out = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    return *out ? kSuccess : kOutOfMemory;
}
CU_API cuMemAllocHost_v2(void** out, size_t bytes) { return cuMemHostAlloc(out, bytes, 0); }
CU_API cuMemFreeHost(void* p) {
    free(p);
    return kSuccess;
}

CU_API cuMemcpyHtoD_v2(unsigned long long to, const void* from, size_t bytes) {
    return inDevice(to, bytes) ? copy(host(to), from, bytes, nullptr, true) : kInvalidValue;
}
CU_API cuMemcpyDtoH_v2(void* to, unsigned long long from, size_t bytes) {
    return inDevice(from, bytes) ? copy(to, host(from), bytes, nullptr, true) : kInvalidValue;
}
CU_API cuMemcpyHtoDAsync_v2(unsigned long long to, const void* from, size_t bytes, void* stream) {
    return inDevice(to, bytes) ? copy(host(to), from, bytes, stream, false) : kInvalidValue;
}
CU_API cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t bytes, void* stream) {
    return inDevice(from, bytes) ? copy(to, host(from), bytes, stream, false) : kInvalidValue;
}
CU_API cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t bytes, void* stream) {
    return inDevice(to, bytes) && inDevice(from, bytes) ? copy(host(to), host(from), bytes, stream, false) : kInvalidValue;
}
CU_API cuMemcpyDtoD_v2(unsigned long long to, unsigned long long from, size_t bytes) {
    return inDevice(to, bytes) && inDevice(from, bytes) ? copy(host(to), host(from), bytes, nullptr, true) : kInvalidValue;
}
CU_API cuMemcpyPeerAsync(unsigned long long to, void*, unsigned long long from, void*, size_t bytes, void* stream) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}
CU_API cuMemsetD8_v2(unsigned long long to, unsigned char v, size_t n) {
    const int r = set<unsigned char>(to, v, n, nullptr);
    return r ? r : cuStreamSynchronize(nullptr);
}
CU_API cuMemsetD8Async(unsigned long long to, unsigned char v, size_t n, void* stream) { return set<unsigned char>(to, v, n, stream); }
CU_API cuMemsetD32Async(unsigned long long to, unsigned v, size_t n, void* stream) { return set<unsigned>(to, v, n, stream); }

CU_API cuGetErrorName(int result, const char** name) {
    static thread_local char text[32];
    snprintf(text, sizeof text, "CUDA_ERROR_%d", result);
    *name = text;
    return kSuccess;
}
CU_API cuGetErrorString(int result, const char** text) { return cuGetErrorName(result, text); }

// cambiumEmuReport copies what was wrong with the kernel that failed first; it returns the length, 0 when none failed.
CU_API cambiumEmuReport(char* out, int size) {
    std::lock_guard<std::mutex> lock(reportMutex());
    snprintf(out, static_cast<size_t>(size), "%s", lastReport().c_str());
    return static_cast<int>(lastReport().size());
}
