// The parts of the emulator that kernels do not see.
#pragma once

#include "../device.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

#include <string>
#include <vector>

namespace emu {

// Options come from the environment, once, at cuInit.
struct Options {
    int threads = 2;    // CAMBIUM_EMU_THREADS: blocks that run at the same time
    uint64_t seed = 0;  // CAMBIUM_EMU_SEED: 0: fixed order; otherwise warps run in a random order and streams are delayed
    size_t stack = 64 << 10;
    int devices = 1;                  // CAMBIUM_EMU_DEVICES
    size_t memory = size_t{4} << 30;  // CAMBIUM_EMU_MEMORY: bytes a device
    int major = 8, minor = 0;         // CAMBIUM_EMU_SM: 80, 90, ...
    int driver = 13000;               // CAMBIUM_EMU_DRIVER: version
    const char* ran = nullptr;        // CAMBIUM_EMU_RAN: file to which names of kernels that ran are appended
};
const Options& options();

constexpr unsigned kMaxThreads = 1024, kWarp = 32, kMaxShared = 232448;  // sm_90's

// Launch is one grid.
struct Launch {
    const Kernel* kernel;
    dim3 grid, block;
    size_t shared;
    void** params;
    uint64_t sequence;  // number of the launch in this process: seeds its order of warps
};

// run executes a grid and returns when it is done: "" or what is wrong with the kernel, in one line that names kernel,
// block, thread and source line. The grid stops at its first fault.
std::string run(const Launch&);

const Kernel* findKernel(const char* name);

// fault ends the launch that the calling fiber belongs to. site is a code address, for the source line.
[[noreturn]] void fault(const void* site, const char* format, ...) __attribute__((format(printf, 2, 3)));

// callSite is where the calling fiber entered the collective operation that it is in.
const void* callSite();
// sourceLine is "file.cu:12" of a code address, or its module and offset where nobody can tell.
std::string sourceLine(const void* site);

// ---- one block (block.cc)

// runBlock runs one block of a launch on the calling OS thread. It returns "" or the fault.
std::string runBlock(const Launch&, uint3 index);

// Identity is what the access checks need to know of the running fiber.
struct Identity {
    unsigned thread;  // in the block
    unsigned warp;
    uint32_t blockEpoch;  // block barriers passed
    uint32_t warpEpoch;   // __syncwarp passed
    uint64_t block;       // number of the block in this process, for "the same block"
    uint64_t launch;
};
// identity of the running fiber; false outside of kernels.
bool identity(Identity*);
const char* runningKernel();
// ownMemory tells whether an address is the running fiber's stack or the emulator's account of its threads.
bool ownMemory(const void* address);
// dynamicRegion is the running block's dynamic shared memory.
void dynamicRegion(uintptr_t* begin, size_t* size);

// checkAccess is what instrumented kernels do before every load and store; it does nothing in the build without checks.
void checkAccess(const void* address, size_t bytes, bool write, const void* site);

// ---- fibers (fiber.cc)

struct Fiber;
// newFiber is a stack on which entry begins when it is switched to. entry never returns.
Fiber* newFiber(size_t stack, void (*entry)());
void restart(Fiber*, void (*entry)());  // as if it were new
Fiber* threadFiber();                   // of the OS thread itself
void switchTo(Fiber* from, Fiber* to);
bool onStack(const Fiber*, const void* address);

// ---- device memory (memory.cc)

// deviceAlloc makes poisoned memory; false when the device has no more.
bool deviceAlloc(int device, size_t bytes, uintptr_t* out);
bool deviceFree(uintptr_t address);
// freed counts allocations that were given back.
uint64_t freed();
// inDevice tells whether all of [address, address+bytes) is one live allocation's.
bool inDevice(uintptr_t address, size_t bytes);
// findRegion is the live allocation that holds an address.
bool findRegion(uintptr_t address, uintptr_t* begin, size_t* size);
size_t deviceUsed(int device);
// describeAddress says what lies at or next to an address.
std::string describeAddress(uintptr_t address);

}  // namespace emu
