// What happens to rows between ACT steps.
#include "common.cuh"

// z[b, s] = init where halted[b]: z [B, positions, hidden], one warp for each position.
template <class T>
DEVICE void reset_rows(T *z, const float *init, const int *halted, int rows, int positions, int hidden) {
    int row = warp_row();
    if (row >= rows || !halted[row / positions]) return;
    z += (u64)row * hidden;
    if (by_packs(hidden)) {
        for (int col = lane_index() * PACK<T>; col < hidden; col += LANES * PACK<T>) {
            float x[PACK<T>];
            load(x, init + col);
            store(z + col, x);
        }
    } else {
        for (int col = lane_index(); col < hidden; col += LANES) z[col] = from_float<T>(init[col]);
    }
}
KERNEL_FOR_EACH_TYPE(reset_rows, (T *z, const float *init, const int *halted, int rows, int positions, int hidden),
                     (z, init, halted, rows, positions, hidden))

// current[b] = incoming[b] where halted[b]: [B, cols].
KERNEL(replace_rows)(int *current, const int *incoming, const int *halted, int batch, int cols) {
    wait_for_launch_before();
    int b = thread_index() / cols;
    if (b < batch && halted[b]) current[thread_index()] = incoming[thread_index()];
}
EXPORT_KERNEL(replace_rows)

// Philox4x32-10, and its position for a row's exploration: the bits of hrm_core::rng and hrm_core::act.
DEVICE void philox(u32 (&counter)[4], u32 key0, u32 key1) {
    for (int round = 0; round < 10; round++) {
        u64 a = 0xD2511F53ull * counter[0], b = 0xCD9E8D57ull * counter[2];
        counter[0] = (u32)(b >> 32) ^ counter[1] ^ key0;
        counter[1] = (u32)b;
        counter[2] = (u32)(a >> 32) ^ counter[3] ^ key1;
        counter[3] = (u32)a;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}
constexpr u32 EXPLORATION_STREAM = 1;

// The least number of steps that a row must have done: 0, or with probability `exploration` one of 2..=max_steps.
DEVICE int min_steps(const StepScalars *scalars, u32 row, int max_steps, double exploration) {
    if (max_steps < 2) return 0;
    u32 words[4] = {(u32)scalars->step, (u32)(scalars->step >> 32), row, EXPLORATION_STREAM};
    philox(words, (u32)scalars->seed, (u32)(scalars->seed >> 32));
    double uniform = (words[0] >> 8) * (1.0 / (1 << 24));
    if (uniform >= exploration) return 0;
    return 2 + (int)((u64)words[1] * (u64)(max_steps - 1) >> 32);
}

// steps[b] = (halted[b] ? 0 : steps[b]) + 1; halted[b] = last step, or q_halt > q_continue unless b explores; where the value
// of going on is not learned, q_halt > 0.
KERNEL(advance)(const float *q, int *steps, int *halted, const StepScalars *scalars, int batch, int max_steps,
                int positive, double exploration) {
    wait_for_launch_before();
    int b = thread_index();
    if (b >= batch) return;
    int step = halted[b] ? 1 : steps[b] + 1;
    bool halts = step >= max_steps || q[2 * b] > (positive ? 0.0f : q[2 * b + 1]);
    steps[b] = step;
    halted[b] = halts && step >= min_steps(scalars, b, max_steps, exploration);
}
EXPORT_KERNEL(advance)
