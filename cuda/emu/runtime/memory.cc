// Device memory: allocations between guard zones, poisoned when they are made and when they are given back.
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <map>
#include <mutex>

#include "runtime.h"

namespace emu {

namespace {

// kGuard bytes around an allocation belong to nobody, so that a small overrun is never inside a neighbour.
constexpr size_t kGuard = 4096;

struct Allocation {
    size_t size, mapped;
    int device;
    bool live;
};

// Memory is address space: it is never used again for another allocation while the process lives, so that a use after free is
// told from a use.
struct Memory {
    std::mutex mutex;
    std::map<uintptr_t, Allocation> all;
    std::map<int, size_t> used;
};

Memory& memory() {
    static Memory* m = new Memory;
    return *m;
}

std::atomic<uint64_t> frees{0};

// nearest is the last allocation that begins at or before an address.
const Allocation* nearest(const Memory& m, uintptr_t address, uintptr_t* begin) {
    auto i = m.all.upper_bound(address);
    if (i == m.all.begin()) return nullptr;
    --i;
    *begin = i->first;
    return &i->second;
}

}  // namespace

bool deviceAlloc(int device, size_t bytes, uintptr_t* out) {
    Memory& m = memory();
    std::lock_guard<std::mutex> lock(m.mutex);
    if (bytes > options().memory - std::min(options().memory, m.used[device])) return false;
    const size_t mapped = (bytes + 4095) / 4096 * 4096 + 2 * kGuard;
    void* p = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return false;
    const uintptr_t begin = reinterpret_cast<uintptr_t>(p) + kGuard;
    memset(reinterpret_cast<void*>(begin), 0xff, bytes);
    m.all[begin] = {bytes, mapped, device, true};
    m.used[device] += bytes;
    *out = begin;
    return true;
}

uint64_t freed() { return frees.load(std::memory_order_acquire); }

bool deviceFree(uintptr_t address) {
    Memory& m = memory();
    std::lock_guard<std::mutex> lock(m.mutex);
    auto i = m.all.find(address);
    if (i == m.all.end() || !i->second.live) return false;
    frees.fetch_add(1, std::memory_order_release);
    i->second.live = false;
    m.used[i->second.device] -= i->second.size;
    // The pages go back; the addresses stay taken, and reading them faults no more than reading poison would.
    madvise(reinterpret_cast<void*>(address - kGuard), i->second.mapped, MADV_DONTNEED);
    return true;
}

bool inDevice(uintptr_t address, size_t bytes) {
    uintptr_t begin;
    size_t size;
    return findRegion(address, &begin, &size) && address + bytes <= begin + size;
}

bool findRegion(uintptr_t address, uintptr_t* begin, size_t* size) {
    Memory& m = memory();
    std::lock_guard<std::mutex> lock(m.mutex);
    const Allocation* a = nearest(m, address, begin);
    if (!a || !a->live || address >= *begin + a->size) return false;
    *size = a->size;
    return true;
}

size_t deviceUsed(int device) {
    Memory& m = memory();
    std::lock_guard<std::mutex> lock(m.mutex);
    return m.used[device];
}

std::string describeAddress(uintptr_t address) {
    Memory& m = memory();
    std::lock_guard<std::mutex> lock(m.mutex);
    uintptr_t begin = 0;
    const Allocation* a = nearest(m, address, &begin);
    char s[160];
    auto after = m.all.upper_bound(address);
    if (a && address < begin + a->mapped - kGuard) {
        const size_t at = address - begin;
        if (!a->live)
            snprintf(s, sizeof s, "byte %zu of an allocation of %zu bytes that was freed", at, a->size);
        else if (at < a->size)
            snprintf(s, sizeof s, "byte %zu of an allocation of %zu bytes", at, a->size);
        else
            snprintf(s, sizeof s, "%zu bytes behind the end of an allocation of %zu bytes", at - a->size, a->size);
        return s;
    }
    if (after != m.all.end() && after->first - address <= kGuard) {
        snprintf(s, sizeof s, "%zu bytes before an allocation of %zu bytes", static_cast<size_t>(after->first - address),
                 after->second.size);
        return s;
    }
    snprintf(s, sizeof s, "address %p, which is no device memory", reinterpret_cast<void*>(address));
    return s;
}

}  // namespace emu
