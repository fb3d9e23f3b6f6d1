// Copies of the weights that mix cells, as token_mix_sm90.cuh wants them, and their gradients as they are kept.
#include "common.cuh"

// Positions in a row of the copy of gate and up, and in a row of what gradients come from.
constexpr int ROW = 128, SUMMED = 112;

// What is in place i of each 32: 8 q + 2 j + e in place 8 j + 2 q + e.
DEVICE int in_place(int i) { return i / 32 * 32 + i / 2 % 4 * 8 + i / 8 % 4 * 2 + i % 2; }

// Copies of W_gate_up [2 inter, positions] as [2 inter, 128], 32 rows of gates, then the ups of the same columns, 0 beyond the
// positions; and of W_down [positions, inter].
KERNEL(copy_token_weights)(bf16 *gate_up, bf16 *down, const bf16 *w_gate_up, const bf16 *w_down, int positions, int inter) {
    wait_for_launch_before();
    const int i = thread_index(), padded = 2 * inter * ROW;
    if (i < padded) {
        const int place = i / ROW, position = i % ROW, column = in_place(place / 64 * 32 + place % 32);
        const int row = place % 64 < 32 ? column : inter + column;
        gate_up[i] = position < positions ? w_gate_up[row * positions + position] : bf16{0};
    } else if (i - padded < positions * inter) {
        const int at = i - padded;
        down[at] = w_down[at / inter * inter + in_place(at % inter)];
    }
}
EXPORT_KERNEL(copy_token_weights)

// dW_gate_up [2 inter, positions] of [2 inter, 112], and dW_down [positions, inter] of the first so many rows: they replace
// what is there, or are added to it.
KERNEL(write_token_gradients)(float *gate_up, float *down, const float *padded_gate_up, const float *padded_down, int positions,
                              int inter, int accumulate) {
    wait_for_launch_before();
    const int i = thread_index(), first = 2 * inter * positions;
    if (i >= first + positions * inter) return;
    float *const to = i < first ? gate_up + i : down + (i - first);
    const float value = i < first ? padded_gate_up[i / positions * SUMMED + i % positions] : padded_down[i - first];
    *to = accumulate ? *to + value : value;
}
EXPORT_KERNEL(write_token_gradients)
