// Communicators: ranks that meet in shared memory, of one process or several.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "nccl.h"

namespace nccl {

Result Comm::join(const std::string& name, int size, int rank, std::shared_ptr<Comm>* out) {
    if (size < 1 || size > kMaxRanks || rank < 0 || rank >= size)
        return say(kInvalidArgument, "rank " + std::to_string(rank) + " of " + std::to_string(size) + ": the stand-in has 1 to 64 ranks");
    auto c = std::make_shared<Comm>();
    c->size = size, c->rank = rank, c->name_ = name;
    if (currentDevice(&c->device)) return say(kUnhandledCuda, "no CUDA context is current");
    c->bytes_ = sizeof(Segment) + sizeof(Ring) * static_cast<size_t>(size) * static_cast<size_t>(size);
    const int fd = shm_open(name.c_str(), O_CREAT | O_RDWR, 0600);
    if (fd < 0) return say(kSystem, "shared memory " + name + ": " + strerror(errno));
    if (ftruncate(fd, static_cast<off_t>(c->bytes_))) {
        close(fd);
        return say(kSystem, "size of shared memory " + name + ": " + strerror(errno));
    }
    void* at = mmap(nullptr, c->bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED) return say(kSystem, "mapping shared memory " + name + ": " + strerror(errno));
    Segment* s = c->segment_ = static_cast<Segment*>(at);
    uint32_t expected = 0;
    if (!s->size.compare_exchange_strong(expected, static_cast<uint32_t>(size)) && expected != static_cast<uint32_t>(size))
        return say(kInvalidArgument, "ranks disagree about their number: " + std::to_string(size) + " and " + std::to_string(expected));
    if (s->taken[rank].exchange(1)) return say(kInvalidArgument, "rank " + std::to_string(rank) + " came twice");
    s->device[rank] = c->device;
    c->barrier();
    if (rank == 0) shm_unlink(name.c_str());
    for (int a = 0; a < size; a++)
        for (int b = a + 1; b < size; b++)
            if (s->device[a] == s->device[b])
                return say(kInvalidUsage, "Duplicate GPU detected : rank " + std::to_string(a) + " and rank " + std::to_string(b) +
                                              " both on CUDA device " + std::to_string(s->device[a]));
    *out = c;
    return kSuccess;
}

Comm::~Comm() {
    if (segment_) munmap(segment_, bytes_);
}

// barrier counts arrivals for ever: the k-th barrier is over when k times all have come.
void Comm::barrier() {
    const uint32_t all = ++barriers_ * static_cast<uint32_t>(size);
    segment_->arrivals.fetch_add(1);
    while (segment_->arrivals.load() < all && !aborted) usleep(100);
}

Result Comm::split(int color, int key, std::shared_ptr<Comm>* out) {
    segment_->color[rank] = color;
    segment_->key[rank] = key;
    barrier();
    std::vector<int> members;
    for (int q = 0; q < size; q++)
        if (segment_->color[q] == color) members.push_back(q);
    std::stable_sort(members.begin(), members.end(), [&](int a, int b) { return segment_->key[a] < segment_->key[b]; });
    const std::string name = name_ + "." + std::to_string(splits_++) + "." + std::to_string(color);
    barrier();  // nobody writes the table for the next split before all have read it
    if (aborted) return say(kSystem, "aborted");
    out->reset();
    if (color < 0) return kSuccess;
    const auto me = std::find(members.begin(), members.end(), rank) - members.begin();
    return join(name, static_cast<int>(members.size()), static_cast<int>(me), out);
}

uint64_t Comm::ticket() { return issued_.fetch_add(1); }

void Comm::fail(const std::string& why) {
    uint32_t expected = 0;
    if (!segment_->broken.compare_exchange_strong(expected, 1)) return;
    strncpy(segment_->why, why.c_str(), sizeof segment_->why - 1);
    segment_->broken.store(2);
    fprintf(stderr, "NCCL stand-in: %s\n", why.c_str());
}

}  // namespace nccl
