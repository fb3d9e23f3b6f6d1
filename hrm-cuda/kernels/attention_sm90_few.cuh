// A sequence's last rows where they are no more than 8, for which a tile of 64 would be too much: of 901 positions 5.
//
// All four warps of a warpgroup take the same few rows, each with a share of the rows that they meet, 16 at a time by mma, of
// which only the first 8 are looked at. In the end the four results, in shared memory, become one.
#pragma once
#include "attention_sm90.cuh"

constexpr int FEW_ROWS = 8;

// Whether the tile of rows from `begin` on is one of few.
DEVICE bool few(const Sequences &s, int begin) { return begin < s.positions && s.positions - begin <= FEW_ROWS; }

// A thread of the warpgroup. The compiler learns nothing of it that it would rather work out ahead of the main loop.
struct FewRows {
    int thread, lane, warp;
    DEVICE FewRows() : thread(fresh(threadIdx.x % WARPGROUP)) { lane = thread % LANES, warp = uniform(thread / LANES); }
    template <int STAGES> DEVICE Turn<STAGES> turn(Turn<STAGES> at) const {
        at.stage = fresh(at.stage), at.parity = fresh(at.parity);
        return at;
    }
};

// The 16 bytes of a tile's row `row` that hold its elements from 8 chunk on.
DEVICE const bf16 *chunk_of(const bf16 *tile, int row, int chunk) { return tile + row * DIM + (chunk ^ row % 8) * 8; }

// Operands of mma from such a tile: see load_a, load_b and load_b_transposed. `l` is the lane.
DEVICE void load_a_swizzled(u32 (&a)[4], const bf16 *tile, int row, int k, int l) {
    ldmatrix(a, chunk_of(tile, row + l % 16, k / 8 + l / 16));
}
DEVICE void load_b_swizzled(u32 (&b)[4], const bf16 *tile, int col, int k, int l) {
    ldmatrix(b, chunk_of(tile, col + l % 8 + l / 16 * 8, k / 8 + l / 8 % 2));
}
DEVICE void load_b_transposed_swizzled(u32 (&b)[4], const bf16 *tile, int k, int col, int l) {
    ldmatrix_transposed(b, chunk_of(tile, k + l % 16, col / 8 + l / 16));
}

// C += A B^T, A = own[0 .. 16, :], B = tile[row .. row + 16, :], C [16, 16] in two accumulators.
DEVICE void add_rows(float (&left)[4], float (&right)[4], const bf16 *own, const bf16 *tile, int row, int lane) {
#pragma unroll
    for (int k = 0; k < DIM; k += 16) {
        u32 a[4], b[4];
        load_a_swizzled(a, own, 0, k, lane);
        load_b_swizzled(b, tile, row, k, lane);
        mma(left, a, b[0], b[1]);
        mma(right, a, b[2], b[3]);
    }
}
// C += A B, A [16, 16], B = tile[row .. row + 16, :].
DEVICE void add_columns(float (&c)[DIM / 8][4], const u32 (&a)[4], const bf16 *tile, int row, int lane) {
#pragma unroll
    for (int n = 0; n < DIM / 16; n++) {
        u32 b[4];
        load_b_transposed_swizzled(b, tile, row, 16 * n, lane);
        mma(c[2 * n], a, b[0], b[1]);
        mma(c[2 * n + 1], a, b[2], b[3]);
    }
}
// The first 8 rows of accumulators [16, 16] as operand A, rounded to bf16; the others 0.
DEVICE void as_operand_8(u32 (&a)[4], const float (&left)[4], const float (&right)[4]) {
    a[0] = bf16_pair(left[0], left[1]), a[1] = 0, a[2] = bf16_pair(right[0], right[1]), a[3] = 0;
}
template <int COUNT> DEVICE void clear(float (&c)[COUNT][4]) {
#pragma unroll
    for (int n = 0; n < COUNT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) c[n][i] = 0.0f;
}
// Writes the first 8 rows of accumulators to `part` [8, DIM].
DEVICE void put(float *part, const float (&c)[DIM / 8][4], int lane) {
#pragma unroll
    for (int n = 0; n < DIM / 8; n++) *(float2 *)(part + lane / 4 * DIM + 8 * n + lane % 4 * 2) = {c[n][0], c[n][1]};
}

