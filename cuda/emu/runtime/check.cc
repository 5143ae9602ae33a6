// Checks of every load and store of a kernel. The checked build compiles the kernels with -fsanitize=thread, bounds and alignment,
// which put calls in front of their accesses; here are our own functions behind those calls, not the sanitizers': they know what
// device memory, shared memory, blocks, barriers and warps are. Found are
//
//	out of bounds     outside of live device memory, behind the launch's dynamic shared memory, or an index past a shared array
//	misaligned        an address that is no multiple of the access's size: the hardware faults
//	race              two threads of one launch touch the same bytes, one of them writes, and no barrier lies between (or
//	                  they are of different blocks); atomics do not count
//
// Bytes are watched in pairs: elements of one byte next to each other would be taken for the same.
#include <link.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <map>
#include <mutex>
#include <vector>

#include "runtime.h"

namespace emu {

#ifndef EMU_CHECKED

void checkAccess(const void*, size_t, bool, const void*) {}

#else

namespace {

// Access is who touched a pair of bytes last, and when: launch, block and thread, and the barriers that had been passed.
struct Access {
    uint64_t who;  // launch 24 bits, block 30, thread 10; 0: nobody
    uint32_t blockEpoch, warpEpoch;
};

// Cell is what is remembered of a pair of bytes: its last write, and its last two readers that differ.
struct Cell {
    Access write, read[2];
};

uint64_t pack(const Identity& i) { return (i.launch & 0xffffff) << 40 | (i.block & 0x3fffffff) << 10 | i.thread; }

bool sameLaunch(uint64_t a, uint64_t b) { return (a ^ b) >> 40 == 0; }
bool sameBlock(uint64_t a, uint64_t b) { return (a ^ b) >> 10 == 0; }

// ordered tells whether a barrier lies between an earlier access and now.
bool ordered(const Access& then, const Identity& now) {
    if (!sameBlock(then.who, pack(now))) return false;
    if (then.blockEpoch != now.blockEpoch) return true;
    return (then.who & 1023) / kWarp == now.warp && then.warpEpoch != now.warpEpoch;
}

// conflicts tells whether an earlier access by another thread of the launch is not ordered before this one. Shared memory
// begins anew with every block.
bool conflicts(const Access& then, const Identity& now, bool shared) {
    const uint64_t me = pack(now);
    if (!then.who || then.who == me || !sameLaunch(then.who, me)) return false;
    if (shared && !sameBlock(then.who, me)) return false;
    return !ordered(then, now);
}

[[noreturn]] void race(const Access& other, const char* was, const char* is, const Identity& now, const void* address, bool shared,
                       const void* site) {
    const bool near = sameBlock(other.who, pack(now));
    fault(site, "race: %s of %s at %s, which thread %u of %s has %s with no barrier between", is,
          shared ? "shared memory" : "device memory",
          shared ? "the same place" : describeAddress(reinterpret_cast<uintptr_t>(address)).c_str(),
          static_cast<unsigned>(other.who & 1023), near ? "this block" : "another block", was);
}

void visit(Cell& c, const Identity& now, bool write, const void* address, bool shared, const void* site) {
    if (conflicts(c.write, now, shared)) race(c.write, "written", write ? "write" : "read", now, address, shared, site);
    const Access mine{pack(now), now.blockEpoch, now.warpEpoch};
    if (!write) {
        if (c.read[0].who != mine.who) c.read[1] = c.read[0];
        c.read[0] = mine;
        return;
    }
    for (const Access& r : c.read)
        if (conflicts(r, now, shared)) race(r, "read", "write", now, address, shared, site);
    c.write = mine;
}

// Shadow is the cells of one piece of memory; pages of it exist once they are touched.
struct Shadow {
    uintptr_t begin = 0, end = 0;
    Cell* cells = nullptr;
    Shadow() = default;
    Shadow(uintptr_t begin, uintptr_t end) : begin(begin), end(end) {
        const size_t bytes = ((end - begin) / 2 + 1) * sizeof(Cell);
        void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        cells = p == MAP_FAILED ? nullptr : static_cast<Cell*>(p);
    }
    bool holds(uintptr_t a) const { return a >= begin && a < end; }
};

// Device memory's cells are shared by blocks that run at the same time. With one thread of blocks (CAMBIUM_EMU_THREADS=1) there are
// none, and the locks are left out: what is found does not depend on it, because order is told by barriers and not by time.
struct Device {
    std::mutex mutex;
    std::map<uintptr_t, Shadow> shadows;
    std::mutex stripes[64];
};

Device& device() {
    static Device* d = new Device;
    return *d;
}

// shadowOf finds the cells of the live allocation that holds an address, or null. Kernels go through few allocations at a time: an OS
// thread remembers some, as long as none is freed.
const Shadow* shadowOf(uintptr_t a) {
    constexpr size_t kRemembered = 8;
    static thread_local Shadow known[kRemembered];
    static thread_local size_t next;
    static thread_local uint64_t seen;
    if (const uint64_t now = freed(); now != seen) {
        for (Shadow& s : known) s = Shadow();
        seen = now;
    }
    for (const Shadow& s : known)
        if (s.holds(a)) return &s;
    uintptr_t begin;
    size_t size;
    if (!findRegion(a, &begin, &size)) return nullptr;
    std::lock_guard<std::mutex> lock(device().mutex);
    Shadow& s = device().shadows[begin];
    if (!s.cells) s = Shadow(begin, begin + size);
    Shadow& remembered = known[next++ % kRemembered];
    remembered = s;
    return &remembered;
}

bool deviceAccess(uintptr_t a, size_t bytes, bool write, const Identity& now, const void* site) {
    const Shadow* s = shadowOf(a);
    if (!s || !s->cells || a + bytes > s->end) return false;
    static const bool alone = options().threads == 1;
    for (uintptr_t p = a & ~uintptr_t{1}; p < a + bytes; p += 2) {
        Cell& cell = s->cells[(p - s->begin) / 2];
        if (alone) {
            visit(cell, now, write, reinterpret_cast<void*>(p), false, site);
            continue;
        }
        // A fault leaves the fiber for good, so the lock is not held across it: the cell is judged on a copy.
        std::mutex& stripe = device().stripes[p / 64 % 64];
        Cell c;
        {
            std::lock_guard<std::mutex> lock(stripe);
            c = cell;
        }
        visit(c, now, write, reinterpret_cast<void*>(p), false, site);
        std::lock_guard<std::mutex> lock(stripe);
        cell = c;
    }
    return true;
}

// Range is addresses [begin, end).
struct Range {
    uintptr_t begin, end;
    bool holds(uintptr_t a, size_t bytes) const { return a >= begin && a + bytes <= end; }
};

// Module is where this library's static data and this OS thread's static shared memory lie.
struct Module {
    Range data{0, 0}, local{0, 0};
};

int findModule(dl_phdr_info* info, size_t, void* out) {
    const uintptr_t here = reinterpret_cast<uintptr_t>(&findModule);
    Module m;
    bool mine = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const auto& h = info->dlpi_phdr[i];
        const Range r{info->dlpi_addr + h.p_vaddr, info->dlpi_addr + h.p_vaddr + h.p_memsz};
        if (h.p_type == PT_LOAD) {
            mine = mine || r.holds(here, 1);
            m.data.begin = m.data.begin ? std::min(m.data.begin, r.begin) : r.begin;
            m.data.end = std::max(m.data.end, r.end);
        }
        if (h.p_type == PT_TLS && info->dlpi_tls_data) {
            m.local.begin = reinterpret_cast<uintptr_t>(info->dlpi_tls_data);
            m.local.end = m.local.begin + h.p_memsz;
        }
    }
    if (mine) *static_cast<Module*>(out) = m;
    return mine;
}

const Module& module() {
    static thread_local Module m = [] {
        Module found;
        dl_iterate_phdr(findModule, &found);
        return found;
    }();
    return m;
}

bool sharedAccess(uintptr_t a, size_t bytes, bool write, const Identity& now, const void* site) {
    static thread_local Shadow fixed(module().local.begin, module().local.end);
    static thread_local Shadow dynamic;
    uintptr_t begin;
    size_t size;
    dynamicRegion(&begin, &size);
    Shadow* s = &fixed;
    if (a >= begin && a < begin + kMaxShared) {
        if (a + bytes > begin + size)
            fault(site, "out of bounds: %s of %zu bytes at byte %zu of %zu bytes of dynamic shared memory", write ? "write" : "read", bytes,
                  static_cast<size_t>(a - begin), size);
        if (dynamic.begin != begin) dynamic = Shadow(begin, begin + kMaxShared);
        s = &dynamic;
    } else if (!module().local.holds(a, bytes)) {
        return false;
    }
    for (uintptr_t p = a & ~uintptr_t{1}; p < a + bytes; p += 2)
        visit(s->cells[(p - s->begin) / 2], now, write, reinterpret_cast<void*>(p), true, site);
    return true;
}

}  // namespace

