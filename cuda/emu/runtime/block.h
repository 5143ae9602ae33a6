// A block that runs: what its scheduler (block.cc) and its barriers and collectives (barrier.cc) share.
#pragma once

#include "../hopper.h"
#include "runtime.h"

namespace emu {

// Slot is a warp collective that some lanes have entered. Lanes with different masks may be in different ones.
struct Slot {
    unsigned mask, arrived;
    WarpOp op;
    const char* what;
};

struct Warp {
    unsigned all, runnable, atBarrier, exited;
    uint32_t epoch;
    Slot slots[4];
};

struct Copy {
    char* to;
    const char* from;
    unsigned bytes, fill;  // fill: bytes to write, the rest beyond bytes is zero
    const void* site;      // of the call that started it
};

struct Thread;

// TensorCopy is a box on its way from shared memory, Fetch one to it; Sleeper is who waits for a barrier in shared memory.
struct TensorCopy {
    const void* tile;
    TensorMatrix matrix;
    int x, y;
    bool add;
    const void* site;
};
struct Fetch {
    void* tile;
    TensorMatrix matrix;
    int x, y;
    uint64_t* barrier;
    const void* site;
    const Thread* by;
};
struct Sleeper {
    Thread* thread;
    uint64_t* barrier;
};
struct NamedBarrier {
    int arrived, threads;
    std::vector<Thread*> waiting;
};

struct Thread {
    Place place;
    unsigned index, warp;
    Fiber* fiber;  // null until it runs for the first time
    void* operand;
    const char* waits;
    const void* site;
    std::vector<std::vector<Copy>> groups;  // committed asynchronous copies, oldest first
    std::vector<Copy> open;
    std::vector<std::vector<TensorCopy>> tensorGroups;
    std::vector<TensorCopy> tensorOpen;
    std::vector<std::vector<Product>> products;
    std::vector<Product> productsOpen;
    uint32_t sharing[4];  // registers of a product's A, for the other lanes
};

struct BlockRun {
    const Launch* launch = nullptr;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    unsigned count = 0, live = 0, arrived = 0;
    unsigned warpsReady = 0;  // warps with runnable lanes
    uint32_t epoch = 0;
    uint64_t number = 0, random = 0;
    const void* barrierSite = nullptr;
    int reducing = 0, reduced = 0;
    std::vector<Fiber*> idle;
    Thread* running = nullptr;
    const Thread* behalf = nullptr;  // whose accesses are checked, when they are not those of running
    Fiber* done = nullptr;           // of a thread that ended: idle once nobody stands on it
    std::string report;
    std::vector<Fetch> fetches;
    std::vector<Sleeper> sleepers;
    NamedBarrier named[16], warpgroups[kMaxThreads / 128];
};

// currentBlock is the block that the calling OS thread runs or ran last; null before its first.
extern thread_local BlockRun* currentBlock;

void wake(BlockRun*, unsigned warp, unsigned lanes);
void pause(BlockRun*, const Thread*);
// yield runs others until t may go on. When nobody can run it is a deadlock, which is a fault.
void yield(BlockRun*, Thread* t);
// land makes a thread's oldest groups of asynchronous copies happen until so many are left.
void land(Thread* t, size_t pending);
// landWrites does the same for its tensor stores; leftBehind looks at what a block that ends has in flight.
void landWrites(Thread* t, size_t pending);
void leftBehind(BlockRun* b);

}  // namespace emu
