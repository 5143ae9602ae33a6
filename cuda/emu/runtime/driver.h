// The CUDA driver API over the emulator: what the driver's files share. Types and numbers are those of cuda.h; nothing of
// NVIDIA's is needed to build it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "runtime.h"

#define CU_API extern "C" __attribute__((visibility("default"))) int

namespace emu {

// The results that we give, with cuda.h's numbers.
enum Result {
    kSuccess = 0,
    kInvalidValue = 1,
    kOutOfMemory = 2,
    kNotInitialized = 3,
    kNoDevice = 100,
    kInvalidDevice = 101,
    kInvalidImage = 200,
    kInvalidContext = 201,
    kUnsupportedVersion = 222,
    kInvalidHandle = 400,
    kNotFound = 500,
    kNotReady = 600,
    kLaunchFailed = 719,
    kNotSupported = 801,
    kCaptureUnsupported = 900,
    kCaptureInvalidated = 901,
    kCaptureUnmatched = 903,
    kCaptureUnjoined = 904,
};

// Node is one operation of a graph, after those that it depends on.
struct Node {
    std::function<void()> run;
    std::vector<size_t> after;
};
struct Graph {
    std::vector<Node> nodes;
};

// Capture is a graph in the making. Streams join it by waiting for events that were recorded in it.
struct Stream;
struct Capture {
    Stream* origin;
    Graph* graph;
    std::vector<Stream*> joined;
    bool invalid = false;
};

struct Context;

// Stream is a queue with a thread of its own: operations of different streams really run at the same time, and with a seed each one
// is held up for a random moment, so that a missing event shows.
struct Stream {
    explicit Stream(Context*);
    ~Stream();
    // enqueue runs f behind everything that was enqueued before, or adds it to the capture.
    void enqueue(std::function<void()> f);
    void drain();
    bool idle();

    Context* context;
    Capture* capture = nullptr;
    std::vector<size_t> tail;  // while capturing: the nodes that the next one comes after

private:
    void loop();
    std::mutex mutex_;
    std::condition_variable work_, empty_;
    std::deque<std::function<void()>> queue_;
    bool busy_ = false, ending_ = false;
    uint64_t random_;
    std::thread thread_;
};

// Event counts how often it was recorded and how often the recording was reached.
struct Event {
    std::mutex mutex;
    std::condition_variable reached;
    uint64_t recorded = 0, done = 0;
    double seconds = 0;
    Capture* capture = nullptr;  // the last record was in this one
    std::vector<size_t> tail;
};

// Context is a device's primary context. The first fault of a kernel stays: every later call answers kLaunchFailed.
struct Context {
    int device;
    std::mutex mutex;
    std::vector<Stream*> streams;
    std::unique_ptr<Stream> none;  // the null stream
    std::string report;
    bool failed = false;
    Stream* stream(void* handle);
    void fail(const std::string& report);
};

// currentContext of the calling thread, null when there is none.
Context*& currentContext();

// ready is what every call begins with: kSuccess, or why the call cannot be made now.
int ready();

}  // namespace emu
