// Tensor cores and asynchronous copies: the instructions, one wrapper each. This file, common.cuh and hopper.cuh hold all
// the inline assembly there is; for the CPU the emulator brings its own meaning of the names here.
//
// Fragments are those of the PTX manual for mma.m16n8k16: with g = lane / 4 and t = lane % 4, a lane of the accumulator
// holds rows g and g + 8, columns 2t and 2t + 1, in this order: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
#pragma once
#include "common.cuh"

constexpr float LOG2_E = 1.4426950408889634f;

// Two elements as an operand has them.
DEVICE u32 pair_of(bf16 low, bf16 high) { return (u32)low.bits | (u32)high.bits << 16; }

#ifdef HRM_EMULATOR
#include "tensor_cores.h"
#else

DEVICE u32 shared_address(const void *shared) { return (u32)__cvta_generic_to_shared(shared); }

// Four 8 x 8 matrices of 16-bit elements, whose rows of 16 bytes lie in shared memory: lanes 8m .. 8m + 7 give the
// addresses of the rows of matrix m. A lane gets elements 2t, 2t + 1 of row g of each.
DEVICE void ldmatrix(u32 (&fragment)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same of the transposed matrices: a lane gets elements g of rows 2t and 2t + 1.
DEVICE void ldmatrix_transposed(u32 (&fragment)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// D += A B: A [16, 16] and B [16, 8] in bf16, D [16, 8] in f32.
DEVICE void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Copies 16 bytes from global to shared memory, or 16 zero bytes if the source does not exist. Both aligned to 16.
DEVICE void copy_async(void *shared, const void *global, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(exists ? 16 : 0)
                 : "memory");
}

// Ends a group of copies; all but the last `groups_left` groups have landed, for this thread, after the wait.
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int groups_left> DEVICE void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(groups_left) : "memory");
}

// 2^x within 2 ulp, subnormal results as 0.
DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 1 / x within 1 ulp, subnormal operands and results as 0.
DEVICE float reciprocal_fast(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
