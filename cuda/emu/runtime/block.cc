// One block: its CUDA threads as fibers, the order in which they run, barriers, warp collectives, and what is reported
// when they are used wrongly.
//
// A thread runs until it waits. Then the next runnable thread of its warp runs, or else another warp: the next one, or with a
// seed any. So a warp runs far ahead of the others between two barriers, and a barrier that is missing shows in the numbers.
#include "block.h"

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace emu {

thread_local const Place* place;

thread_local BlockRun* currentBlock;

namespace {

unsigned draw(BlockRun* b, unsigned below) {
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return static_cast<unsigned>(b->random >> 33) % below;
}

// lowest set bit above position `after`, else the lowest of all.
unsigned nextBit(unsigned bits, unsigned after) {
    const unsigned above = after < 31 ? bits & (~0u << (after + 1)) : 0;
    return static_cast<unsigned>(__builtin_ctz(above ? above : bits));
}

unsigned anyBit(BlockRun* b, unsigned bits) {
    for (unsigned k = draw(b, static_cast<unsigned>(__builtin_popcount(bits))); k > 0; k--) bits &= bits - 1;
    return static_cast<unsigned>(__builtin_ctz(bits));
}

}  // namespace

void wake(BlockRun* b, unsigned warp, unsigned lanes) {
    b->warps[warp].runnable |= lanes;
    b->warpsReady |= 1u << warp;
}

void pause(BlockRun* b, const Thread* t) {
    Warp& w = b->warps[t->warp];
    w.runnable &= ~(1u << t->place.lane);
    if (!w.runnable) b->warpsReady &= ~(1u << t->warp);
}

namespace {

// next is the thread that runs after t, null when none can.
Thread* next(BlockRun* b, const Thread* t) {
    unsigned warp = t->warp, lane = t->place.lane;
    if (!b->warps[warp].runnable) {
        if (!b->warpsReady) return nullptr;
        warp = b->random ? anyBit(b, b->warpsReady) : nextBit(b->warpsReady, warp);
        lane = 31;
    }
    return &b->threads[warp * kWarp + nextBit(b->warps[warp].runnable, lane)];
}

void threadMain();

Fiber* takeFiber(BlockRun* b) {
    if (b->idle.empty()) return newFiber(options().stack, threadMain);
    Fiber* f = b->idle.back();
    b->idle.pop_back();
    restart(f, threadMain);
    return f;
}

void collectDone(BlockRun* b) {
    if (b->done) b->idle.push_back(b->done);
    b->done = nullptr;
}

// run switches from the fiber of `from` to thread t.
void runThread(BlockRun* b, Fiber* from, Thread* t) {
    if (!t->fiber) t->fiber = takeFiber(b);
    b->running = t;
    place = &t->place;
    switchTo(from, t->fiber);
    collectDone(currentBlock);
}

// leave abandons the block: nothing in it runs any more. Fibers that stand somewhere in the kernel are reused as they are.
[[noreturn]] void leave(BlockRun* b) {
    Fiber* own = b->running->fiber;
    for (unsigned i = 0; i < b->count; i++) {
        Fiber*& f = b->threads[i].fiber;
        if (f && f != own) b->idle.push_back(f);
        f = nullptr;
    }
    b->done = own;
    switchTo(own, threadFiber());
    __builtin_unreachable();
}

std::string threadName(const Thread& t) {
    char s[96];
    snprintf(s, sizeof s, "thread (%u,%u,%u) of block (%u,%u,%u)", t.place.thread.x, t.place.thread.y, t.place.thread.z, t.place.block.x,
             t.place.block.y, t.place.block.z);
    return s;
}

[[noreturn]] void deadlock(BlockRun* b) {
    std::string waits;
    int shown = 0;
    for (unsigned i = 0; i < b->count && shown < 4; i++) {
        const Thread& t = b->threads[i];
        if (b->warps[t.warp].exited >> t.place.lane & 1) continue;
        char s[256];
        snprintf(s, sizeof s, "%sthread %u in %s (%s)", shown++ ? ", " : "", i, t.waits, sourceLine(t.site).c_str());
        waits += s;
    }
    fault(nullptr, "deadlock: %u threads wait for others that never come: %s", b->live, waits.c_str());
}

}  // namespace

void yield(BlockRun* b, Thread* t) {
    Thread* n = next(b, t);
    if (!n) deadlock(b);
    if (n == t) return;
    runThread(b, t->fiber, n);
    place = &t->place;
    b->running = t;
}

namespace {

// exited looks at what a thread leaves behind when it returns from the kernel.
void exited(BlockRun* b, Thread* t) {
    Warp& w = b->warps[t->warp];
    land(t, 0);
    landWrites(t, 0);
    pause(b, t);
    w.exited |= 1u << t->place.lane;
    b->live--;
    if (b->arrived && b->arrived == b->live)
        fault(b->barrierSite, "%u threads returned while the others wait in a block barrier", b->count - b->live);
    for (Slot& s : w.slots)
        if (s.arrived && s.mask & w.exited) fault(nullptr, "%s waits for lanes %08x, which have returned", s.what, s.mask & w.exited);
}

// threadMain is where every fiber begins. It runs threads one after another on its stack as long as they need no waiting.
void threadMain() {
    for (;;) {
        BlockRun* b = currentBlock;
        collectDone(b);
        b->launch->kernel->invoke(b->launch->params);
        Thread* t = b->running;
        exited(b, t);
        Fiber* own = t->fiber;
        t->fiber = nullptr;
        if (!b->live) {
            t->fiber = own;
            leftBehind(b);
            t->fiber = nullptr;
            b->done = own;
            switchTo(own, threadFiber());
            __builtin_unreachable();
        }
        Thread* n = next(b, t);
        if (!n) {
            t->fiber = own;
            deadlock(b);
        }
        b->running = n;
        place = &n->place;
        if (!n->fiber) {
            n->fiber = own;  // a fresh thread on the same stack: no switch at all
            continue;
        }
        b->done = own;
        switchTo(own, n->fiber);
        __builtin_unreachable();
    }
}

void setUp(BlockRun* b, const Launch& l, uint3 index) {
    static std::atomic<uint64_t> blocks{0};
    const dim3 size = l.block;
    b->launch = &l;
    b->count = b->live = size.x * size.y * size.z;
    b->arrived = b->warpsReady = 0;
    b->epoch = 0;
    b->behalf = nullptr;
    b->number = ++blocks;
    b->random = options().seed ? (options().seed + l.sequence * 0x9e3779b97f4a7c15ull + index.x * 31 + index.y * 17 + index.z) | 1 : 0;
    b->report.clear();
    b->fetches.clear();
    b->sleepers.clear();
    for (NamedBarrier& n : b->named) n = NamedBarrier{};
    for (NamedBarrier& n : b->warpgroups) n = NamedBarrier{};
    b->threads.resize(std::max<size_t>(b->threads.size(), b->count));
    b->warps.assign((b->count + kWarp - 1) / kWarp, Warp{});
    for (unsigned i = 0; i < b->count; i++) {
        Thread& t = b->threads[i];
        t.place = Place{{i % size.x, i / size.x % size.y, i / (size.x * size.y)}, index, size, l.grid, i % kWarp, t.place.dynamicShared};
        t.index = i;
        t.warp = i / kWarp;
        t.fiber = nullptr;
        t.operand = nullptr;
        t.groups.clear();
        t.open.clear();
        t.tensorGroups.clear();
        t.tensorOpen.clear();
        t.products.clear();
        t.productsOpen.clear();
        b->warps[t.warp].all |= 1u << t.place.lane;
    }
    for (unsigned w = 0; w < b->warps.size(); w++) wake(b, w, b->warps[w].all);
}

// dynamicShared is the block's dynamic shared memory, poisoned: nothing may count on what an earlier block left.
char* dynamicShared(size_t bytes) {
    static thread_local char* memory = static_cast<char*>(aligned_alloc(1024, (kMaxShared + 1023) / 1024 * 1024));
    memset(memory, 0xff, bytes);
    return memory;
}

}  // namespace

std::string runBlock(const Launch& l, uint3 index) {
    if (!currentBlock) currentBlock = new BlockRun;  // one an OS thread, as long as the process lives
    BlockRun* b = currentBlock;
    setUp(b, l, index);
    char* shared = dynamicShared(l.shared);
    for (unsigned i = 0; i < b->count; i++) b->threads[i].place.dynamicShared = shared;
    const unsigned warp = b->random ? anyBit(b, b->warpsReady) : 0;
    runThread(b, threadFiber(), &b->threads[warp * kWarp]);
    b->launch = nullptr;
    b->running = nullptr;
    return b->report;
}

void fault(const void* site, const char* format, ...) {
    char what[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    BlockRun* b = currentBlock;
    if (!b || !b->running) {
        fprintf(stderr, "cuda/emu: %s\n", what);
        abort();
    }
    b->report = std::string("kernel ") + b->launch->kernel->name + ", " + threadName(b->behalf ? *b->behalf : *b->running) + ": " + what;
    if (site) b->report += " (" + sourceLine(site) + ")";
    leave(b);
}

bool identity(Identity* out) {
    const BlockRun* b = currentBlock;
    if (!b || !b->running) return false;
    const Thread* t = b->behalf ? b->behalf : b->running;
    *out = {t->index, t->warp, b->epoch, b->warps[t->warp].epoch, b->number, b->launch->sequence};
    return true;
}

bool ownMemory(const void* address) {
    const BlockRun* b = currentBlock;
    const char* a = static_cast<const char*>(address);
    const char* accounts = reinterpret_cast<const char*>(b->threads.data());
    return onStack(b->running->fiber, address) || (a >= accounts && a < accounts + b->threads.size() * sizeof(Thread));
}

void dynamicRegion(uintptr_t* begin, size_t* size) {
    *begin = reinterpret_cast<uintptr_t>(currentBlock->running->place.dynamicShared);
    *size = currentBlock->launch->shared;
}

const void* callSite() { return currentBlock->running->site; }

const char* runningKernel() { return currentBlock && currentBlock->launch ? currentBlock->launch->kernel->name : nullptr; }

}  // namespace emu