void checkAccess(const void* address, size_t bytes, bool write, const void* site) {
    Identity now;
    if (!bytes || !identity(&now) || ownMemory(address)) return;
    const uintptr_t a = reinterpret_cast<uintptr_t>(address);
    if (sharedAccess(a, bytes, write, now, site) || deviceAccess(a, bytes, write, now, site)) return;
    if (!write && module().data.holds(a, bytes)) return;
    fault(site, "out of bounds: %s of %zu bytes at %s", write ? "write" : "read", bytes, describeAddress(a).c_str());
}

namespace {

void aligned(const void* address, size_t bytes, bool write, const void* site) {
    if (reinterpret_cast<uintptr_t>(address) % bytes && runningKernel() && !ownMemory(address))
        fault(site, "misaligned: %s of %zu bytes at %p", write ? "write" : "read", bytes, address);
    checkAccess(address, bytes, write, site);
}

}  // namespace

#define EMU_HOOK(n)                                                                                              \
    extern "C" void __tsan_read##n(void* p) { aligned(p, n, false, __builtin_return_address(0)); }               \
    extern "C" void __tsan_write##n(void* p) { aligned(p, n, true, __builtin_return_address(0)); }               \
    extern "C" void __tsan_unaligned_read##n(void* p) { checkAccess(p, n, false, __builtin_return_address(0)); } \
    extern "C" void __tsan_unaligned_write##n(void* p) { checkAccess(p, n, true, __builtin_return_address(0)); }
