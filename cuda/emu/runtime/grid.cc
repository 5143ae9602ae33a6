// Grids: a fixed team of OS threads runs the blocks of one launch at a time. Options and source lines live here too.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "runtime.h"

namespace emu {

namespace {

const Kernel* kernels;

uint64_t number(const char* name, uint64_t otherwise) {
    const char* text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

Options fromEnvironment() {
    Options o;
    o.threads = static_cast<int>(std::max<uint64_t>(number("CAMBIUM_EMU_THREADS", o.threads), 1));
    o.seed = number("CAMBIUM_EMU_SEED", o.seed);
    o.devices = static_cast<int>(number("CAMBIUM_EMU_DEVICES", o.devices));
    o.memory = number("CAMBIUM_EMU_MEMORY", o.memory);
    o.driver = static_cast<int>(number("CAMBIUM_EMU_DRIVER", o.driver));
    const int sm = static_cast<int>(number("CAMBIUM_EMU_SM", o.major * 10 + o.minor));
    o.major = sm / 10;
    o.minor = sm % 10;
    const char* ran = getenv("CAMBIUM_EMU_RAN");
    if (ran && *ran) o.ran = ran;
    return o;
}

}  // namespace

const Options& options() {
    static const Options o = fromEnvironment();
    return o;
}

Kernel::Kernel(const char* name, void (*invoke)(void**), const uint32_t* sizes, int params)
    : name(name), invoke(invoke), sizes(sizes), params(params), next(kernels) {
    kernels = this;
}

const Kernel* findKernel(const char* name) {
    for (const Kernel* k = kernels; k; k = k->next)
        if (strcmp(k->name, name) == 0) return k;
    return nullptr;
}

// Grid is a launch whose blocks are being handed out.
struct Grid {
    const Launch& launch;
    uint64_t total;
    std::atomic<uint64_t> next{0};
    std::mutex mutex;
    std::string report;

    explicit Grid(const Launch& l) : launch(l), total(uint64_t{l.grid.x} * l.grid.y * l.grid.z) {}

    void work() {
        const dim3 g = launch.grid;
        for (uint64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < total;) {
            const uint3 index{static_cast<unsigned>(i % g.x), static_cast<unsigned>(i / g.x % g.y),
                              static_cast<unsigned>(i / (uint64_t{g.x} * g.y))};
            const std::string report_ = runBlock(launch, index);
            if (report_.empty()) continue;
            std::lock_guard<std::mutex> lock(mutex);
            if (report.empty()) report = report_;
            next.store(total);
            return;
        }
    }
};

namespace {

// Workers are C++ threads with all signals blocked: no handler of the program that loaded us ever runs on a fiber.
class Workers {
public:
    Workers() {
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        for (int i = 0; i < options().threads; i++) std::thread([this] { loop(); }).detach();
        pthread_sigmask(SIG_SETMASK, &old, nullptr);
    }
    void run(Grid* g) {
        std::lock_guard<std::mutex> one(launching_);
        std::unique_lock<std::mutex> lock(mutex_);
        grid_ = g;
        busy_ = options().threads;
        generation_++;
        begin_.notify_all();
        end_.wait(lock, [this] { return busy_ == 0; });
    }

private:
    void loop() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (uint64_t seen = 0;;) {
            begin_.wait(lock, [&] { return generation_ != seen; });
            seen = generation_;
            Grid* g = grid_;
            lock.unlock();
            g->work();
            lock.lock();
            if (--busy_ == 0) end_.notify_all();
        }
    }
    std::mutex launching_, mutex_;
    std::condition_variable begin_, end_;
    Grid* grid_ = nullptr;
    int busy_ = 0;
    uint64_t generation_ = 0;
};

}  // namespace

namespace {

// note appends a kernel's name to the list of those that ran, once a process; tests of several processes share the list.
void note(const Kernel* k) {
    static std::mutex mutex;
    static std::set<const Kernel*> known;
    std::lock_guard<std::mutex> lock(mutex);
    if (!known.insert(k).second) return;
    const std::string line = std::string(k->name) + "\n";
    const int fd = open(options().ran, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd < 0 || write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
        fprintf(stderr, "CUDA emulation: %s: %s\n", options().ran, strerror(errno));
    if (fd >= 0) close(fd);
}

}  // namespace

std::string run(const Launch& l) {
    static Workers* workers = new Workers;  // never destroyed: threads may be in it when the process ends
    Grid g(l);
    workers->run(&g);
    if (g.report.empty() && options().ran) note(l.kernel);
    return g.report;
}

// helper tells whether a place is in a header that all kernels share.
static bool helper(const std::string& line) {
    for (const char* file : {"device.h:", "device.cuh:", "hopper.h:", "hopper.cuh:"})
        if (line.rfind(file, 0) == 0) return true;
    return false;
}

// sourceLine asks addr2line (binutils, which every compiler brings): a report is rare, and need not be quick.
std::string sourceLine(const void* site) {
    static std::mutex mutex;
    static std::map<const void*, std::string> known;
    std::lock_guard<std::mutex> lock(mutex);
    std::string& line = known[site];
    if (!line.empty()) return line;
    Dl_info info;
    if (!site || !dladdr(site, &info)) return line = "unknown place";
    char text[512];
    const unsigned long offset = static_cast<unsigned long>(static_cast<const char*>(site) - static_cast<const char*>(info.dli_fbase)) - 1;
    snprintf(text, sizeof text, "addr2line -i -e '%s' 0x%lx 2>/dev/null", info.dli_fname, offset);
    std::string best;
    if (FILE* p = popen(text, "r")) {
        while (fgets(text, sizeof text, p)) {  // inlined places first: the innermost one outside the helpers of all kernels
            std::string s = text;
            while (!s.empty() && (s.back() == '\n' || s.back() == ' ')) s.pop_back();
            if (const size_t d = s.find(" (discriminator"); d != std::string::npos) s.resize(d);
            const size_t slash = s.rfind('/');
            if (slash != std::string::npos) s.erase(0, slash + 1);
            if (s.find("??") == std::string::npos && (best.empty() || helper(best))) best = s;
        }
        pclose(p);
    }
    if (best.empty()) {
        snprintf(text, sizeof text, "%s+0x%lx", info.dli_fname, offset);
        best = text;
    }
    return line = best;
}

}  // namespace emu
