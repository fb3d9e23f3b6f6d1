// The switch by hand: what a function must keep goes to the old stack, and comes from the new.
#include "fiber.h"

#if defined(__x86_64__)
asm(R"(
    .text
    .globl hrm_emulator_switch
    .type hrm_emulator_switch, @function
hrm_emulator_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size hrm_emulator_switch, .-hrm_emulator_switch
)");
#endif
