/* The other end of libcuda.a's jumps: functions of the driver, found when they are first called. CAMBIUM_CUDA_DRIVER names another
 * library than libcuda.so.1. Without a driver, or for a function that it lacks, a call answers an error and does nothing else. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "symbols.h"

#define NAME(n) #n,
static const char* const names[] = {SYMBOLS(NAME)};

__attribute__((visibility("hidden"))) void* cambiumCudaFunctions[sizeof names / sizeof *names];

enum { NO_DEVICE = 100, NOT_FOUND = 500 };
static int noDriver(void) { return NO_DEVICE; }
static int notFound(void) { return NOT_FOUND; }

static void* library;
static char problem[1024];

static void open_(void) {
    const char* path = getenv("CAMBIUM_CUDA_DRIVER");
    library = dlopen(path && *path ? path : "libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (!library) snprintf(problem, sizeof problem, "%s", dlerror());
}

static void* find(const char* name) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_);
    return library ? dlsym(library, name) : NULL;
}

__attribute__((visibility("hidden"))) void* cambiumCudaResolve(unsigned i) {
    void* f = find(names[i]);
    if (!f) f = library ? (void*)notFound : (void*)noDriver;
    __atomic_store_n(&cambiumCudaFunctions[i], f, __ATOMIC_RELEASE);
    return f;
}

/* cuInit answers 0 whatever comes: packages that call it when the program starts must not end it on a machine without a
 * driver. cambiumCudaInit has the truth. */
static int initialized = -1;

int cambiumCudaInit(void) {
    int (*f)(unsigned) = (int (*)(unsigned))find("cuInit");
    if (initialized < 0) initialized = f ? f(0) : NO_DEVICE;
    return initialized;
}

int cuInit(unsigned flags) {
    (void)flags;
    cambiumCudaInit();
    return 0;
}

/* cambiumCudaProblem says why the driver's library could not be loaded; "" when it was. */
const char* cambiumCudaProblem(void) {
    find("cuInit");
    return problem;
}

/* cambiumCudaSymbol is any other function of the driver, NULL when it lacks it. */
void* cambiumCudaSymbol(const char* name) { return find(name); }
