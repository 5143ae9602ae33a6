// Runs one test kernel through the emulated driver API and prints what came of it: "ok", "wrong: ..." or the emulator's report.
// With "bench" it times a few of them; with "streams" it looks at streams, events and graphs.
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#define DRIVER(name, ...) extern "C" int name(__VA_ARGS__)
typedef unsigned long long Pointer;
DRIVER(cuInit, unsigned);
DRIVER(cuDevicePrimaryCtxRetain, void**, int);
DRIVER(cuCtxSetCurrent, void*);
DRIVER(cuCtxSynchronize);
DRIVER(cuModuleLoadData, void**, const void*);
DRIVER(cuModuleGetFunction, void**, void*, const char*);
DRIVER(cuMemAlloc_v2, Pointer*, size_t);
DRIVER(cuMemFree_v2, Pointer);
DRIVER(cuMemcpyHtoD_v2, Pointer, const void*, size_t);
DRIVER(cuMemcpyDtoH_v2, void*, Pointer, size_t);
DRIVER(cuMemsetD32Async, Pointer, unsigned, size_t, void*);
DRIVER(cuLaunchKernel, void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
DRIVER(cuStreamCreate, void**, unsigned);
DRIVER(cuStreamSynchronize, void*);
DRIVER(cuStreamWaitEvent, void*, void*, unsigned);
DRIVER(cuEventCreate, void**, unsigned);
DRIVER(cuEventRecord, void*, void*);
DRIVER(cuStreamBeginCapture_v2, void*, int);
DRIVER(cuStreamEndCapture, void*, void**);
DRIVER(cuGraphInstantiateWithFlags, void**, void*, unsigned long long);
DRIVER(cuGraphLaunch, void*, void*);
DRIVER(cambiumEmuReport, char*, int);

static void* module;

static void check(int result, const char* what) {
    if (!result) return;
    char report[2048];
    if (cambiumEmuReport(report, sizeof report) > 0)
        printf("%s\n", report);
    else
        printf("error: %s: %d\n", what, result);
    exit(1);
}
#define CHECK(call) check(call, #call)

static void* function(const char* name) {
    void* f;
    CHECK(cuModuleGetFunction(&f, module, name));
    return f;
}

template <class... A>
static int launch(const char* name, unsigned grid, unsigned block, unsigned shared, void* stream, A... args) {
    void* p[] = {&args...};
    return cuLaunchKernel(function(name), grid, 1, 1, block, 1, 1, shared, stream, p, nullptr);
}

template <class T>
static Pointer upload(const std::vector<T>& v) {
    Pointer p;
    CHECK(cuMemAlloc_v2(&p, v.size() * sizeof(T)));
    CHECK(cuMemcpyHtoD_v2(p, v.data(), v.size() * sizeof(T)));
    return p;
}

template <class T>
static std::vector<T> download(Pointer p, size_t n) {
    std::vector<T> v(n);
    CHECK(cuCtxSynchronize());
    CHECK(cuMemcpyDtoH_v2(v.data(), p, n * sizeof(T)));
    return v;
}

static std::vector<float> numbers(size_t n) {
    std::vector<float> v(n);
    uint32_t x = 12345;
    for (float& f : v) {
        x = x * 1664525 + 1013904223;
        f = static_cast<float>(x >> 8) / (1 << 23) - 1;
    }
    return v;
}

static int wrong(const char* what, size_t at, double got, double want) {
    printf("wrong: %s[%zu] is %g, want %g\n", what, at, got, want);
    return 1;
}

static int add() {
    const size_t n = 100003;
    const auto a = numbers(n), b = numbers(2 * n);
    const Pointer pa = upload(a), pb = upload(b), pc = upload(std::vector<float>(n));
    CHECK(launch("add", 37, 256, 0, nullptr, pa, pb, pc, static_cast<int>(n)));
    const auto c = download<float>(pc, n);
    for (size_t i = 0; i < n; i++)
        if (c[i] != a[i] + b[i]) return wrong("c", i, c[i], a[i] + b[i]);
    return 0;
}

static int sums() {
    const int rows = 9, columns = 777;
    const auto x = numbers(rows * columns);
    const Pointer px = upload(x), py = upload(std::vector<float>(rows));
    CHECK(launch("row_sums", rows, 256, 0, nullptr, px, py, columns));
    const auto y = download<float>(py, rows);
    for (int r = 0; r < rows; r++) {
        double want = 0;
        for (int i = 0; i < columns; i++) want += x[r * columns + i];
        if (!(std::fabs(y[r] - want) < 1e-4)) return wrong("sum", r, y[r], want);
    }
    return 0;
}

static uint16_t half(float f, bool bf) {
    uint32_t u;
    memcpy(&u, &f, 4);
    if (bf) return static_cast<uint16_t>(u >> 16);
    const _Float16 h = static_cast<_Float16>(f);
    uint16_t v;
    memcpy(&v, &h, 2);
    return v;
}

static int tile(bool bf) {  // small integers: exact in both types
    std::vector<uint16_t> a(256), b(128);
    for (size_t i = 0; i < a.size(); i++) a[i] = half(static_cast<float>(static_cast<int>(i * 7 % 13) - 6), bf);
    for (size_t i = 0; i < b.size(); i++) b[i] = half(static_cast<float>(static_cast<int>(i * 5 % 11) - 5), bf);
    const Pointer pa = upload(a), pb = upload(b), pc = upload(std::vector<float>(128));
    CHECK(launch(bf ? "tile_bf16" : "tile_f16", 1, 32, 0, nullptr, pa, pb, pc));
    const auto c = download<float>(pc, 128);
    for (int r = 0; r < 16; r++) {
        for (int k = 0; k < 8; k++) {
            double want = 0;
            for (int i = 0; i < 16; i++)
                want += (static_cast<int>((r * 16 + i) * 7 % 13) - 6) * (static_cast<int>((k * 16 + i) * 5 % 11) - 5);
            if (c[r * 8 + k] != want) return wrong("c", static_cast<size_t>(r * 8 + k), c[r * 8 + k], want);
        }
    }
    return 0;
}

static int votes() {
    const Pointer p = upload(std::vector<int>(64));
    CHECK(launch("votes", 1, 64, 0, nullptr, p));
    const auto out = download<int>(p, 64);
    for (int t = 0; t < 64; t++) {
        const int up = t % 32 ? t - 1 : t, down = t % 8 < 4 ? t + 4 : t;
        const int want = 10 * 1000000 + up * 10000 + down * 100 + 22;
        if (out[static_cast<size_t>(t)] != want) return wrong("out", static_cast<size_t>(t), out[static_cast<size_t>(t)], want);
    }
    return 0;
}

static int counter() {
    const Pointer p = upload(std::vector<int>{0});
    CHECK(launch("counter", 40, 96, 0, nullptr, p));
    const int n = download<int>(p, 1)[0];
    return n == 40 * 96 ? 0 : wrong("n", 0, n, 40 * 96);
}

// Two streams pass a buffer on, eagerly and as a graph: right with the event, and with a seed wrong without it.
static int streams(bool graph, bool event) {
    const size_t n = 1 << 14;
    void *s, *t, *recorded, *back;
    CHECK(cuStreamCreate(&s, 1));
    CHECK(cuStreamCreate(&t, 1));
    CHECK(cuEventCreate(&recorded, 2));
    CHECK(cuEventCreate(&back, 2));
    const auto one = numbers(n);
    const Pointer a = upload(one), b = upload(std::vector<float>(n)), c = upload(std::vector<float>(n));
    const int rounds = 20;
    for (int r = 0; r < rounds; r++) {
        CHECK(cuMemsetD32Async(b, 0, n, s));
        CHECK(cuMemsetD32Async(c, 0, n, s));
        CHECK(cuStreamSynchronize(s));
        if (graph) CHECK(cuStreamBeginCapture_v2(s, 0));
        if (graph && !event) {  // joined, but by an event from before the work
            CHECK(cuEventRecord(recorded, s));
            CHECK(cuStreamWaitEvent(t, recorded, 0));
        }
        CHECK(launch("add", 8, 128, 0, s, a, a, b, static_cast<int>(n)));
        if (event) {
            CHECK(cuEventRecord(recorded, s));
            CHECK(cuStreamWaitEvent(t, recorded, 0));
        }
        CHECK(launch("add", 8, 128, 0, t, b, a, c, static_cast<int>(n)));
        CHECK(cuEventRecord(back, t));
        CHECK(cuStreamWaitEvent(s, back, 0));
        if (graph) {
            void *g, *exec;
            CHECK(cuStreamEndCapture(s, &g));
            CHECK(cuGraphInstantiateWithFlags(&exec, g, 0));
            CHECK(cuGraphLaunch(exec, s));
        }
        CHECK(cuStreamSynchronize(s));
        const auto out = download<float>(c, n);
        for (size_t i = 0; i < n; i++)
            if (out[i] != one[i] + one[i] + one[i]) return wrong("c", i, out[i], one[i] * 3);
    }
    return 0;
}

static int freed() {
    const Pointer x = upload(numbers(256)), y = upload(std::vector<float>(256));
    CHECK(cuMemFree_v2(x));
    CHECK(launch("add", 1, 256, 0, nullptr, x, y, y, 256));
    CHECK(cuCtxSynchronize());
    return 0;
}

// A kernel with a bug: if the emulator has nothing to say, the numbers must at least be wrong.
static int bug(const std::string& name) {
    const auto x = numbers(256);
    const Pointer px = upload(x), py = upload(std::vector<float>(256));
    const unsigned shared = name == "bug_dynamic_shared" ? 512 : name == "bug_uninitialised_shared" ? 1024 : 0;
    CHECK(launch(name.c_str(), name == "bug_blocks_race" ? 8 : 1, 256, shared, nullptr, px, py));
    const auto y = download<float>(py, 256);
    double sum = 0;
    for (float v : x) sum += v;
    for (size_t i = 0; i < 256; i++) {
        double want = x[255 - i];
        if (name == "bug_overwrite") want = sum;
        if (name == "bug_missing_syncwarp") want = x[i ^ 1];
        if (name == "bug_uninitialised_shared") want = x[i];
        if (!(std::fabs(y[i] - want) < 1e-3)) return wrong("y", i, y[i], want);
    }
    return 0;
}

static void bench(const char* what, double elements, int (*f)()) {
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        const auto t = std::chrono::steady_clock::now();
        f();
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count());
    }
    printf("%-10s %.3g elements/s\n", what, elements / best);
}

int main(int argc, char** argv) {
    const std::string name = argc > 1 ? argv[1] : "";
    void* context;
    CHECK(cuInit(0));
    CHECK(cuDevicePrimaryCtxRetain(&context, 0));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuModuleLoadData(&module, "kernels"));
    int bad = 1;
    if (name == "add")
        bad = add();
    else if (name == "sums")
        bad = sums();
    else if (name == "tile_bf16" || name == "tile_f16")
        bad = tile(name == "tile_bf16");
    else if (name == "votes")
        bad = votes();
    else if (name == "counter")
        bad = counter();
    else if (name == "streams")
        bad = streams(false, true);
    else if (name == "graph")
        bad = streams(true, true);
    else if (name == "bug_streams")
        bad = streams(false, false);
    else if (name == "bug_graph")
        bad = streams(true, false);
    else if (name == "bug_freed")
        bad = freed();
    else if (name == "bench")
        bench("add", 100003, add), bench("sums", 9 * 777, sums), bad = 0;
    else
        bad = bug(name);
    if (!bad) printf("ok\n");
    return bad;
}
