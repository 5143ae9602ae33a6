// What the stand-in's files share: the part of nccl.h that it has, with the same numbers, and communicators over shared memory.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace nccl {

enum Result {
    kSuccess = 0,
    kUnhandledCuda = 1,
    kSystem = 2,
    kInternal = 3,
    kInvalidArgument = 4,
    kInvalidUsage = 5,
};

enum Type { kInt8 = 0, kUint8 = 1, kInt32 = 2, kFloat16 = 6, kFloat32 = 7, kFloat64 = 8, kBfloat16 = 9 };
enum Reduction { kSum = 0, kMax = 2 };

// typeSize is 0 for a type that the stand-in lacks.
size_t typeSize(int type);
const char* typeName(int type);

// reduce does out = the combination over ranks, in rank order; 16-bit types in fp32, rounded once. out may be one of in.
void reduce(int type, int op, const std::vector<const void*>& in, void* out, size_t count);

enum Kind : uint32_t { kAllReduce = 1, kReduceScatter, kAllGather, kBroadcast, kReduce, kMessage };

// Header goes ahead of every piece of data: what its sender believes the call to be.
struct Header {
    uint32_t kind;
    int32_t type, op, root;
    uint64_t count;
};

constexpr int kMaxRanks = 64;
constexpr size_t kRing = 16 << 10;

// Ring carries bytes from one rank to another.
struct Ring {
    alignas(64) std::atomic<uint64_t> written;
    alignas(64) std::atomic<uint64_t> read;
    alignas(64) char data[kRing];
};

// Segment is the shared memory of a communicator; zeros at first. The rings follow it: from rank * size + to rank.
struct Segment {
    std::atomic<uint32_t> size;                // ranks, as the first one to come said
    std::atomic<uint32_t> arrivals;            // of all barriers
    std::atomic<uint32_t> taken[kMaxRanks];    // a rank has come
    int32_t device[kMaxRanks];                 // its GPU
    int32_t color[kMaxRanks], key[kMaxRanks];  // of a split
    std::atomic<uint32_t> broken;              // 1: a rank writes why, 2: it is written
    char why[512];
    Ring* rings() { return reinterpret_cast<Ring*>(this + 1); }
};

// Comm is one rank of a communicator. Groups of calls run in the order in which they were issued, whatever their streams.
class Comm {
public:
    // join makes rank of size in the segment called name; it waits for the other ranks.
    static Result join(const std::string& name, int size, int rank, std::shared_ptr<Comm>* out);
    Result split(int color, int key, std::shared_ptr<Comm>* out);
    ~Comm();

    Ring& from(int peer) { return segment_->rings()[peer * size + rank]; }
    Ring& to(int peer) { return segment_->rings()[rank * size + peer]; }

    // A ticket is a place in the order of groups; its turn comes when all before it are done.
    uint64_t ticket();
    bool myTurn(uint64_t ticket) { return done_.load() == ticket; }
    void finish() { done_.fetch_add(1); }
    bool idle() { return done_.load() == issued_.load(); }

    // fail makes all ranks give up with a text, as broken tells them.
    void fail(const std::string& why);
    bool broken() { return segment_->broken.load() == 2; }
    std::string why() { return segment_->why; }

    int size = 0, rank = 0, device = 0;
    std::atomic<bool> aborted{false};

private:
    void barrier();
    Segment* segment_ = nullptr;
    size_t bytes_ = 0;
    std::string name_;
    uint32_t barriers_ = 0, splits_ = 0;
    std::atomic<uint64_t> issued_{0}, done_{0};
};

// Call is one call of a group.
struct Call {
    std::shared_ptr<Comm> comm;
    Header header;
    const void* send;
    void* recv;
    int peer;    // of a message
    bool sends;  // a message's direction
    size_t bytes() const { return header.count * typeSize(header.type); }
};

// enqueue puts a group's calls on a stream of the driver: all are posted together and end together.
Result enqueue(std::vector<Call> calls, void* stream);

// say keeps the text for ncclGetLastError and returns the result.
Result say(Result r, const std::string& text);

// The driver's functions that the stand-in calls.
int currentDevice(int* device);
int launchHost(void* stream, void (*f)(void*), void* data);

}  // namespace nccl
