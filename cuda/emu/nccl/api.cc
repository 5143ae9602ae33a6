// The functions of libnccl.so.2 that Cambium calls, with NCCL's signatures.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "nccl.h"

#define NCCL_API extern "C" __attribute__((visibility("default")))

namespace nccl {

namespace {

// Group collects the calls of a thread between ncclGroupStart and the matching ncclGroupEnd, by stream.
struct Group {
    int depth = 0;
    Result failed = kSuccess;
    std::vector<std::pair<void*, std::vector<Call>>> streams;
};

Group& group() {
    static thread_local Group g;
    return g;
}

std::string& lastError() {
    static thread_local std::string s;
    return s;
}

void* symbol(const char* name) {
    static void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    return driver ? dlsym(driver, name) : dlsym(RTLD_DEFAULT, name);
}

}  // namespace

Result say(Result r, const std::string& text) {
    lastError() = text;
    return r;
}

int currentDevice(int* device) {
    const auto f = reinterpret_cast<int (*)(int*)>(symbol("cuCtxGetDevice"));
    return f ? f(device) : 3;
}

int launchHost(void* stream, void (*f)(void*), void* data) {
    const auto launch = reinterpret_cast<int (*)(void*, void (*)(void*), void*)>(symbol("cuLaunchHostFunc"));
    return launch ? launch(stream, f, data) : 3;
}

}  // namespace nccl

using namespace nccl;

// A handle keeps the rank alive; calls on their way do too.
struct ncclComm {
    std::shared_ptr<Comm> comm;
};
struct ncclUniqueId {
    char internal[128];
};

NCCL_API int ncclGetVersion(int* version) {
    const char* v = getenv("CAMBIUM_EMU_NCCL_VERSION");
    *version = v && *v ? atoi(v) : 22800;
    return kSuccess;
}

NCCL_API const char* ncclGetErrorString(int result) {
    static const char* const names[] = {"no error",       "unhandled cuda error", "unhandled system error",
                                        "internal error", "invalid argument",     "invalid usage"};
    return result >= 0 && result <= kInvalidUsage ? names[result] : "unknown result code";
}

NCCL_API const char* ncclGetLastError(ncclComm* c) {
    return c && c->comm->broken() ? say(kSuccess, c->comm->why()), lastError().c_str() : lastError().c_str();
}

NCCL_API int ncclGetUniqueId(ncclUniqueId* id) {
    std::random_device random;
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "/cambium-nccl-%d-%08x%08x", static_cast<int>(getpid()), random(), random());
    return kSuccess;
}

static int give(Result r, std::shared_ptr<Comm> c, ncclComm** out) {
    *out = r == kSuccess && c ? new ncclComm{std::move(c)} : nullptr;
    return r;
}

NCCL_API int ncclCommInitRank(ncclComm** out, int size, ncclUniqueId id, int rank) {
    std::shared_ptr<Comm> c;
    const Result r = Comm::join(std::string(id.internal, strnlen(id.internal, sizeof id.internal)), size, rank, &c);
    return give(r, c, out);
}

NCCL_API int ncclCommSplit(ncclComm* parent, int color, int key, ncclComm** out, void*) {
    std::shared_ptr<Comm> c;
    const Result r = parent->comm->split(color, key, &c);
    return give(r, c, out);
}

NCCL_API int ncclCommDestroy(ncclComm* c) {
    while (!c->comm->idle()) usleep(100);
    delete c;
    return kSuccess;
}

NCCL_API int ncclCommAbort(ncclComm* c) {
    c->comm->aborted = true;
    delete c;
    return kSuccess;
}

NCCL_API int ncclCommCount(ncclComm* c, int* count) {
    *count = c->comm->size;
    return kSuccess;
}

NCCL_API int ncclCommUserRank(ncclComm* c, int* rank) {
    *rank = c->comm->rank;
    return kSuccess;
}

NCCL_API int ncclCommGetAsyncError(ncclComm* c, int* error) {
    *error = c->comm->broken() ? kInvalidUsage : kSuccess;
    return kSuccess;
}

NCCL_API int ncclGroupStart() {
    group().depth++;
    return kSuccess;
}

NCCL_API int ncclGroupEnd() {
    Group& g = group();
    if (!g.depth) return say(kInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    if (--g.depth) return kSuccess;
    auto streams = std::move(g.streams);
    g.streams.clear();
    Result r = g.failed;
    g.failed = kSuccess;
    for (auto& [stream, calls] : streams)
        if (r == kSuccess) r = enqueue(std::move(calls), stream);
    return r;
}

// add takes a call into the thread's group, or makes a group of it alone.
static int add(Call c, void* stream) {
    Group& g = group();
    Result r = kSuccess;
    if (!typeSize(c.header.type)) r = say(kInvalidArgument, "the stand-in has no elements of type " + std::to_string(c.header.type));
    if (c.header.op >= 0 && c.header.op != kSum && c.header.op != kMax) r = say(kInvalidArgument, "the stand-in has sum and max alone");
    const int peer = c.header.kind == kMessage ? c.peer : std::max(c.header.root, 0);
    if (peer < 0 || peer >= c.comm->size) r = say(kInvalidArgument, "rank " + std::to_string(peer) + " of " + std::to_string(c.comm->size));
    if (c.header.count &&
        ((!c.send && c.header.kind != kMessage && !(c.header.kind == kBroadcast)) || (c.header.kind == kMessage && !c.send && !c.recv)))
        r = say(kInvalidArgument, "a buffer is null");
    if (r != kSuccess) {
        if (g.depth && g.failed == kSuccess) g.failed = r;
        return r;
    }
    if (!g.depth) {
        std::vector<Call> one;
        one.push_back(std::move(c));
        return enqueue(std::move(one), stream);
    }
    for (auto& [s, calls] : g.streams)
        if (s == stream) {
            calls.push_back(std::move(c));
            return kSuccess;
        }
    g.streams.push_back({stream, {std::move(c)}});
    return kSuccess;
}

NCCL_API int ncclAllReduce(const void* send, void* recv, size_t count, int type, int op, ncclComm* c, void* stream) {
    return add({c->comm, {kAllReduce, type, op, -1, count}, send, recv, 0, false}, stream);
}

NCCL_API int ncclReduceScatter(const void* send, void* recv, size_t count, int type, int op, ncclComm* c, void* stream) {
    return add({c->comm, {kReduceScatter, type, op, -1, count}, send, recv, 0, false}, stream);
}

NCCL_API int ncclAllGather(const void* send, void* recv, size_t count, int type, ncclComm* c, void* stream) {
    return add({c->comm, {kAllGather, type, -1, -1, count}, send, recv, 0, false}, stream);
}

NCCL_API int ncclBroadcast(const void* send, void* recv, size_t count, int type, int root, ncclComm* c, void* stream) {
    return add({c->comm, {kBroadcast, type, -1, root, count}, send, recv, 0, false}, stream);
}

NCCL_API int ncclReduce(const void* send, void* recv, size_t count, int type, int op, int root, ncclComm* c, void* stream) {
    return add({c->comm, {kReduce, type, op, root, count}, send, recv, 0, false}, stream);
}

NCCL_API int ncclSend(const void* send, size_t count, int type, int peer, ncclComm* c, void* stream) {
    return add({c->comm, {kMessage, type, -1, -1, count}, send, nullptr, peer, true}, stream);
}

NCCL_API int ncclRecv(void* recv, size_t count, int type, int peer, ncclComm* c, void* stream) {
    return add({c->comm, {kMessage, type, -1, -1, count}, nullptr, recv, peer, false}, stream);
}
