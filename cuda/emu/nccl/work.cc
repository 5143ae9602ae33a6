// Groups of calls on a stream: every rank sends what the others need, a header ahead of it, and combines what it got.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>

#include "nccl.h"

namespace nccl {

namespace {

const char* kindName(uint32_t kind) {
    static const char* const names[] = {"nothing", "AllReduce", "ReduceScatter", "AllGather", "Broadcast", "Reduce", "Send or Recv"};
    return kind <= kMessage ? names[kind] : "unknown call";
}

std::string describe(const Header& h) {
    std::string s = std::string(kindName(h.kind)) + " of " + std::to_string(h.count) + " x " + typeName(h.type);
    if (h.op >= 0) s += h.op == kSum ? ", sum" : ", max";
    if (h.root >= 0) s += ", root " + std::to_string(h.root);
    return s;
}

bool same(const Header& a, const Header& b) {
    return a.kind == b.kind && a.type == b.type && a.op == b.op && a.root == b.root && a.count == b.count;
}

// Transfer is a header and the bytes behind it, on their way between two ranks.
struct Transfer {
    Header header;  // what is sent, or what is expected
    char* data;
    size_t bytes;
    Header got{};
    size_t at = 0;  // of header and data together
    bool checked = false;
    char* place(size_t* room) {
        if (at < sizeof(Header)) {
            *room = sizeof(Header) - at;
            return reinterpret_cast<char*>(&got) + at;
        }
        *room = bytes - (at - sizeof(Header));
        return data + (at - sizeof(Header));
    }
    bool over() const { return at == sizeof(Header) + bytes; }
};

// push and pull move what the ring takes and has; true when that was anything.
bool push(Ring& r, Transfer& t) {
    bool moved = false;
    while (!t.over()) {
        size_t room;
        const char* from = t.place(&room);
        const uint64_t w = r.written.load(std::memory_order_relaxed), free = kRing - (w - r.read.load(std::memory_order_acquire));
        const size_t n = std::min({room, static_cast<size_t>(free), kRing - static_cast<size_t>(w % kRing)});
        if (!n) break;
        memcpy(r.data + w % kRing, from, n);
        r.written.store(w + n, std::memory_order_release);
        t.at += n;
        moved = true;
    }
    return moved;
}

bool pull(Ring& r, Transfer& t, size_t limit) {
    bool moved = false;
    while (t.at < limit) {
        size_t room;
        char* to = t.place(&room);
        const uint64_t p = r.read.load(std::memory_order_relaxed), have = r.written.load(std::memory_order_acquire) - p;
        const size_t n = std::min({room, static_cast<size_t>(have), kRing - static_cast<size_t>(p % kRing)});
        if (!n) break;
        memcpy(to, r.data + p % kRing, n);
        r.read.store(p + n, std::memory_order_release);
        t.at += n;
        moved = true;
    }
    return moved;
}

// Lane is what goes between this rank and another one, in the order of the calls.
struct Lane {
    std::deque<Transfer> sends, recvs;
};

// Work is one group.
struct Work {
    std::vector<Call> calls;
    std::map<std::shared_ptr<Comm>, uint64_t> tickets;
    std::map<std::pair<Comm*, int>, Lane> lanes;
    std::vector<std::vector<char>> parts;                     // memory for what others send of call i, one after another
    std::vector<std::pair<const Call*, const Call*>> selves;  // messages of a rank to itself