// The forward kernel's: o and lse of the queries from row `begin` on. Each warp has the keys of its quarter of a stage.
template <class M, int STAGES>
DEVICE void few_queries(const M &memory, const Turn<STAGES> &at, bf16 *o, float *lse, const Sequences &s, int index, int begin,
                        int warpgroup) {
    constexpr int SHARE = KEYS / 4;
    const FewRows rows;
    const int lane = rows.lane, warp = rows.warp, share = warp * SHARE;
    Turn<STAGES> turn = rows.turn(at);
    const bf16 *const q = memory.queries_of(warpgroup);
    // Of the row lane / 4.
    float c[DIM / 8][4], max = -infinity(), sum = 0.0f;
    clear(c);
    for (int step = (s.positions - 1) / KEYS; step >= 0; step--, turn.advance()) {
        // Of this warp's share.
        const int keys = s.positions - step * KEYS - share;
        mbarrier_wait(memory.keys_full(turn.stage), turn.parity);
        u32 p[SHARE / 16][4];
        if (keys > 0) {
            float scores[SHARE / 8][4];
            clear(scores);
#pragma unroll
            for (int n = 0; n < SHARE / 16; n++)
                add_rows(scores[2 * n], scores[2 * n + 1], q, memory.keys_of(turn.stage), share + 16 * n, lane);
            float top = -infinity(), more = 0.0f;
#pragma unroll
            for (int n = 0; n < SHARE / 8; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    if (8 * n + lane % 4 * 2 + i >= keys) scores[n][i] = -infinity();
                    top = fmaxf(top, scores[n][i]);
                }
            const float own = fmaxf(max, row_max(top) * s.scale), shrink = exp2_fast(max - own);
            max = own;
#pragma unroll
            for (int n = 0; n < SHARE / 8; n++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    scores[n][i] = exp2_fast(scores[n][i] * s.scale - own);
                    more += scores[n][i];
                }
            }
#pragma unroll
            for (int k = 0; k < SHARE / 16; k++) as_operand_8(p[k], scores[2 * k], scores[2 * k + 1]);
            sum = sum * shrink + more;
#pragma unroll
            for (int n = 0; n < DIM / 8; n++) c[n][0] *= shrink, c[n][1] *= shrink;
        }
        mbarrier_wait(memory.values_full(turn.stage), turn.parity);
        if (keys > 0) {
#pragma unroll
            for (int k = 0; k < SHARE / 16; k++) add_columns(c, p[k], memory.values_of(turn.stage), share + 16 * k, lane);
        }
        __syncwarp();
        if (lane == 0) mbarrier_arrive(memory.empty(turn.stage));
    }
    sum = row_sum(sum);

    // Of each warp: [FEW_ROWS, DIM] sums of values, then of each query the maximum and the sum of exponentials.
    constexpr int MAX = FEW_ROWS * DIM, SUM = MAX + FEW_ROWS;
    static_assert(4 * (SUM + FEW_ROWS) <= STAGING, "a warp has room for its part");
    const auto part_of = [&](int of) { return (float *)memory.staging_of(4 * warpgroup + of); };
    float *const part = part_of(warp);
    put(part, c, lane);
    if (lane % 4 == 0) part[MAX + lane / 4] = max, part[SUM + lane / 4] = sum;
    barrier_sync(1 + warpgroup, WARPGROUP);

    const int query = rows.thread / 16, col = rows.thread % 16 * 4, row = begin + query;
    float top = -infinity(), all = 0.0f, result[4] = {};
#pragma unroll
    for (int of = 0; of < 4; of++) top = fmaxf(top, part_of(of)[MAX + query]);
#pragma unroll
    for (int of = 0; of < 4; of++) {
        const float *const from = part_of(of), factor = exp2_fast(from[MAX + query] - top);
        all += from[SUM + query] * factor;
#pragma unroll
        for (int i = 0; i < 4; i++) result[i] += from[query * DIM + col + i] * factor;
    }
    const float scale = 1.0f / all, log_sum_exp = top * LN_2 + logf(all);
    const Head to = head_of(o, 1, 0, index / s.heads, s.positions, index % s.heads, s.heads, DIM);
    const uint2 four = {bf16_pair(result[0] * scale, result[1] * scale), bf16_pair(result[2] * scale, result[3] * scale)};
    if (row < s.positions) *(uint2 *)(to.row(row) + col) = four;
    if (row < s.positions && col == 0) lse[(u64)index * s.positions + row] = log_sum_exp;
}

// The sum of the warps' `c`, times `factor`, turned back if there are tables, to rows begin, .. of a head. Nobody else must
// be at the staging rows of these warps.
template <class M>
DEVICE void store_few_rows(const M &memory, const FewRows &rows, Head to, const float (&c)[DIM / 8][4], float factor,
                           const float *cos_table, const float *sin_table, int begin, int positions, int warpgroup) {
    constexpr int HALF = DIM / 2;
    static_assert(4 * FEW_ROWS * DIM <= STAGING, "a warp has room for its part");
    const auto part_of = [&](int of) { return (float *)memory.staging_of(4 * warpgroup + of); };
    put(part_of(rows.warp), c, rows.lane);
    barrier_sync(1 + warpgroup, WARPGROUP);
    // Two columns of the first half of a row, and the two that are rotated with them.
    const int own = rows.thread / 16, col = rows.thread % 16 * 2, row = begin + own;
    float2 x = {}, y = {};
#pragma unroll
    for (int of = 0; of < 4; of++) {
        const float *const from = part_of(of) + own * DIM + col;
        const float2 left = *(const float2 *)from, right = *(const float2 *)(from + HALF);
        x.x += left.x, x.y += left.y, y.x += right.x, y.y += right.y;
    }
    if (cos_table) {
        const int at = min(row, positions - 1) * HALF + col;
        const float2 cos = *(const float2 *)(cos_table + at), sin = *(const float2 *)(sin_table + at);
        turn(x.x, y.x, cos.x, -sin.x);
        turn(x.y, y.y, cos.y, -sin.y);
    }
    const u32 low = bf16_pair(x.x * factor, x.y * factor), high = bf16_pair(y.x * factor, y.y * factor);
    if (row < positions) *(u32 *)(to.row(row) + col) = low;
    if (row < positions) *(u32 *)(to.row(row) + col + HALF) = high;
    barrier_sync(1 + warpgroup, WARPGROUP);
}

