// Fibers: stacks that are switched between by hand. A switch saves what a function call must preserve, and no more; on
// other processors than x86-64 ucontext does it, some five times slower.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

#include "runtime.h"

#if !defined(__x86_64__)
#define EMU_UCONTEXT 1
#include <ucontext.h>
#endif

namespace emu {

struct Fiber {
    char* stack = nullptr;  // lowest usable address; null for an OS thread's own
    size_t size = 0;
#ifdef EMU_UCONTEXT
    ucontext_t context;
#else
    void* sp = nullptr;
#endif
};

#ifndef EMU_UCONTEXT
extern "C" void emuSwitch(void** save, void* to);
asm(R"(
.text
.p2align 4
.globl emuSwitch
.hidden emuSwitch
.type emuSwitch,@function
emuSwitch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emuSwitch, .-emuSwitch
)");
#endif

namespace {

// Stacks begin at different offsets, or all of them would meet in the same sets of the first-level cache.
size_t stagger() {
    static thread_local unsigned n;
    return n++ % 40 * 192;
}

}  // namespace

Fiber* threadFiber() {
    static thread_local Fiber own;
    return &own;
}

void restart(Fiber* f, void (*entry)()) {
#ifdef EMU_UCONTEXT
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = f->size;
    f->context.uc_link = nullptr;
    makecontext(&f->context, entry, 0);
#else
    void** sp = reinterpret_cast<void**>(f->stack + f->size - 64 - stagger());
    *--sp = nullptr;  // where entry would return to: it never does
    *--sp = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; i++) *--sp = nullptr;
    f->sp = sp;
#endif
}

// newFiber has a page without access below its stack, so that an overflow faults instead of spoiling a neighbour.
Fiber* newFiber(size_t stack, void (*entry)()) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* p = mmap(nullptr, stack + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    mprotect(p, page, PROT_NONE);
    Fiber* f = new Fiber;
    f->stack = static_cast<char*>(p) + page;
    f->size = stack;
    restart(f, entry);
    return f;
}

void switchTo(Fiber* from, Fiber* to) {
#ifdef EMU_UCONTEXT
    swapcontext(&from->context, &to->context);
#else
    emuSwitch(&from->sp, to->sp);
#endif
}

bool onStack(const Fiber* f, const void* address) {
    const char* a = static_cast<const char*>(address);
    return f->stack && a >= f->stack && a < f->stack + f->size;
}

}  // namespace emu
