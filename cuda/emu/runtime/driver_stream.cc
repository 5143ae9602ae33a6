// Streams, events, capture and graphs of the emulated driver.
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>

#include "driver.h"

namespace emu {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

uint64_t mix(uint64_t* x) {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x >> 33;
}

}  // namespace

Stream::Stream(Context* c) : context(c) {
    static std::atomic<uint64_t> count{0};
    random_ = options().seed ? (options().seed * 0x9e3779b97f4a7c15ull + ++count) | 1 : 0;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    thread_ = std::thread([this] { loop(); });
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

Stream::~Stream() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        ending_ = true;
    }
    work_.notify_all();
    thread_.join();
}

void Stream::loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        work_.wait(lock, [this] { return ending_ || !queue_.empty(); });
        if (queue_.empty()) return;
        std::function<void()> f = std::move(queue_.front());
        queue_.pop_front();
        busy_ = true;
        lock.unlock();
        if (random_ && mix(&random_) % 2) std::this_thread::sleep_for(std::chrono::microseconds(mix(&random_) % 200));
        f();
        f = nullptr;
        lock.lock();
        busy_ = false;
        if (queue_.empty()) empty_.notify_all();
    }
}

void Stream::enqueue(std::function<void()> f) {
    if (capture) {
        capture->graph->nodes.push_back({std::move(f), tail});
        tail = {capture->graph->nodes.size() - 1};
        return;
    }
    {
        std::lock_guard<std::mutex> lock(mutex_);
        queue_.push_back(std::move(f));
    }
    work_.notify_one();
}

void Stream::drain() {
    std::unique_lock<std::mutex> lock(mutex_);
    empty_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

bool Stream::idle() {
    std::lock_guard<std::mutex> lock(mutex_);
    return queue_.empty() && !busy_;
}

namespace {

// order is one order in which a graph's nodes may run: as they were captured, or with a seed any other that its edges allow.
std::vector<size_t> order(const Graph& g, uint64_t random) {
    std::vector<size_t> missing(g.nodes.size()), ready, out;
    std::vector<std::vector<size_t>> before(g.nodes.size());
    for (size_t i = 0; i < g.nodes.size(); i++) {
        missing[i] = g.nodes[i].after.size();
        for (size_t a : g.nodes[i].after) before[a].push_back(i);
        if (!missing[i]) ready.push_back(i);
    }
    while (!ready.empty()) {
        const size_t pick =
            random ? mix(&random) % ready.size() : static_cast<size_t>(std::min_element(ready.begin(), ready.end()) - ready.begin());
        const size_t n = ready[pick];
        ready.erase(ready.begin() + static_cast<long>(pick));
        out.push_back(n);
        for (size_t b : before[n])
            if (!--missing[b]) ready.push_back(b);
    }
    return out;
}

// leads tells which nodes the given ones come after, themselves included.
std::vector<bool> ancestors(const Graph& g, const std::vector<size_t>& from) {
    std::vector<bool> seen(g.nodes.size());
    std::vector<size_t> open = from;
    while (!open.empty()) {
        const size_t n = open.back();
        open.pop_back();
        if (seen[n]) continue;
        seen[n] = true;
        open.insert(open.end(), g.nodes[n].after.begin(), g.nodes[n].after.end());
    }
    return seen;
}

void leaveCapture(Capture* c) {
    for (Stream* s : c->joined) {
        s->capture = nullptr;
        s->tail.clear();
    }
}

Stream* handle(void* s) { return currentContext()->stream(s); }

}  // namespace
}  // namespace emu

using namespace emu;

#define READY \
    if (const int r = ready()) return r

CU_API cuStreamCreate(void** out, unsigned) {
    READY;
    Context* c = currentContext();
    Stream* s = new Stream(c);
    std::lock_guard<std::mutex> lock(c->mutex);
    c->streams.push_back(s);
    *out = s;
    return kSuccess;
}

CU_API cuStreamCreateWithPriority(void** out, unsigned flags, int) { return cuStreamCreate(out, flags); }

CU_API cuStreamDestroy_v2(void* stream) {
    Stream* s = static_cast<Stream*>(stream);
    if (!s) return kInvalidHandle;
    s->drain();
    {
        std::lock_guard<std::mutex> lock(s->context->mutex);
        std::erase(s->context->streams, s);
    }
    delete s;
    return kSuccess;
}

CU_API cuStreamSynchronize(void* stream) {
    READY;
    Stream* s = handle(stream);
    if (s->capture) {
        s->capture->invalid = true;
        return kCaptureUnsupported;
    }
    s->drain();
    return ready();
}

CU_API cuStreamQuery(void* stream) {
    READY;
    Stream* s = handle(stream);
    if (s->capture) {
        s->capture->invalid = true;
        return kCaptureUnsupported;
    }
    return s->idle() ? ready() : kNotReady;
}

CU_API cuEventCreate(void** out, unsigned) {
    READY;
    *out = new Event;
    return kSuccess;
}

CU_API cuEventDestroy_v2(void* event) {
    delete static_cast<Event*>(event);
    return kSuccess;
}