    void plan();
    void run();
    void finish();
    bool move(Comm* c, int peer, Lane& lane);
    bool stopped(std::string* why);
};

void Work::plan() {
    parts.resize(calls.size());
    std::map<Comm*, std::deque<const Call*>> out, in;
    for (size_t i = 0; i < calls.size(); i++) {
        Call& c = calls[i];
        const int me = c.comm->rank, n = c.comm->size;
        const size_t bytes = c.bytes();
        if (c.header.kind == kMessage) {
            if (c.peer == me) {
                (c.sends ? out : in)[c.comm.get()].push_back(&c);
                continue;
            }
            Lane& lane = lanes[{c.comm.get(), c.peer}];
            (c.sends ? lane.sends : lane.recvs)
                .push_back({c.header, const_cast<char*>(static_cast<const char*>(c.sends ? c.send : c.recv)), bytes});
            continue;
        }
        const uint32_t k = c.header.kind;
        const bool sums = k == kAllReduce || k == kReduceScatter || (k == kReduce && c.header.root == me);
        if (sums) parts[i].resize(bytes * static_cast<size_t>(n));
        char* send = const_cast<char*>(static_cast<const char*>(c.send));
        for (int q = 0; q < n; q++) {
            if (q == me) continue;
            Lane& lane = lanes[{c.comm.get(), q}];
            size_t give = bytes, take = bytes;
            char *from = send, *to = static_cast<char*>(c.recv);
            if (k == kReduceScatter) from = send + bytes * static_cast<size_t>(q);
            if (k == kAllGather) to += bytes * static_cast<size_t>(q);
            if (sums) to = parts[i].data() + bytes * static_cast<size_t>(q);
            if ((k == kBroadcast && c.header.root != me) || (k == kReduce && c.header.root != q)) give = 0;
            if ((k == kBroadcast && c.header.root != q) || (k == kReduce && c.header.root != me)) take = 0;
            lane.sends.push_back({c.header, from, give});
            lane.recvs.push_back({c.header, to, take});
        }
    }
    for (auto& [comm, list] : out)
        for (size_t i = 0; i < list.size(); i++) selves.push_back({list[i], i < in[comm].size() ? in[comm][i] : nullptr});
}

bool Work::move(Comm* c, int peer, Lane& lane) {
    bool moved = false;
    while (!lane.sends.empty()) {
        Transfer& t = lane.sends.front();
        if (t.at == 0) t.got = t.header;
        moved |= push(c->to(peer), t);
        if (!t.over()) break;
        lane.sends.pop_front();
    }
    while (!lane.recvs.empty()) {
        Transfer& t = lane.recvs.front();
        if (!t.checked) {
            moved |= pull(c->from(peer), t, sizeof(Header));
            if (t.at < sizeof(Header)) break;
            if (!same(t.got, t.header)) {
                c->fail("mismatched calls: rank " + std::to_string(c->rank) + " has " + describe(t.header) + " where rank " +
                        std::to_string(peer) + " has " + describe(t.got));
                return false;
            }
            t.checked = true;
        }
        moved |= pull(c->from(peer), t, sizeof(Header) + t.bytes);
        if (!t.over()) break;
        lane.recvs.pop_front();
    }
    return moved;
}

// stopped tells that the group cannot end any more.
bool Work::stopped(std::string* why) {
    for (auto& [c, ticket] : tickets) {
        if (c->aborted) return true;
        if (c->broken()) {
            *why = c->why();
            return true;
        }
    }
    return false;
}

void Work::run() {
    std::string why;
    int idle = 0;
    auto rest = [&] {
        if (++idle < 20)
            sched_yield();
        else
            usleep(idle < 1000 ? 50 : 500);
    };
    bool stop = stopped(&why);
    for (auto& [c, ticket] : tickets)
        while (!c->myTurn(ticket)) {  // groups before it end, aborted or not
            rest();
        }
    for (bool over = false; !over && !(stop = stopped(&why));) {
        over = true;
        bool moved = false;
        for (auto& [key, lane] : lanes) {
            moved |= move(key.first, key.second, lane);
            over &= lane.sends.empty() && lane.recvs.empty();
        }
        if (moved)
            idle = 0;
        else if (!over)
            rest();
    }
    if (!stop) finish();
    for (auto& [c, ticket] : tickets) c->finish();
}

// finish combines what has come, after everything that others read has gone.
void Work::finish() {
    for (size_t i = 0; i < calls.size(); i++) {
        Call& c = calls[i];
        const size_t bytes = c.bytes(), me = static_cast<size_t>(c.comm->rank);
        const char* send = static_cast<const char*>(c.send);
        char* recv = static_cast<char*>(c.recv);
        if (c.header.kind == kMessage) continue;
        if (!parts[i].empty()) {
            std::vector<const void*> in;
            for (size_t q = 0; q < static_cast<size_t>(c.comm->size); q++) in.push_back(parts[i].data() + bytes * q);
            in[me] = c.header.kind == kReduceScatter ? send + bytes * me : send;
            reduce(c.header.type, c.header.op, in, recv, c.header.count);
        } else if (c.header.kind == kAllGather) {
            memmove(recv + bytes * me, send, bytes);
        } else if (c.header.kind == kBroadcast && c.header.root == c.comm->rank) {
            memmove(recv, send, bytes);
        }
    }
    for (auto& [out, in] : selves) memmove(in->recv, out->send, out->bytes());
}

void hostFunction(void* data) {
    const std::unique_ptr<Work> w(static_cast<Work*>(data));
    w->run();
}

}  // namespace

Result enqueue(std::vector<Call> calls, void* stream) {
    if (calls.empty()) return kSuccess;
    auto w = std::make_unique<Work>();
    w->calls = std::move(calls);
    w->plan();
    for (auto& [out, in] : w->selves)
        if (!in || !same(out->header, in->header))
            return say(kInvalidUsage, "a Send to the own rank has no Recv of the same size in its group");
    for (Call& c : w->calls)
        if (!w->tickets.count(c.comm)) w->tickets[c.comm] = c.comm->ticket();
    Work* raw = w.release();
    if (launchHost(stream, hostFunction, raw)) {
        raw->calls.clear();
        for (auto& [c, ticket] : raw->tickets) c->fail("the driver refused a host function");
        hostFunction(raw);
        return say(kUnhandledCuda, "the driver refused a host function");
    }
    return kSuccess;
}

}  // namespace nccl
