// What a thread has of a tile's result, and where it belongs; gemm_sm90.cu says more.
#pragma once

#include "gemm_sm90.cuh"

// The 8 columns that a lane holds of quarter c in row + 8 e, times `scale`, rounded.
template <int COUNT> DEVICE uint4 pack_8(const float (&sum)[COUNT], int e, int c, float scale = 1.0f) {
    const float *s = sum + 16 * c + 2 * e;
    return {bf16_pair(s[0] * scale, s[1] * scale), bf16_pair(s[4] * scale, s[5] * scale),
            bf16_pair(s[8] * scale, s[9] * scale), bf16_pair(s[12] * scale, s[13] * scale)};
}

// The same values, one by one: step(value, of) with the element `of` the eight that is in its place.
template <int COUNT, class Step> DEVICE void each_of_8(float (&sum)[COUNT], int e, int c, const uint4 &eight, Step step) {
    float *s = sum + 16 * c + 2 * e;
    step(s[0], first_of(eight.x)), step(s[1], second_of(eight.x));
    step(s[4], first_of(eight.y)), step(s[5], second_of(eight.y));
    step(s[8], first_of(eight.z)), step(s[9], second_of(eight.z));
    step(s[12], first_of(eight.w)), step(s[13], second_of(eight.w));
}

// What epilogues read and write.
struct Results {
    bf16 *y;               // [N, columns].
    bf16 *gate_up;         // [N, 2 columns], or null. The vjp reads it, and writes its cotangent there.
    const bf16 *residual;  // [N, columns].
    float *rstd;           // [N].
    float eps;
    const float *cos = nullptr, *sin = nullptr;  // [positions, 32].
    int positions = 1;                           // Of a sequence: row r is at position r % positions.
    // [N, columns], or null: sum = y + addend, and y may be null.
    bf16 *sum = nullptr;
    const bf16 *addend = nullptr;
};

// The place of a thread: its rows are row and row + 8, its columns column + 32 c and the 7 after it.
struct Place {
    int warpgroup, warp, lane;
    int row;
    long long column, columns;  // Of so many in a row of the result.

    template <class P> DEVICE Place(const P &p, int warpgroup, int group, int begin) : warpgroup(warpgroup) {
        constexpr int WIDTH = P::GATED ? P::COLS / 2 : P::COLS;
        warp = threadIdx.x % WARPGROUP / LANES, lane = lane_index();
        row = begin + (P::RESIDENT ? 0 : warpgroup * P::ROWS) + 16 * warp + lane / 4;
        column = p.column(group) * WIDTH + lane % 4 * 8;
        columns = (long long)(P::NORM ? 1 : p.shape.groups) * P::BLOCKS * WIDTH;
    }
};
