// Two processes with a device each, over the stand-in for NCCL: sums, messages, a split; or calls that do not match. Each prints "ok" or
// what is wrong.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define FUNCTION(name, ...) extern "C" int name(__VA_ARGS__)
struct Id {
    char internal[128];
};
FUNCTION(cuInit, unsigned);
FUNCTION(cuDevicePrimaryCtxRetain, void**, int);
FUNCTION(cuCtxSetCurrent, void*);
FUNCTION(cuMemAlloc_v2, unsigned long long*, size_t);
FUNCTION(cuMemcpyHtoD_v2, unsigned long long, const void*, size_t);
FUNCTION(cuMemcpyDtoH_v2, void*, unsigned long long, size_t);
FUNCTION(cuStreamCreate, void**, unsigned);
FUNCTION(cuStreamSynchronize, void*);
FUNCTION(ncclGetUniqueId, Id*);
FUNCTION(ncclCommInitRank, void**, int, Id, int);
FUNCTION(ncclCommSplit, void*, int, int, void**, void*);
FUNCTION(ncclCommCount, void*, int*);
FUNCTION(ncclCommUserRank, void*, int*);
FUNCTION(ncclCommGetAsyncError, void*, int*);
FUNCTION(ncclCommDestroy, void*);
FUNCTION(ncclGroupStart);
FUNCTION(ncclGroupEnd);
FUNCTION(ncclAllReduce, const void*, void*, size_t, int, int, void*, void*);
FUNCTION(ncclBroadcast, const void*, void*, size_t, int, int, void*, void*);
FUNCTION(ncclSend, const void*, size_t, int, int, void*, void*);
FUNCTION(ncclRecv, void*, size_t, int, int, void*, void*);
extern "C" const char* ncclGetLastError(void*);

static void fail(const char* what, int got) {
    printf("wrong: %s: %d\n", what, got);
    fflush(stdout);
    _exit(1);
}
#define CHECK(call) \
    if (const int result = call) fail(#call, result)
#define WANT(a, b) \
    if ((a) != (b)) fail(#a, static_cast<int>(a))

constexpr int kInt32 = 2, kFloat = 7, kSum = 0, kMax = 2;
constexpr size_t kCount = 100000;  // many times what a ring holds

// Device is memory of kCount floats with a value.
struct Device {
    explicit Device(float v) {
        CHECK(cuMemAlloc_v2(&at, 4 * kCount));
        std::vector<float> x(kCount, v);
        CHECK(cuMemcpyHtoD_v2(at, x.data(), 4 * kCount));
    }
    void want(float v) {
        std::vector<float> x(kCount);
        CHECK(cuMemcpyDtoH_v2(x.data(), at, 4 * kCount));
        for (float f : x) WANT(f, v);
    }
    void* raw() { return reinterpret_cast<void*>(at); }
    unsigned long long at;
};

static int rank(int me, Id id, const char* what) {
    void *context, *stream, *comm, *alone;
    CHECK(cuInit(0));
    CHECK(cuDevicePrimaryCtxRetain(&context, strcmp(what, "duplicate") ? me : 0));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuStreamCreate(&stream, 0));
    const int joined = ncclCommInitRank(&comm, 2, id, me);
    if (!strcmp(what, "duplicate")) {
        WANT(joined, 5);
        return strcmp(ncclGetLastError(nullptr), "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 0") ? 1 : 0;
    }
    CHECK(joined);
    Device x(static_cast<float>(1 + me)), y(-1), z(7);
    if (!strcmp(what, "type") || !strcmp(what, "op") || !strcmp(what, "kind") || !strcmp(what, "count")) {
        const bool other = me == 1;
        if (other && !strcmp(what, "kind")) {
            CHECK(ncclBroadcast(x.raw(), x.raw(), 100, kFloat, 0, comm, stream));
        } else {
            CHECK(ncclAllReduce(x.raw(), x.raw(), other && !strcmp(what, "count") ? 99 : 100,
                                other && !strcmp(what, "type") ? kInt32 : kFloat, other && !strcmp(what, "op") ? kMax : kSum, comm,
                                stream));
        }
        CHECK(cuStreamSynchronize(stream));
        int error;
        CHECK(ncclCommGetAsyncError(comm, &error));
        WANT(error, 5);
        if (me == 0) printf("%s\n", ncclGetLastError(comm));
        return 0;
    }
    CHECK(ncclGroupStart());  // both send first
    CHECK(ncclSend(x.raw(), kCount, kFloat, 1 - me, comm, stream));
    CHECK(ncclRecv(y.raw(), kCount, kFloat, 1 - me, comm, stream));
    CHECK(ncclAllReduce(z.raw(), z.raw(), kCount, kFloat, kSum, comm, stream));
    CHECK(ncclGroupEnd());
    CHECK(cuStreamSynchronize(stream));
    y.want(static_cast<float>(2 - me));
    z.want(14);
    CHECK(ncclCommSplit(comm, me, 0, &alone, nullptr));
    int n, r;
    CHECK(ncclCommCount(alone, &n));
    CHECK(ncclCommUserRank(alone, &r));
    WANT(10 * n + r, 10);
    CHECK(ncclAllReduce(z.raw(), z.raw(), kCount, kFloat, kSum, alone, stream));
    CHECK(cuStreamSynchronize(stream));
    z.want(14);
    CHECK(ncclCommDestroy(alone));
    CHECK(ncclCommDestroy(comm));
    return 0;
}

int main(int, char** argv) {
    Id id;
    CHECK(ncclGetUniqueId(&id));
    pid_t child[2];
    for (int me = 0; me < 2; me++) {
        fflush(stdout);
        if (!(child[me] = fork())) {
            const int code = rank(me, id, argv[1]);
            fflush(stdout);
            _exit(code);
        }
    }
    bool ok = true;
    for (const pid_t c : child) {
        int status;
        waitpid(c, &status, 0);
        ok = ok && status == 0;
    }
    if (ok) puts("ok");
    return !ok;
}