CU_API cuEventRecord(void* event, void* stream) {
    READY;
    Event* e = static_cast<Event*>(event);
    Stream* s = handle(stream);
    if (s->capture) {
        e->capture = s->capture;
        e->tail = s->tail;
        return kSuccess;
    }
    uint64_t n;
    {
        std::lock_guard<std::mutex> lock(e->mutex);
        n = ++e->recorded;
        e->capture = nullptr;
    }
    s->enqueue([e, n] {
        std::lock_guard<std::mutex> lock(e->mutex);
        e->done = n;
        e->seconds = now();
        e->reached.notify_all();
    });
    return kSuccess;
}

CU_API cuStreamWaitEvent(void* stream, void* event, unsigned) {
    READY;
    Event* e = static_cast<Event*>(event);
    Stream* s = handle(stream);
    if (e->capture) {
        if (s->capture != e->capture) {
            if (s->capture || !s->idle()) return kCaptureUnsupported;
            s->capture = e->capture;
            s->capture->joined.push_back(s);
        }
        s->tail.insert(s->tail.end(), e->tail.begin(), e->tail.end());
        return kSuccess;
    }
    uint64_t n;
    {
        std::lock_guard<std::mutex> lock(e->mutex);
        n = e->recorded;
    }
    s->enqueue([e, n] {
        std::unique_lock<std::mutex> lock(e->mutex);
        e->reached.wait(lock, [&] { return e->done >= n; });
    });
    return kSuccess;
}

CU_API cuEventSynchronize(void* event) {
    READY;
    Event* e = static_cast<Event*>(event);
    std::unique_lock<std::mutex> lock(e->mutex);
    const uint64_t n = e->recorded;
    e->reached.wait(lock, [&] { return e->done >= n; });
    lock.unlock();
    return ready();
}

CU_API cuEventQuery(void* event) {
    READY;
    Event* e = static_cast<Event*>(event);
    std::lock_guard<std::mutex> lock(e->mutex);
    return e->done >= e->recorded ? kSuccess : kNotReady;
}

CU_API cuEventElapsedTime(float* ms, void* begin, void* end) {
    READY;
    Event *a = static_cast<Event*>(begin), *b = static_cast<Event*>(end);
    if (!a->done || !b->done) return kInvalidHandle;
    *ms = static_cast<float>((b->seconds - a->seconds) * 1e3);
    return kSuccess;
}

CU_API cuEventElapsedTime_v2(float* ms, void* begin, void* end) { return cuEventElapsedTime(ms, begin, end); }

CU_API cuLaunchHostFunc(void* stream, void (*f)(void*), void* data) {
    READY;
    handle(stream)->enqueue([=] { f(data); });
    return kSuccess;
}

CU_API cuStreamBeginCapture_v2(void* stream, int) {
    READY;
    if (!stream) return kCaptureUnsupported;
    Stream* s = static_cast<Stream*>(stream);
    if (s->capture) return kCaptureUnsupported;
    s->capture = new Capture{s, new Graph, {s}};
    return kSuccess;
}

CU_API cuStreamEndCapture(void* stream, void** graph) {
    READY;
    Stream* s = static_cast<Stream*>(stream);
    if (!s || !s->capture || s->capture->origin != s) return kCaptureUnmatched;
    std::unique_ptr<Capture> c(s->capture);
    std::unique_ptr<Graph> g(c->graph);
    const std::vector<bool> reached = ancestors(*g, s->tail);
    const bool joined = std::all_of(reached.begin(), reached.end(), [](bool r) { return r; });
    leaveCapture(c.get());
    *graph = nullptr;
    if (c->invalid) return kCaptureInvalidated;
    if (!joined) return kCaptureUnjoined;
    *graph = g.release();
    return kSuccess;
}

CU_API cuStreamIsCapturing(void* stream, int* status) {
    READY;
    *status = handle(stream)->capture != nullptr;
    return kSuccess;
}

CU_API cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long) {
    READY;
    *exec = new Graph(*static_cast<Graph*>(graph));
    return kSuccess;
}

CU_API cuGraphLaunch(void* exec, void* stream) {
    READY;
    static std::atomic<uint64_t> count{0};
    const uint64_t random = options().seed ? (options().seed * 0x2545f4914f6cdd1dull + ++count) | 1 : 0;
    const Graph* g = static_cast<Graph*>(exec);
    handle(stream)->enqueue([nodes = std::make_shared<Graph>(*g), random] {
        for (size_t i : order(*nodes, random)) nodes->nodes[i].run();
    });
    return kSuccess;
}

CU_API cuGraphGetNodes(void* graph, void**, size_t* count) {
    READY;
    *count = static_cast<Graph*>(graph)->nodes.size();
    return kSuccess;
}

CU_API cuGraphExecDestroy(void* exec) {
    delete static_cast<Graph*>(exec);
    return kSuccess;
}

CU_API cuGraphDestroy(void* graph) {
    delete static_cast<Graph*>(graph);
    return kSuccess;
}
