// da = x W^T in bf16, and of it and of gate and up what swiglu_vjp makes, in place.
#pragma once

#include "gemm_sm90_tile.cuh"
#include "swiglu.cuh"

// Eight elements of each.
DEVICE void swiglu_vjp_8(uint4 &a, uint4 &gate, uint4 &up) {
    swiglu_vjp(a.x, gate.x, up.x), swiglu_vjp(a.y, gate.y, up.y);
    swiglu_vjp(a.z, gate.z, up.z), swiglu_vjp(a.w, gate.w, up.w);
}

// Gate and up of a warp's rows become their cotangents, and y the activation; `sum` is its cotangent.
//
// The tensor cores leave a lane 16 bytes in each 64 of a row, which memory is slow to give. So eight rows at a time the
// cotangent goes through shared memory, to lanes that have 16 bytes each of two whole rows of the tile. While two rows are
// worked on, what the next AHEAD times two need is on its way.
template <class P>
DEVICE void gated_vjp(const P &p, const Results &out, const float (&sum)[P::PARTS][P::VALUES], const Place &at) {
    constexpr int QUARTERS = P::COLS / 32, LANES_OF_ROW = P::COLS / 8, AT_ONCE = LANES / LANES_OF_ROW;
    constexpr int STEPS = 16 * P::PARTS / AT_ONCE, AHEAD = 5;
    // Rounded, as it would be in memory, it leaves half the registers to what is read.
    uint4 a[2 * P::PARTS][QUARTERS], gate[STEPS], up[STEPS];
#pragma unroll
    for (int i = 0; i < 2 * P::PARTS; i++) {
#pragma unroll
        for (int c = 0; c < QUARTERS; c++) a[i][c] = pack_8(sum[i / 2], i % 2, c);
    }
    uint4 *const turned = p.turned + (at.warpgroup * 4 + at.warp) * 8 * P::TURNED_ROW;
    uint4 *const in = turned + at.lane / 4 * P::TURNED_ROW + at.lane % 4;
    const uint4 *const from = turned + at.lane / LANES_OF_ROW * P::TURNED_ROW + at.lane % LANES_OF_ROW;
    // In units of 16 bytes: the width of y, and where the lane is in it.
    const u32 width = at.columns / 8, column = at.column / 8 - at.lane % 4 + at.lane % LANES_OF_ROW;
    const u32 rows = p.shape.rows;
    // The row that is read, and the one that is worked on.
    u32 ahead = at.row - at.lane / 4 + at.lane / LANES_OF_ROW, row = ahead;
    const auto next = [](u32 &row, int step) {
        row += (step + 1) * AT_ONCE % 16 == 0 ? 64 - 16 + AT_ONCE : AT_ONCE;
    };
    const auto read = [&](int step) {
        // A row that does not exist reads the last, for nothing.
        const uint4 *const gates = (const uint4 *)out.gate_up + (2 * width * min(ahead, rows - 1) + column);
        gate[step] = gates[0], up[step] = gates[width];
        next(ahead, step);
    };
    // Also ends the packing here: the compiler would put it off, and what is read would find no registers.
    if (uniform(row) >= rows) return;
#pragma unroll
    for (int step = 0; step < AHEAD; step++) read(step);
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        if (step * AT_ONCE % 8 == 0) {
            __syncwarp();
#pragma unroll
            for (int c = 0; c < QUARTERS; c++) in[4 * c] = a[step * AT_ONCE / 8][c];
            __syncwarp();
        }
        if (step + AHEAD < STEPS) read(step + AHEAD);
        if (row < rows) {
            uint4 own = from[step * AT_ONCE % 8 * P::TURNED_ROW];
            swiglu_vjp_8(own, gate[step], up[step]);
            ((uint4 *)out.y)[width * row + column] = own;
            uint4 *const gates = (uint4 *)out.gate_up + (2 * width * row + column);
            gates[0] = gate[step], gates[width] = up[step];
        }
        next(row, step);
    }
}
