// Contexts to switch between: by hand on x86-64, where a switch takes a few nanoseconds, by ucontext elsewhere.
#pragma once
#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

#if defined(__x86_64__)
extern "C" void hrm_emulator_switch(void** from, void* to);
#endif

// Memory that was a stack, or becomes one: what its frames were is forgotten.
inline void forget_frames(void* bottom, size_t size) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(bottom, size);
#else
    (void)bottom, (void)size;
#endif
}

struct Fiber {
#if defined(__x86_64__)
    void* stack_pointer = nullptr;
#else
    ucontext_t context;
#endif
    const void* stack = nullptr;
    size_t stack_size = 0;
    void* fake_stack = nullptr;

    // A fiber that will begin in `entry`, which never returns.
    void prepare(void* bottom, size_t size, void (*entry)()) {
        stack = bottom;
        stack_size = size;
        fake_stack = nullptr;
        forget_frames(bottom, size);
#if defined(__x86_64__)
        void** top = reinterpret_cast<void**>(static_cast<char*>(bottom) + size);
        *--top = nullptr;
        *--top = reinterpret_cast<void*>(entry);
        for (int i = 0; i < 6; i++) *--top = nullptr;
        stack_pointer = top;
#else
        getcontext(&context);
        context.uc_stack.ss_sp = bottom;
        context.uc_stack.ss_size = size;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
#endif
    }

    // Leaves this fiber for another; returns when somebody switches back.
    void leave_for(Fiber& other) {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_start_switch_fiber(&fake_stack, other.stack, other.stack_size);
#endif
#if defined(__x86_64__)
        hrm_emulator_switch(&stack_pointer, other.stack_pointer);
#else
        swapcontext(&context, &other.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
    }

    // To be called first in a fiber that `from` has switched to.
    static void entered(Fiber& from) {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(nullptr, &from.stack, &from.stack_size);
#else
        (void)from;
#endif
    }
};

}  // namespace emulator
