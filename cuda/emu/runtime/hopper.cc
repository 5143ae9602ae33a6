// What sm_90a adds: barriers in shared memory that count arrivals and bytes, TMA, wgmma, named barriers. See hopper.h.
#include <algorithm>

#include "block.h"

namespace emu {

namespace {

// A barrier's word: arrivals of a phase (10 bits), those still to come (10), the phase's parity (1), bytes still to land (43, signed).
struct Phase {
    unsigned arrivals, pending, parity;
    int64_t bytes;
};
Phase unpack(uint64_t w) {
    return {static_cast<unsigned>(w & 1023), static_cast<unsigned>(w >> 10 & 1023), static_cast<unsigned>(w >> 20 & 1),
            static_cast<int64_t>(w) >> 21};
}
uint64_t pack(const Phase& p) {
    return p.arrivals | static_cast<uint64_t>(p.pending) << 10 | static_cast<uint64_t>(p.parity) << 20 |
           static_cast<uint64_t>(p.bytes) << 21;
}

const TensorMatrix& matrix(const void* map, const void* site) {
    const TensorMatrix* m = static_cast<const TensorMatrix*>(map);
    if (reinterpret_cast<uintptr_t>(map) % 64 || m->magic != kTensorMagic) fault(site, "%p is not a tensor map", map);
    return *m;
}

char* place128(char* tile, uint64_t row, uint64_t byte) { return tile + row * 128 + (((byte / 16) ^ (row & 7)) * 16) + byte % 16; }

void checkTile(const void* tile, const void* site) {
    if (reinterpret_cast<uintptr_t>(tile) % 1024) fault(site, "a tile at %p does not begin at a multiple of 1024 bytes", tile);
}

// transfer moves a box between the matrix and its tile; f handles an element inside of the matrix, and gets null for one outside. columns
// are those that count as inside: a GPU (H200) writes rows to the end of a piece of 16 bytes.
template <class F>
void transfer(const TensorMatrix& m, uint64_t columns, int x, int y, char* tile, F f) {
    for (uint64_t r = 0; r < m.boxRows; r++) {
        for (uint64_t c = 0; c < m.boxColumns; c++) {
            const int64_t row = y + static_cast<int64_t>(r), column = x + static_cast<int64_t>(c);
            const bool inside = row >= 0 && column >= 0 && row < static_cast<int64_t>(m.rows) && column < static_cast<int64_t>(columns);
            f(inside ? m.data + static_cast<uint64_t>(row) * m.stride + static_cast<uint64_t>(column) * m.element : nullptr,
              place128(tile, r, c * m.element), m.element);
        }
    }
}

// landFetches makes the copies happen that count at a barrier.
void landFetches(BlockRun* b, uint64_t* barrier) {
    Phase p = unpack(*barrier);
    std::vector<Fetch> rest;
    for (const Fetch& f : b->fetches) {
        if (f.barrier != barrier) {
            rest.push_back(f);
            continue;
        }
        const TensorMatrix& m = f.matrix;
        transfer(m, m.columns, f.x, f.y, static_cast<char*>(f.tile), [&](const char* from, char* to, uint64_t bytes) {
            if (from) {
                checkAccess(from, bytes, false, f.site);
                memcpy(to, from, bytes);
            } else {
                memset(to, 0, bytes);
            }
            b->behalf = f.by;
            checkAccess(to, bytes, true, f.site);
            b->behalf = nullptr;
        });
        p.bytes -= static_cast<int64_t>(m.boxRows * m.boxColumns * m.element);
    }
    b->fetches = std::move(rest);
    *barrier = pack(p);
}

// settle ends the phase when it can end: the bytes land as soon as somebody waits for them.
void settle(BlockRun* b, uint64_t* barrier) {
    const auto waits = [&](const Sleeper& s) { return s.barrier == barrier; };
    if (unpack(*barrier).pending) return;
    if (std::none_of(b->sleepers.begin(), b->sleepers.end(), waits)) return;
    landFetches(b, barrier);
    Phase p = unpack(*barrier);
    if (p.bytes) return;
    p.pending = p.arrivals;
    p.parity ^= 1;
    *barrier = pack(p);
    b->epoch++;
    for (const Sleeper& s : b->sleepers)
        if (waits(s)) wake(b, s.thread->warp, 1u << s.thread->place.lane);
    b->sleepers.erase(std::remove_if(b->sleepers.begin(), b->sleepers.end(), waits), b->sleepers.end());
}

}  // namespace

void barrierInit(uint64_t* barrier, int arrivals) {
    *barrier = pack({static_cast<unsigned>(arrivals), static_cast<unsigned>(arrivals), 0, 0});
}

void barrierArrive(uint64_t* barrier, int64_t expected) {
    Phase p = unpack(*barrier);
    if (!p.pending) {  // nobody waits yet for a phase that could have ended
        BlockRun* b = currentBlock;
        landFetches(b, barrier);
        p = unpack(*barrier);
        if (p.bytes) fault(__builtin_return_address(0), "one arrival more at a barrier than the %u of its phase", p.arrivals);
        p.pending = p.arrivals;
        p.parity ^= 1;
        b->epoch++;
    }
    p.pending--;
    p.bytes += expected;
    *barrier = pack(p);
    settle(currentBlock, barrier);
}

void barrierWait(uint64_t* barrier, int parity) {
    BlockRun* b = currentBlock;
    Thread* t = b->running;
    t->site = __builtin_return_address(0);
    t->waits = "a barrier in shared memory";
    for (;;) {
        if (static_cast<int>(unpack(*barrier).parity) != parity) return;
        b->sleepers.push_back({t, barrier});
        pause(b, t);
        settle(b, barrier);
        if (static_cast<int>(unpack(*barrier).parity) != parity) {
            if (b->random) yield(b, t);
            return;
        }
        yield(b, t);
    }
}

void tensorFetch(void* tile, const void* map, int x, int y, uint64_t* barrier) {
    const void* site = __builtin_return_address(0);
    checkTile(tile, site);
    const TensorMatrix& m = matrix(map, site);
    for (uint64_t r = 0; r < m.boxRows; r++)  // it may land at once: nobody reads the tile any more
        for (uint64_t c = 0; c < m.boxColumns * m.element; c += 16) checkAccess(place128(static_cast<char*>(tile), r, c), 16, true, site);
    currentBlock->fetches.push_back({tile, m, x, y, barrier, site, currentBlock->running});
    settle(currentBlock, barrier);
}

void tensorWrite(const void* map, int x, int y, const void* tile, TensorWrite how) {
    const void* site = __builtin_return_address(0);
    checkTile(tile, site);
    currentBlock->running->tensorOpen.push_back({tile, matrix(map, site), x, y, how == kTensorAdd, site});
}

void tensorCommit() {
    Thread* t = currentBlock->running;
    t->tensorGroups.push_back(std::move(t->tensorOpen));
    t->tensorOpen.clear();
}

void landWrites(Thread* t, size_t pending) {
    while (t->tensorGroups.size() > pending) {
        for (const TensorCopy& w : t->tensorGroups.front()) {
            const TensorMatrix& m = w.matrix;
            transfer(m, (m.columns * m.element + 15) / 16 * 16 / m.element, w.x, w.y, static_cast<char*>(const_cast<void*>(w.tile)),
                     [&](char* to, const char* from, uint64_t bytes) {
                         if (!to) return;
                         checkAccess(from, bytes, false, w.site);
                         checkAccess(to, bytes, true, w.site);
                         if (w.add) {
                             float sum, more;
                             if (bytes != 4) fault(w.site, "tensorAdd of elements of %d bytes: fp32 only", static_cast<int>(bytes));
                             memcpy(&sum, to, 4);
                             memcpy(&more, from, 4);
                             sum += more;
                             memcpy(to, &sum, 4);
                         } else {
                             memcpy(to, from, bytes);
                         }
                     });
        }
        t->tensorGroups.erase(t->tensorGroups.begin());
    }
}

void tensorWait(size_t pending) { landWrites(currentBlock->running, pending); }

namespace {

// meet lets its threads go on once as many have come as the barrier is for.
void meet(NamedBarrier& n, int id, int threads, const char* what, const void* site) {
    BlockRun* b = currentBlock;
    Thread* t = b->running;
    t->site = site;
    t->waits = what;
    if (n.arrived && n.threads != threads) fault(site, "barrier %d of %d threads, where others are for %d", id, threads, n.threads);
    n.threads = threads;
    if (++n.arrived < threads) {
        n.waiting.push_back(t);
        pause(b, t);
        yield(b, t);
        return;
    }
    b->epoch++;
    for (const Thread* w : n.waiting) wake(b, w->warp, 1u << w->place.lane);
    n.waiting.clear();
    n.arrived = 0;
    if (b->random) yield(b, t);
}

// warpgroup lets the four warps of the calling thread's warpgroup go on together, as a product of theirs does.
void warpgroup(const char* what, const void* site) {
    BlockRun* b = currentBlock;
    const int number = static_cast<int>(b->running->index / 128);
    meet(b->warpgroups[number], number, 128, what, site);
}

}  // namespace

void groupBarrier(int id, int threads) { meet(currentBlock->named[id & 15], id, threads, "a named barrier", __builtin_return_address(0)); }

namespace {

float number(uint16_t bits, bool bf16) {
    if (bf16) return __uint_as_float(static_cast<unsigned>(bits) << 16);
    _Float16 v;
    memcpy(&v, &bits, 2);
    return static_cast<float>(v);
}

const char* swizzled(uint64_t address) { return reinterpret_cast<const char*>(address ^ (address >> 7 & 7) << 4); }

float element(uint64_t address, bool bf16) {
    uint16_t bits;
    memcpy(&bits, swizzled(address), 2);
    return number(bits, bf16);
}

uint64_t elementA(const Product& p, uint64_t row, uint64_t k) { return p.a + (p.alongA ? row * 128 + k * 2 : k * 128 + row * 2); }
uint64_t elementB(const Product& p, uint64_t column, uint64_t k) {
    return p.b + (p.alongB ? column * 128 + k * 2 : column / 64 * 8192 + k * 128 + column % 64 * 2);
}

// checkOperands looks at what the calling thread reads: its rows of A, and of B, which every thread reads as a whole, one element in 128.
void checkOperands(const Thread* t, const Product& p) {
    const unsigned first = t->place.thread.x % 128 / 32 * 16 + t->place.lane / 4;
    for (unsigned h = 0; h < 2 && p.a; h++)
        for (unsigned k = 0; k < 16; k++) checkAccess(swizzled(elementA(p, first + 8 * h, k)), 2, false, p.site);
    for (unsigned i = t->place.thread.x % 128; i < 32 * static_cast<unsigned>(p.size); i += 128)
        checkAccess(swizzled(elementB(p, i / 16, i % 16)), 2, false, p.site);
}

// operandA is rows 16 w + l / 4 and + 8 of A, for warp w of the warpgroup and lane l. In registers a row lies in four lanes, which give
// each other what they have.
void operandA(const Thread* t, const Product& p, float (&a)[2][16]) {
    const unsigned lane = t->place.lane, first = t->place.thread.x % 128 / 32 * 16 + lane / 4;
    for (unsigned h = 0; h < 2; h++) {
        for (unsigned k = 0; k < 16; k++) {
            const uint64_t row = first + 8 * h;
            if (p.a) {
                a[h][k] = element(elementA(p, row, k), p.bf16);
                continue;
            }
            const Thread& owner = currentBlock->threads[t->index - lane % 4 + k % 8 / 2];
            const uint32_t pair = owner.sharing[h + k / 8 * 2];
            a[h][k] = number(static_cast<uint16_t>(k % 2 ? pair >> 16 : pair), p.bf16);
        }
    }
}

// compute is the calling thread's share: those rows, columns 8 j + 2 (l mod 4) and + 1.
void compute(const Thread* t, const Product& p) {
    float a[2][16];
    checkOperands(t, p);
    operandA(t, p, a);
    for (unsigned j = 0; j < static_cast<unsigned>(p.size) / 4; j++) {
        for (unsigned e = 0; e < 2; e++) {
            const uint64_t column = 8 * j + t->place.lane % 4 * 2 + e;
            float sum[2] = {0, 0};
            for (unsigned k = 0; k < 16; k++) {
                const float b = element(elementB(p, column, k), p.bf16);
                sum[0] += a[0][k] * b;
                sum[1] += a[1][k] * b;
            }
            for (unsigned h = 0; h < 2; h++) {
                float& d = p.d[4 * j + 2 * h + e];
                d = p.accumulate ? d + sum[h] : sum[h];
            }
        }
    }
}

}  // namespace

void productStart(const Product& p) {
    Thread* t = currentBlock->running;
    t->productsOpen.push_back(p);
    t->productsOpen.back().site = __builtin_return_address(0);
}

void productCommit() {
    Thread* t = currentBlock->running;
    warpgroup("wgmma", __builtin_return_address(0));
    t->products.push_back(std::move(t->productsOpen));
    t->productsOpen.clear();
}

// productWait: a product is the warpgroup's as a whole, and so is its end.
void productWait(size_t pending) {
    Thread* t = currentBlock->running;
    while (t->products.size() > pending) {
        for (const Product& p : t->products.front()) {
            if (!p.a) {  // rows of A lie in other lanes' registers too
                std::copy(p.registers, p.registers + 4, t->sharing);
                warpCollective(~0u, nullptr, nullptr, "wgmma with registers");
            }
            compute(t, p);
            if (!p.a) warpCollective(~0u, nullptr, nullptr, "wgmma with registers");
        }
        t->products.erase(t->products.begin());
    }
    warpgroup("wgmma's wait", __builtin_return_address(0));
}

void leftBehind(BlockRun* b) {
    if (!b->fetches.empty()) fault(b->fetches[0].site, "the block ended before a tensor copy that nobody waited for");
}

}  // namespace emu
