// The keys' and values' half of attention's vjp on compute capability 9.0a, for heads of 64: see attention_sm90_vjp.cuh. The
// queries' half goes ahead of it.

// On other architectures this unit is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#include "attention_sm90_vjp.cuh"

// One warp: puts lse, in units of log 2, and delta beside each tile of queries. Those of queries that do not exist are
// infinite and 0, so that they have no part.
template <int CONSUMERS, int STAGES>
DEVICE void fetch_stats(const VjpMemory<CONSUMERS, STAGES> &memory, const Sequences &s, const float *lse,
                        const float *delta) {
    Turn<STAGES> turn;
    for (Work<CONSUMERS> work(s); work.more(); work.advance())
        for (int tile = 0; tile < s.tiles(); tile++, turn.advance()) {
            float own_lse[2], own_delta[2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const int row = tile * TILE + i * LANES + lane_index();
                const u64 at = (u64)work.index() * s.positions + row;
                own_lse[i] = row < s.positions ? lse[at] * LOG2_E : infinity();
                own_delta[i] = row < s.positions ? delta[at] : 0.0f;
            }
            mbarrier_wait(memory.empty(turn.stage), turn.parity ^ 1);
            float *const stats = memory.stats_of(turn.stage);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                stats[i * LANES + lane_index()] = own_lse[i];
                stats[TILE + i * LANES + lane_index()] = own_delta[i];
            }
            mbarrier_arrive(memory.full(turn.stage));
        }
}

// The keys' half of the vjp: dv = p^T do, dk = rope^-1(ds^T q). Everything is transposed, keys down and queries across,
// so that p and ds are operands as they come out.
//
// Operands as for the other half, which has written delta.
template <int CONSUMERS, int STAGES>
DEVICE void vjp_kv(const TensorMap &qkv, const TensorMap &d_o, bf16 *dqkv, const float *delta, const float *lse,
                   const float *cos_table, const float *sin_table, const Sequences &s) {
    SHARED_DYNAMIC_1024(shared);
    const VjpMemory<CONSUMERS, STAGES> memory(shared);
    // One thread fetches tiles, a warp statistics.
    if (threadIdx.x == 0) {
        memory.init_barriers(1 + LANES);
        prefetch_tensormap(qkv);
        prefetch_tensormap(d_o);
    }
    __syncthreads();
    wait_for_launch_before();
    const int warpgroup = uniform(threadIdx.x / WARPGROUP), lane = lane_index();
    if (warpgroup == CONSUMERS) {
        setmaxnreg_dec<40>();
        const int warp = uniform(threadIdx.x % WARPGROUP / LANES);
        if (warp == 0 && lane == 0)
            fetch(memory, s, {qkv, s.heads}, {qkv, 2 * s.heads}, {qkv, 0}, {d_o, 0});
        if (warp == 1) fetch_stats(memory, s, lse, delta);
        __syncwarp();
        return;
    }

    setmaxnreg_inc<232>();
    const int warp = uniform(threadIdx.x / LANES);
    bf16 *const staging = memory.staging_of(warp);
    const auto arrive = [&](u32 barrier) {
        if (lane == 0) mbarrier_arrive(barrier);
    };
    Turn<STAGES> turn;
    u32 parity = 0;
    for (Work<CONSUMERS> work(s); work.more(); work.advance(), parity ^= 1) {
        const int batch = work.index() / s.heads, head = work.index() % s.heads;
        const int begin = work.row() + warpgroup * TILE, first = begin + warp % 4 * 16;
        mbarrier_wait(memory.own_full(warpgroup), parity);
        if (few(s, begin)) {
            few_keys_vjp(memory, turn, dqkv, cos_table, sin_table, s, work.index(), begin, warpgroup);
            for (int tile = 0; tile < s.tiles(); tile++) turn.advance();
            arrive(memory.own_empty(warpgroup));
            continue;
        }
        float scores[32], dp[32], some_scores[TAIL / 2], some_dp[TAIL / 2], dk[32], dv[32];
        u32 p[TILE / 16][4], ds[TILE / 16][4], some_p[TAIL / 16][4], some_ds[TAIL / 16][4];
        clear(dk), clear(dv);
        // The products overwrite them; without a value of this piece of work they would take registers in the few rows' code.
        clear(scores), clear(dp), clear(some_scores), clear(some_dp);
        int before = -1;
        // What the ring's next tile adds to dk and dv, by as many queries as `scores` has columns.
        const auto add = [&](auto &scores, auto &dp, auto &p, auto &ds) {
            begin_tile(memory, turn, before, warpgroup, arrive, begin < s.positions, scores, dp, dk, dv);
            if (begin >= s.positions) return;
            const float *const stats = memory.stats_of(before) + lane % 4 * 2;
#pragma unroll
            for (int n = 0; n < (int)(sizeof scores / sizeof scores[0]) / 4; n++) {
                const float2 own_lse = *(const float2 *)(stats + 8 * n);
                const float2 own_delta = *(const float2 *)(stats + TILE + 8 * n);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float &x = scores[4 * n + i], &y = dp[4 * n + i];
                    x = exp2_fast(x * s.scale - (i % 2 ? own_lse.y : own_lse.x));
                    y = x * (y - (i % 2 ? own_delta.y : own_delta.x));
                }
            }
            as_operands(p, scores);
            as_operands(ds, dp);
            registers_written(dv);
            registers_written(dk);
            start_sum(dv, p, memory.ring_b(before));
            start_sum(dk, ds, memory.ring_a(before));
        };
        const int ahead = s.tiles_ahead();
        for (int tile = 0; tile < ahead; tile++) add(scores, dp, p, ds);
        // As above.
        finish<0>(dv);
        wgmma_fence_operand(dk);
        if (ahead < s.tiles()) add(some_scores, some_dp, some_p, some_ds);
        finish<0>(dv);
        wgmma_fence_operand(dk);
        arrive(memory.empty(before));
        arrive(memory.own_empty(warpgroup));
        if (begin >= s.positions) continue;

        const float softmax_scale = s.scale * LN_2, one[2] = {1.0f, 1.0f}, scaled[2] = {softmax_scale, softmax_scale};
        store_rows<DIM>(head_of(dqkv, 3, 2, batch, s.positions, head, s.heads, DIM), fragments(dv), one, staging, first,
                        s.positions);
        if (cos_table) turn_back<DIM>(fragments(dk), first, s.positions, cos_table, sin_table);
        store_rows<DIM>(head_of(dqkv, 3, 1, batch, s.positions, head, s.heads, DIM), fragments(dk), scaled, staging, first,
                        s.positions);
    }
}

BLOCK(2)
attention_vjp_kv_sm90(MAP qkv, MAP d_o, bf16 *dqkv, const float *delta, const float *lse, const float *cos_table,
                      const float *sin_table, int batch, int positions, int heads, float scale) {
    vjp_kv<2, 4>(qkv, d_o, dqkv, delta, lse, cos_table, sin_table, {batch, positions, heads, scale});
}
EXPORT_KERNEL(attention_vjp_kv_sm90)

#endif
