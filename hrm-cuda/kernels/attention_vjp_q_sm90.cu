// The queries' half of attention's vjp on compute capability 9.0a, for heads of 64: see attention_sm90_vjp.cuh.

// On other architectures this unit is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#include "attention_sm90_vjp.cuh"

// What the vjp of the queries of a warp's 16 rows begins with: their lse, in units of log 2, and delta = rowsum(do * o),
// which it also writes down. After the last position they are infinite and 0. Of the two rows of lane `l`.
DEVICE void row_stats(float (&row_lse)[2], float (&row_delta)[2], float *delta, const bf16 *d_o, const bf16 *o,
                      const float *lse, const Sequences &s, int index, int first, int l) {
    const auto head = [&](const bf16 *of) {
        return head_of((bf16 *)of, 1, 0, index / s.heads, s.positions, index % s.heads, s.heads, DIM);
    };
    const Head left = head(d_o), right = head(o);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int own = first + l / 4 + 8 * r, row = min(own, s.positions - 1), col = l % 4 * 16;
        const bool exists = own == row;
        float x[16], y[16], sum = 0.0f;
        load<16>(x, left.row(row) + col);
        load<16>(y, right.row(row) + col);
#pragma unroll
        for (int i = 0; i < 16; i++) sum += x[i] * y[i];
        sum = row_sum(sum);
        const u64 at = (u64)index * s.positions + row;
        row_lse[r] = exists ? lse[at] * LOG2_E : infinity();
        row_delta[r] = exists ? sum : 0.0f;
        if (l % 4 == 0 && exists) delta[at] = sum;
    }
}

// The queries' half of the vjp: dq = rope^-1(ds k), and delta, which the other half reads.
//
// dqkv [N, 3D], delta [batch * heads, positions], do [N, D], and what the forward kernel wrote; q and k are rotated.
template <int CONSUMERS, int STAGES>
DEVICE void vjp_q(const TensorMap &qkv, const TensorMap &d_o_map, bf16 *dqkv, float *delta, const bf16 *d_o, const bf16 *o,
                  const float *lse, const float *cos_table, const float *sin_table, const Sequences &s) {
    SHARED_DYNAMIC_1024(shared);
    const VjpMemory<CONSUMERS, STAGES> memory(shared);
    if (threadIdx.x == 0) {
        memory.init_barriers(1);
        prefetch_tensormap(qkv);
        prefetch_tensormap(d_o_map);
    }
    __syncthreads();
    wait_for_launch_before();
    const int warpgroup = uniform(threadIdx.x / WARPGROUP), lane = lane_index();
    if (warpgroup == CONSUMERS) {
        setmaxnreg_dec<32>();
        if (threadIdx.x % WARPGROUP == 0)
            fetch(memory, s, {qkv, 0}, {d_o_map, 0}, {qkv, s.heads}, {qkv, 2 * s.heads});
        __syncwarp();
        return;
    }

    setmaxnreg_inc<160>();
    const int warp = uniform(threadIdx.x / LANES);
    bf16 *const staging = memory.staging_of(warp);
    const auto arrive = [&](u32 barrier) {
        if (lane == 0) mbarrier_arrive(barrier);
    };
    Turn<STAGES> turn;
    u32 parity = 0;
    for (Work<CONSUMERS> work(s); work.more(); work.advance(), parity ^= 1) {
        const int batch = work.index() / s.heads, head = work.index() % s.heads;
        const int begin = work.row() + warpgroup * TILE, first = begin + (few(s, begin) ? 0 : warp % 4 * 16);
        float row_lse[2], row_delta[2];
        row_stats(row_lse, row_delta, delta, d_o, o, lse, s, work.index(), first, lane);
        mbarrier_wait(memory.own_full(warpgroup), parity);
        if (few(s, begin)) {
            // All warps have the statistics of the same rows, and wrote the same.
            few_queries_vjp(memory, turn, dqkv, row_lse[0], row_delta[0], cos_table, sin_table, s, work.index(), begin,
                            warpgroup);
            for (int tile = 0; tile < s.tiles(); tile++) turn.advance();
            arrive(memory.own_empty(warpgroup));
            continue;
        }
        float scores[32], dp[32], some_scores[TAIL / 2], some_dp[TAIL / 2], dq[32];
        u32 ds[TILE / 16][4], some_ds[TAIL / 16][4];
        clear(dq);
        // The products overwrite them; without a value of this piece of work they would take registers in the few rows' code.
        clear(scores), clear(dp), clear(some_scores), clear(some_dp);
        int before = -1;
        // What the ring's next tile adds to dq, of which `keys` exist, by as many as `scores` has columns.
        const auto add = [&](auto &scores, auto &dp, auto &ds, int keys) {
            begin_tile(memory, turn, before, warpgroup, arrive, begin < s.positions, scores, dp, dq);
            if (begin >= s.positions) return;
            constexpr int COUNT = sizeof scores / sizeof scores[0];
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                const int r = i / 2 % 2;
                dp[i] = exp2_fast(scores[i] * s.scale - row_lse[r]) * (dp[i] - row_delta[r]);
            }
            // The exponential of a key that does not exist may be anything.
            if (keys < 2 * COUNT)
#pragma unroll
                for (int i = 0; i < COUNT; i++)
                    if (column_of(i) >= keys) dp[i] = 0.0f;
            as_operands(ds, dp);
            registers_written(dq);
            start_sum(dq, ds, memory.ring_a(before));
        };
        const int ahead = s.tiles_ahead();
        for (int tile = 0; tile < ahead; tile++) add(scores, dp, ds, s.positions - tile * TILE);
        // With a sum under way in both, the compiler would have every product waited for.
        finish<0>(dq);
        if (ahead < s.tiles()) add(some_scores, some_dp, some_ds, s.positions - ahead * TILE);
        finish<0>(dq);
        arrive(memory.empty(before));
        arrive(memory.own_empty(warpgroup));
        if (begin >= s.positions) continue;

        const float softmax_scale = s.scale * LN_2, scaled[2] = {softmax_scale, softmax_scale};
        if (cos_table) turn_back<DIM>(fragments(dq), first, s.positions, cos_table, sin_table);
        store_rows<DIM>(head_of(dqkv, 3, 0, batch, s.positions, head, s.heads, DIM), fragments(dq), scaled, staging, first,
                        s.positions);
    }
}

BLOCK(3)
attention_vjp_q_sm90(MAP qkv, MAP d_o_map, bf16 *dqkv, float *delta, const bf16 *d_o, const bf16 *o, const float *lse,
                     const float *cos_table, const float *sin_table, int batch, int positions, int heads, float scale) {
    vjp_q<3, 4>(qkv, d_o_map, dqkv, delta, d_o, o, lse, cos_table, sin_table, {batch, positions, heads, scale});
}
EXPORT_KERNEL(attention_vjp_q_sm90)

#endif