EMU_HOOK(1)
EMU_HOOK(2)
EMU_HOOK(4)
EMU_HOOK(8)
EMU_HOOK(16)

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_read_range(void* p, unsigned long n) { checkAccess(p, n, false, __builtin_return_address(0)); }
void __tsan_write_range(void* p, unsigned long n) { checkAccess(p, n, true, __builtin_return_address(0)); }
void __tsan_atomic_thread_fence(int) { std::atomic_thread_fence(std::memory_order_seq_cst); }
unsigned __tsan_atomic32_load(const volatile unsigned* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
unsigned long __tsan_atomic64_load(const volatile unsigned long* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
bool __tsan_atomic32_compare_exchange_strong(volatile unsigned* p, unsigned* old, unsigned now, int, int) {
    return __atomic_compare_exchange_n(p, old, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
bool __tsan_atomic64_compare_exchange_strong(volatile unsigned long* p, unsigned long* old, unsigned long now, int, int) {
    return __atomic_compare_exchange_n(p, old, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
bool __tsan_atomic32_compare_exchange_weak(volatile unsigned* p, unsigned* old, unsigned now, int a, int b) {
    return __tsan_atomic32_compare_exchange_strong(p, old, now, a, b);
}
bool __tsan_atomic64_compare_exchange_weak(volatile unsigned long* p, unsigned long* old, unsigned long now, int a, int b) {
    return __tsan_atomic64_compare_exchange_strong(p, old, now, a, b);
}
// What -fsanitize=bounds and -fsanitize=alignment call, in the form that does not come back.
void __ubsan_handle_out_of_bounds_abort(void*, void* index) {
    fault(__builtin_return_address(0), "out of bounds: index %ld past the end of an array",
          static_cast<long>(reinterpret_cast<intptr_t>(index)));
}
void __ubsan_handle_type_mismatch_v1_abort(void*, void* address) {
    fault(__builtin_return_address(0), "misaligned: an access to %p, which its type does not allow", address);
}
}

#endif  // EMU_CHECKED

}  // namespace emu
