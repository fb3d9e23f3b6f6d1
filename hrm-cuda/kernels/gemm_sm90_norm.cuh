// s = r + x W^T, rstd = 1 / sqrt(mean(s^2) + eps), y = s rstd, by row, and the sum y + b if asked for.
#pragma once

#include "gemm_sm90_tile.cuh"

// What a thread's rows meet, of a matrix as wide as the result: read ahead of its use.
template <class P> struct Beside {
    static constexpr int QUARTERS = P::COLS / 32;
    uint4 parts[2 * P::PARTS][QUARTERS];

    // A row that does not exist reads the last, for nothing.
    DEVICE void read(const P &p, const bf16 *matrix, const Place &at) {
#pragma unroll
        for (int i = 0; i < 2 * P::PARTS; i++) {
            const int r = min(at.row + 64 * (i / 2) + 8 * (i % 2), p.shape.rows - 1);
            const uint4 *const from = (const uint4 *)(matrix + r * at.columns + at.column);
#pragma unroll
            for (int c = 0; c < QUARTERS; c++) parts[i][c] = from[4 * c];
        }
    }

    // Sums that begin with it. They take the registers that it had.
    DEVICE void start(float (&sum)[P::PARTS][P::VALUES]) const {
#pragma unroll
        for (int i = 0; i < 2 * P::PARTS; i++) {
#pragma unroll
            for (int c = 0; c < QUARTERS; c++)
                each_of_8(sum[i / 2], i % 2, c, parts[i][c], [](float &s, float r) { s = r; });
        }
#pragma unroll
        for (int h = 0; h < P::PARTS; h++) wgmma_fence_operand(sum[h]);
        wgmma_fence();
    }
};

// Has the residual in the sums, if it is not there yet, and gives the sums of squares of the thread's rows in the block's
// columns.
template <class P>
DEVICE void add_and_square(float (&sum)[P::PARTS][P::VALUES], const Beside<P> &residual, float (&square)[P::PARTS][2]) {
#pragma unroll
    for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float own = 0.0f;
#pragma unroll
            for (int c = 0; c < P::COLS / 32; c++) {
                each_of_8(sum[h], e, c, residual.parts[2 * h + e][c], [&](float &s, float r) {
                    if (!P::STARTS_AT_RESIDUAL) s += r;
                    own += s * s;
                });
            }
            own += __shfl_xor_sync(0xffffffffu, own, 1);
            square[h][e] = own + __shfl_xor_sync(0xffffffffu, own, 2);
        }
    }
}

DEVICE uint4 add_8(const uint4 &a, const uint4 &b) {
    return {bf16_sum(a.x, b.x), bf16_sum(a.y, b.y), bf16_sum(a.z, b.z), bf16_sum(a.w, b.w)};
}

// The result of the warpgroup's nth tile; with PLUS, its sum with what is added to it, too.
template <class P, bool PLUS>
DEVICE void add_rms_norm(const P &p, const Results &out, float (&sum)[P::PARTS][P::VALUES], const Beside<P> &residual, int n,
                         const Place &at) {
    float rstd[P::PARTS][2];
    add_and_square<P>(sum, residual, rstd);
    // On its way while blocks exchange their sums.
    [[maybe_unused]] Beside<P> addend;
    if constexpr (PLUS) addend.read(p, out.addend, at);
    if constexpr (P::BLOCKS > 1) p.exchange(rstd, n, at.warpgroup, at.warp, at.lane);
#pragma unroll
    for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            rstd[h][e] = rsqrtf(rstd[h][e] * (1.0f / (P::BLOCKS * P::COLS)) + out.eps);
            const int r = at.row + 64 * h + 8 * e;
            if (p.rank == 0 && at.lane % 4 == 0 && r < p.shape.rows) out.rstd[r] = rstd[h][e];
        }
    }
#pragma unroll
    for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int r = at.row + 64 * h + 8 * e;
            if (r >= p.shape.rows) continue;
            const long long first = r * at.columns + at.column;
#pragma unroll
            for (int c = 0; c < P::COLS / 32; c++) {
                const uint4 y = pack_8(sum[h], e, c, rstd[h][e]);
                if (!PLUS || out.y) *(uint4 *)(out.y + first + 32 * c) = y;
                if constexpr (PLUS) *(uint4 *)(out.sum + first + 32 * c) = add_8(y, addend.parts[2 * h + e][c]);
            }
        }
    }
}
