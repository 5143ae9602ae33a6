// Block barriers, warp collectives and asynchronous copies, and what is reported when they are used wrongly.
#include "block.h"

namespace emu {

namespace {

void release(BlockRun* b) {
    b->arrived = 0;
    b->reduced = b->reducing;
    b->epoch++;
    for (unsigned w = 0; w < b->warps.size(); w++) {
        if (const unsigned lanes = b->warps[w].atBarrier) {
            b->warps[w].atBarrier = 0;
            wake(b, w, lanes);
        }
    }
}

void complete(BlockRun* b, unsigned warp, Slot& s) {
    void* lanes[kWarp];
    for (unsigned i = 0; i < kWarp; i++) lanes[i] = s.arrived >> i & 1 ? b->threads[warp * kWarp + i].operand : nullptr;
    if (s.op)
        s.op(lanes, s.arrived);
    else
        b->warps[warp].epoch++;
    wake(b, warp, s.arrived);
    s.mask = s.arrived = 0;
}

// barrier is every kind of block barrier. All threads must come to the same one: the hardware promises nothing when they
// meet in different ones.
int barrier(int value, int op, const char* what, const void* site) {
    BlockRun* b = currentBlock;
    Thread* t = b->running;
    t->waits = what;
    t->site = site;
    if (!b->arrived) {
        b->barrierSite = site;
        b->reducing = op == kAnd;
    } else if (b->barrierSite != site && sourceLine(b->barrierSite) != sourceLine(site)) {
        fault(site, "divergent barrier: others of the block wait in %s", sourceLine(b->barrierSite).c_str());
    }
    switch (op) {
        case kOr: b->reducing |= value != 0; break;
        case kAnd: b->reducing &= value != 0; break;
        default: b->reducing += value != 0;
    }
    if (++b->arrived == b->live) {
        if (b->live != b->count) fault(site, "%u threads returned while the others wait in a block barrier", b->count - b->live);
        release(b);
        if (b->random) yield(b, t);
        return b->reduced;
    }
    b->warps[t->warp].atBarrier |= 1u << t->place.lane;
    pause(b, t);
    yield(b, t);
    return b->reduced;
}

}  // namespace

void fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

void blockBarrier(const char* what) { barrier(0, kOr, what, __builtin_return_address(0)); }
int blockReduce(int value, int op, const char* what) { return barrier(value, op, what, __builtin_return_address(0)); }

void warpCollective(unsigned mask, void* mine, WarpOp op, const char* what) {
    BlockRun* b = currentBlock;
    Thread* t = b->running;
    Warp& w = b->warps[t->warp];
    const unsigned bit = 1u << t->place.lane;
    t->site = __builtin_return_address(0);
    t->waits = what;
    t->operand = mine;
    mask &= w.all;
    if (!(mask & bit)) fault(t->site, "%s by lane %u, which its mask %08x does not name", what, t->place.lane, mask);
    if (mask & w.exited) fault(t->site, "%s names lanes %08x, which have returned", what, mask & w.exited);
    Slot* slot = nullptr;
    for (Slot& s : w.slots)
        if (s.arrived && s.mask == mask) slot = &s;
    if (!slot) {
        for (Slot& s : w.slots) {
            if (s.arrived & mask)
                fault(t->site, "%s with mask %08x while other lanes of it are in %s with mask %08x", what, mask, s.what, s.mask);
            if (!s.arrived && !slot) slot = &s;
        }
        if (!slot) fault(t->site, "more than 4 warp collectives with different masks at a time");
        *slot = {mask, 0, op, what};
    } else if (slot->op != op || (slot->what != what && strcmp(slot->what, what) != 0)) {
        fault(t->site, "%s while other lanes of the warp are in %s", what, slot->what);
    }
    slot->arrived |= bit;
    if (slot->arrived == mask) {
        complete(b, t->warp, *slot);
        return;
    }
    pause(b, t);
    yield(b, t);
}

// land makes a thread's oldest groups of copies happen until so many are left.
void land(Thread* t, size_t pending) {
    while (t->groups.size() > pending) {
        for (const Copy& c : t->groups.front()) {
            checkAccess(c.from, c.bytes, false, c.site);
            checkAccess(c.to, c.fill, true, c.site);
            memcpy(c.to, c.from, c.bytes);
            memset(c.to + c.bytes, 0, c.fill - c.bytes);
        }
        t->groups.erase(t->groups.begin());
    }
}

// An asynchronous copy lands when it is waited for, and not before: as late as the hardware may be.
void asyncCopy(void* shared, const void* global, unsigned bytes, unsigned fill) {
    const void* site = __builtin_return_address(0);
    if (reinterpret_cast<uintptr_t>(shared) % fill || reinterpret_cast<uintptr_t>(global) % fill)
        fault(site, "misaligned cp.async of %u bytes: shared %p, global %p", fill, shared, global);
    currentBlock->running->open.push_back({static_cast<char*>(shared), static_cast<const char*>(global), bytes, fill, site});
}

void asyncCommit() {
    Thread* t = currentBlock->running;
    t->groups.push_back(std::move(t->open));
    t->open.clear();
}

void asyncWait(int pending) { land(currentBlock->running, static_cast<size_t>(pending)); }

}  // namespace emu