// The vjp's queries' half: dq of the queries from row `begin` on. `lse`, in units of log 2, and `delta` are those of row
// begin + lane / 4.
template <class M, int STAGES>
DEVICE void few_queries_vjp(const M &memory, const Turn<STAGES> &at, bf16 *dqkv, float lse, float delta, const float *cos_table,
                            const float *sin_table, const Sequences &s, int index, int begin, int warpgroup) {
    const FewRows rows;
    const int lane = rows.lane, share = rows.warp * 16;
    Turn<STAGES> turn = rows.turn(at);
    float dq[DIM / 8][4];
    clear(dq);
    for (int tile = 0; tile < s.tiles(); tile++, turn.advance()) {
        // Of this warp's share.
        const int keys = s.positions - tile * TILE - share;
        mbarrier_wait(memory.full(turn.stage), turn.parity);
        if (keys > 0) {
            float scores[2][4], dp[2][4];
            clear(scores), clear(dp);
            add_rows(scores[0], scores[1], memory.own_a_of(warpgroup), memory.ring_a_of(turn.stage), share, lane);
            add_rows(dp[0], dp[1], memory.own_b_of(warpgroup), memory.ring_b_of(turn.stage), share, lane);
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const float ds = exp2_fast(scores[n][i] * s.scale - lse) * (dp[n][i] - delta);
                    dp[n][i] = 8 * n + lane % 4 * 2 + i < keys ? ds : 0.0f;
                }
            u32 ds[4];
            as_operand_8(ds, dp[0], dp[1]);
            add_columns(dq, ds, memory.ring_a_of(turn.stage), share, lane);
        }
        __syncwarp();
        if (lane == 0) mbarrier_arrive(memory.empty(turn.stage));
    }
    const Head to = head_of(dqkv, 3, 0, index / s.heads, s.positions, index % s.heads, s.heads, DIM);
    store_few_rows(memory, rows, to, dq, s.scale * LN_2, cos_table, sin_table, begin, s.positions, warpgroup);
}

// The vjp's keys' half: dv and dk of the keys from row `begin` on, transposed as there.
template <class M, int STAGES>
DEVICE void few_keys_vjp(const M &memory, const Turn<STAGES> &at, bf16 *dqkv, const float *cos_table, const float *sin_table,
                         const Sequences &s, int index, int begin, int warpgroup) {
    const FewRows rows;
    const int lane = rows.lane, share = rows.warp * 16;
    Turn<STAGES> turn = rows.turn(at);
    float dk[DIM / 8][4], dv[DIM / 8][4];
    clear(dk), clear(dv);
    for (int tile = 0; tile < s.tiles(); tile++, turn.advance()) {
        mbarrier_wait(memory.full(turn.stage), turn.parity);
        if (s.positions - tile * TILE - share > 0) {
            float scores[2][4], dp[2][4];
            clear(scores), clear(dp);
            add_rows(scores[0], scores[1], memory.own_a_of(warpgroup), memory.ring_a_of(turn.stage), share, lane);
            add_rows(dp[0], dp[1], memory.own_b_of(warpgroup), memory.ring_b_of(turn.stage), share, lane);
            const float *const stats = memory.stats_of(turn.stage) + share + lane % 4 * 2;
#pragma unroll
            for (int n = 0; n < 2; n++) {
                const float2 lse = *(const float2 *)(stats + 8 * n), delta = *(const float2 *)(stats + TILE + 8 * n);
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float &x = scores[n][i], &y = dp[n][i];
                    x = exp2_fast(x * s.scale - (i ? lse.y : lse.x));
                    y = x * (y - (i ? delta.y : delta.x));
                }
            }
            u32 p[4], ds[4];
            as_operand_8(p, scores[0], scores[1]);
            as_operand_8(ds, dp[0], dp[1]);
            add_columns(dv, p, memory.ring_b_of(turn.stage), share, lane);
            add_columns(dk, ds, memory.ring_a_of(turn.stage), share, lane);
        }
        __syncwarp();
        if (lane == 0) mbarrier_arrive(memory.empty(turn.stage));
    }
    const auto to = [&](int part) {
        return head_of(dqkv, 3, part, index / s.heads, s.positions, index % s.heads, s.heads, DIM);
    };
    store_few_rows(memory, rows, to(2), dv, 1.0f, nullptr, nullptr, begin, s.positions, warpgroup);
    store_few_rows(memory, rows, to(1), dk, s.scale * LN_2, cos_table, sin_table, begin, s.positions, warpgroup);
}
