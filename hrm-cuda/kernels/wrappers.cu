// One kernel for each wrapper of mma.cuh, and for those of bf16 in common.cuh, and no arithmetic beside: a test works out what
// each must give. The emulator has its own meaning of the wrappers, so it is on a GPU that these say something about the inline
// assembly.
#include "mma.cuh"

// y [32, 4] words: each lane's four words of the matrices [4, 8, 8] of 16-bit elements in x.
DEVICE void wrapper_ldmatrix_of(u32 *y, const uint4 *x, bool transposed) {
    wait_for_launch_before();
    SHARED(uint4, rows, 32);
    rows[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    u32 fragment[4];
    if (transposed)
        ldmatrix_transposed(fragment, rows + threadIdx.x);
    else
        ldmatrix(fragment, rows + threadIdx.x);
    for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = fragment[i];
}
extern "C" __global__ void wrapper_ldmatrix(u32 *y, const uint4 *x) { wrapper_ldmatrix_of(y, x, false); }
EXPORT_KERNEL(wrapper_ldmatrix)
extern "C" __global__ void wrapper_ldmatrix_transposed(u32 *y, const uint4 *x) { wrapper_ldmatrix_of(y, x, true); }
EXPORT_KERNEL(wrapper_ldmatrix_transposed)

// d [16, 8] += a [16, 16] b [16, 8], all row-major, a and b in bf16.
extern "C" __global__ void wrapper_mma(float *d, const bf16 *a, const bf16 *b) {
    wait_for_launch_before();
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    u32 a_part[4], b_part[2];
    float d_part[4];
    for (int i = 0; i < 4; i++) {
        const bf16 *const at = a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
        a_part[i] = pair_of(at[0], at[1]);
        d_part[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    }
    for (int i = 0; i < 2; i++) {
        const bf16 *const at = b + (2 * t + i * 8) * 8 + g;
        b_part[i] = pair_of(at[0], at[8]);
    }
    mma(d_part, a_part, b_part[0], b_part[1]);
    for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d_part[i];
}
EXPORT_KERNEL(wrapper_mma)

// y [2, 32, 4] words = x [2, 32, 4], zero where the thread does not exist: in two groups, of which the second is under way
// when the first is read.
extern "C" __global__ void wrapper_copy(u32 *y, const uint4 *x, int exist) {
    wait_for_launch_before();
    SHARED(uint4, tile, 64);
    const int t = threadIdx.x;
    for (int i = 0; i < 2; i++) {
        copy_async(tile + 32 * i + t, x + 32 * i + t, t < exist);
        copy_commit();
    }
    const auto show = [&](int i) {
        // A neighbour's 16 bytes: the barrier counts, not the thread's own wait alone.
        const uint4 value = tile[32 * i + (t ^ 1)];
        ((uint4 *)y)[32 * i + (t ^ 1)] = value;
    };
    copy_wait<1>();
    __syncthreads();
    show(0);
    copy_wait<0>();
    __syncthreads();
    show(1);
}
EXPORT_KERNEL(wrapper_copy)

// y = 2^x.
extern "C" __global__ void wrapper_exp2(float *y, const float *x) {
    wait_for_launch_before();
    y[threadIdx.x] = exp2_fast(x[threadIdx.x]);
}
EXPORT_KERNEL(wrapper_exp2)

// y = 1 / x.
extern "C" __global__ void wrapper_reciprocal(float *y, const float *x) {
    wait_for_launch_before();
    y[threadIdx.x] = reciprocal_fast(x[threadIdx.x]);
}
EXPORT_KERNEL(wrapper_reciprocal)

// y [32, 2] words: x and its neighbour packed as a pair of bf16, and x alone.
extern "C" __global__ void wrapper_bf16(u32 *y, const float *x) {
    wait_for_launch_before();
    const int t = threadIdx.x;
    y[2 * t] = bf16_pair(x[t], x[t ^ 1]);
    y[2 * t + 1] = bf16_bits(x[t]);
}
EXPORT_KERNEL(wrapper_bf16)

// y [32, 2] words: the products and the sums of the pairs of bf16 in a and b.
extern "C" __global__ void wrapper_bf16_pairs(u32 *y, const u32 *a, const u32 *b) {
    wait_for_launch_before();
    const int t = threadIdx.x;
    y[2 * t] = bf16_product(a[t], b[t]);
    y[2 * t + 1] = bf16_sum(a[t], b[t]);
}
EXPORT_KERNEL(wrapper_bf16_pairs)
