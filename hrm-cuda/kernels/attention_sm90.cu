// Attention over sequences of any length on compute capability 9.0a, for heads of 64: what attention_long.cu computes, with
// the operands in shared memory and the products asynchronous.
//
// Queries and keys come rotated, to the forward kernel and to the vjp.
//
// qkv [batch, positions, 3D], o and its cotangent [batch, positions, D] come as maps of three dimensions, whose boxes are
// tiles; rows after the last position are zero.

// On other architectures this unit is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#include "attention_sm90_few.cuh"

// ---- forward

// In shared memory: each consumer's queries, a ring of keys, one of values, the rows on their way out, barriers.
template <int CONSUMERS, int STAGES> struct ForwardMemory {
    u32 queries, keys, values, barriers;
    bf16 *staging, *tiles;
    DEVICE ForwardMemory(unsigned char *shared) {
        tiles = (bf16 *)shared;
        queries = uniform(shared_address(shared));
        keys = queries + CONSUMERS * TILE_BYTES;
        values = keys + STAGES * KEYS_BYTES;
        constexpr int TILES = CONSUMERS * TILE_BYTES + 2 * STAGES * KEYS_BYTES;
        staging = (bf16 *)(shared + TILES);
        barriers = queries + TILES + 4 * CONSUMERS * STAGING;
    }
    DEVICE const bf16 *queries_of(int consumer) const { return tiles + consumer * TILE * DIM; }
    DEVICE const bf16 *keys_of(int stage) const { return tiles + (CONSUMERS * TILE + stage * KEYS) * DIM; }
    DEVICE const bf16 *values_of(int stage) const { return keys_of(STAGES + stage); }
    DEVICE bf16 *staging_of(int warp) const { return staging + warp * STAGING / 2; }

    DEVICE u32 keys_full(int stage) const { return barriers + 8 * stage; }
    DEVICE u32 values_full(int stage) const { return barriers + 8 * (STAGES + stage); }
    DEVICE u32 empty(int stage) const { return barriers + 8 * (2 * STAGES + stage); }
    DEVICE u32 queries_full(int consumer) const { return barriers + 8 * (3 * STAGES + consumer); }
    DEVICE void init_barriers() const {
        for (int stage = 0; stage < STAGES; stage++) {
            mbarrier_init(keys_full(stage), 1);
            mbarrier_init(values_full(stage), 1);
            mbarrier_init(empty(stage), 4 * CONSUMERS);
        }
        for (int consumer = 0; consumer < CONSUMERS; consumer++) mbarrier_init(queries_full(consumer), 1);
        fence_mbarrier_init();
    }
};

// What a lane knows of its two rows.
struct Softmax {
    float max[2] = {-infinity(), -infinity()}, sum[2] = {0.0f, 0.0f};
    float shrink[2];

    // The online softmax over some scores more: `s` becomes exp2(s scale - max), and what was summed before is to be
    // multiplied by `shrink`. Each row's maximum and sum are taken in two chains, so that neither waits for the other.
    template <int COUNT> DEVICE void add(float (&s)[COUNT], float scale) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float top[2] = {s[2 * r], s[2 * r + 1]};
#pragma unroll
            for (int i = 4; i < COUNT; i += 4)
#pragma unroll
                for (int e = 0; e < 2; e++) top[e] = fmaxf(top[e], s[i + 2 * r + e]);
            const float own = fmaxf(max[r], row_max(fmaxf(top[0], top[1])) * scale);
            shrink[r] = exp2_fast(max[r] - own);
            max[r] = own;
        }
#pragma unroll
        for (int i = 0; i < COUNT; i++) s[i] = exp2_fast(s[i] * scale - max[i / 2 % 2]);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float more[2] = {s[2 * r], s[2 * r + 1]};
#pragma unroll
            for (int i = 4; i < COUNT; i += 4)
#pragma unroll
                for (int e = 0; e < 2; e++) more[e] += s[i + 2 * r + e];
            sum[r] = sum[r] * shrink[r] + (more[0] + more[1]);
        }
    }
};

template <int COUNT> DEVICE void mask(float (&s)[COUNT], int keys) {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        if (column_of(i) >= keys) s[i] = -infinity();
}

// o = softmax(q k^T / sqrt(DIM)) v for each head, lse = the log-sum-exp of the scaled scores, by the online softmax
// of FlashAttention. While the tensor cores sum the values of some keys, the exponentials of the next are taken. The last
// keys come first: of all others each exists.
//
// o [N, D], lse [batch * heads, positions]; qkv [N, 3D] in tiles of 64 rows, for queries, and of KEYS.
template <int CONSUMERS, int STAGES>
DEVICE void forward(const TensorMap &rows, const TensorMap &map, bf16 *o, float *lse, const Sequences &s) {
    SHARED_DYNAMIC_1024(shared);
    const ForwardMemory<CONSUMERS, STAGES> memory(shared);
    if (threadIdx.x == 0) {
        memory.init_barriers();
        prefetch_tensormap(map);
    }
    __syncthreads();
    wait_for_launch_before();
    Turn<STAGES> turn;
    const int warpgroup = uniform(threadIdx.x / WARPGROUP), lane = lane_index(), steps = (s.positions + KEYS - 1) / KEYS;
    if (warpgroup == CONSUMERS) {
        setmaxnreg_dec<32>();
        if (threadIdx.x % WARPGROUP == 0)
            for (Work<CONSUMERS> work(s); work.more(); work.advance()) {
                const int batch = work.index() / s.heads, head = work.index() % s.heads;
                for (int step = steps - 1; step >= 0; step--, turn.advance()) {
                    const int stage = turn.stage;
                    mbarrier_wait(memory.empty(stage), turn.parity ^ 1);
                    mbarrier_arrive_expect_tx(memory.keys_full(stage), KEYS_BYTES);
                    cp_async_bulk_tensor_3d(memory.keys + stage * KEYS_BYTES, map, batch, step * KEYS,
                                            (s.heads + head) * DIM, memory.keys_full(stage));
                    mbarrier_arrive_expect_tx(memory.values_full(stage), KEYS_BYTES);
                    cp_async_bulk_tensor_3d(memory.values + stage * KEYS_BYTES, map, batch, step * KEYS,
                                            (2 * s.heads + head) * DIM, memory.values_full(stage));
                }
            }
        __syncwarp();
        return;
    }

    setmaxnreg_inc<160>();
    const int warp = uniform(threadIdx.x / LANES);
    bf16 *const staging = memory.staging_of(warp);
    const u32 queries = memory.queries + warpgroup * TILE_BYTES;
    const auto release = [&](int stage) {
        if (lane == 0) mbarrier_arrive(memory.empty(stage));
    };
    u32 queries_parity = 0;
    for (Work<CONSUMERS> work(s); work.more(); work.advance()) {
        const int batch = work.index() / s.heads, head = work.index() % s.heads;
        // Of this warpgroup, and of this warp.
        const int begin = work.row() + warpgroup * TILE, first = begin + warp % 4 * 16;
        if (begin >= s.positions) {
            for (int step = 0; step < steps; step++, turn.advance()) {
                // For both: the barriers of the next piece of work must not be found a phase behind.
                mbarrier_wait(memory.keys_full(turn.stage), turn.parity);
                mbarrier_wait(memory.values_full(turn.stage), turn.parity);
                release(turn.stage);
            }
            continue;
        }
        // No warp of the group reads the queries of before any more.
        barrier_sync(1 + warpgroup, WARPGROUP);
        if (threadIdx.x % WARPGROUP == 0) {
            mbarrier_arrive_expect_tx(memory.queries_full(warpgroup), TILE_BYTES);
            cp_async_bulk_tensor_3d(queries, rows, batch, begin, head * DIM, memory.queries_full(warpgroup));
        }
        __syncwarp();
        mbarrier_wait(memory.queries_full(warpgroup), queries_parity);
        queries_parity ^= 1;

        if (few(s, begin)) {
            few_queries(memory, turn, o, lse, s, work.index(), begin, warpgroup);
            for (int step = 0; step < steps; step++) turn.advance();
            continue;
        }

        float c[32];
        clear(c);
        Softmax softmax;
        int step = 0;
        const int tail = s.positions % KEYS;
        if (tail > 0 && tail <= TAIL) {
            float some[TAIL / 2];
            u32 p[TAIL / 16][4];
            mbarrier_wait(memory.keys_full(turn.stage), turn.parity);
            registers_written(some);
            start_product(some, queries, memory.keys + turn.stage * KEYS_BYTES);
            finish<0>(some);
            mask(some, tail);
            softmax.add(some, s.scale);
            as_operands(p, some);
            mbarrier_wait(memory.values_full(turn.stage), turn.parity);
            registers_written(c);
            start_sum(c, p, memory.values + turn.stage * KEYS_BYTES);
            finish<0>(c);
            release(turn.stage);
            turn.advance();
            step = 1;
        }
        if (step < steps) {
            float scores[64];
            u32 p[KEYS / 16][4];
            mbarrier_wait(memory.keys_full(turn.stage), turn.parity);
            registers_written(scores);
            start_product(scores, queries, memory.keys + turn.stage * KEYS_BYTES);
            finish<0>(scores);
            if (tail > TAIL) mask(scores, tail);
            softmax.add(scores, s.scale);
            // The stage whose values are being summed, if there is one.
            int summed = -1;
            const auto finish_sum = [&] {
                finish<0>(c);
                if (summed >= 0) release(summed);
#pragma unroll
                for (int i = 0; i < 32; i++) c[i] *= softmax.shrink[i / 2 % 2];
                as_operands(p, scores);
            };
            for (step++; step < steps; step++) {
                const Turn<STAGES> before = turn;
                turn.advance();
                // To wait at barriers between the exponentials and the sum keeps the compiler from waiting for the sum
                // first.
                mbarrier_wait(memory.values_full(before.stage), before.parity);
                mbarrier_wait(memory.keys_full(turn.stage), turn.parity);
                finish_sum();
                registers_written(scores);
                registers_written(c);
                start_product(scores, queries, memory.keys + turn.stage * KEYS_BYTES);
                start_sum(c, p, memory.values + before.stage * KEYS_BYTES);
                summed = before.stage;
                finish<1>(scores);
                softmax.add(scores, s.scale);
            }
            mbarrier_wait(memory.values_full(turn.stage), turn.parity);
            finish_sum();
            registers_written(c);
            start_sum(c, p, memory.values + turn.stage * KEYS_BYTES);
            finish<0>(c);
            release(turn.stage);
            turn.advance();
        }

        float factor[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float sum = row_sum(softmax.sum[r]);
            factor[r] = 1.0f / sum;
            const int row = first + lane / 4 + 8 * r;
            if (lane % 4 == 0 && row < s.positions)
                lse[(u64)work.index() * s.positions + row] = softmax.max[r] * LN_2 + logf(sum);
        }
        store_rows<DIM>(head_of(o, 1, 0, batch, s.positions, head, s.heads, DIM), fragments(c), factor, staging, first,
                        s.positions, fresh(lane));
    }
}

// ---- the vjp: see attention_short_vjp for the formulas

// In shared memory: each consumer's own rows of two matrices, a ring of tiles of two others, of which each stage has two
// statistics of its rows beside it, the rows on their way out, barriers.
template <int CONSUMERS, int STAGES> struct VjpMemory {
    u32 own, ring, barriers;
    float *stats;
    bf16 *staging, *tiles;
    DEVICE VjpMemory(unsigned char *shared) {
        tiles = (bf16 *)shared;
        own = uniform(shared_address(shared));
        ring = own + 2 * CONSUMERS * TILE_BYTES;
        constexpr int TILES = 2 * (CONSUMERS + STAGES) * TILE_BYTES, STATS = STAGES * 2 * TILE * 4;
        stats = (float *)(shared + TILES);
        staging = (bf16 *)(shared + TILES + STATS);
        barriers = own + TILES + STATS + 4 * CONSUMERS * STAGING;
    }
    // The first and the second matrix.
    DEVICE u32 own_a(int consumer) const { return own + 2 * consumer * TILE_BYTES; }
    DEVICE u32 own_b(int consumer) const { return own_a(consumer) + TILE_BYTES; }
    DEVICE u32 ring_a(int stage) const { return ring + 2 * stage * TILE_BYTES; }
    DEVICE u32 ring_b(int stage) const { return ring_a(stage) + TILE_BYTES; }
    DEVICE float *stats_of(int stage) const { return stats + stage * 2 * TILE; }
    DEVICE const bf16 *own_a_of(int consumer) const { return tiles + 2 * consumer * TILE * DIM; }
    DEVICE const bf16 *own_b_of(int consumer) const { return own_a_of(consumer) + TILE * DIM; }
    DEVICE const bf16 *ring_a_of(int stage) const { return tiles + 2 * (CONSUMERS + stage) * TILE * DIM; }
    DEVICE const bf16 *ring_b_of(int stage) const { return ring_a_of(stage) + TILE * DIM; }
    DEVICE bf16 *staging_of(int warp) const { return staging + warp * STAGING / 2; }

    DEVICE u32 full(int stage) const { return barriers + 8 * stage; }
    DEVICE u32 empty(int stage) const { return barriers + 8 * (STAGES + stage); }
    DEVICE u32 own_full(int consumer) const { return barriers + 8 * (2 * STAGES + consumer); }
    DEVICE u32 own_empty(int consumer) const { return barriers + 8 * (2 * STAGES + CONSUMERS + consumer); }
    // `arrivals` end the filling of a stage.
    DEVICE void init_barriers(int arrivals) const {
        for (int stage = 0; stage < STAGES; stage++) {
            mbarrier_init(full(stage), arrivals);
            mbarrier_init(empty(stage), 4 * CONSUMERS);
        }
        for (int consumer = 0; consumer < CONSUMERS; consumer++) {
            mbarrier_init(own_full(consumer), 1);
            mbarrier_init(own_empty(consumer), 4);
        }
        fence_mbarrier_init();
    }
};

// Which column of a map a part of it begins at: `part` counts heads.
struct Source {
    const TensorMap &map;
    int part;
    DEVICE void fetch(u32 to, int batch, int row, int head, u32 barrier) const {
        cp_async_bulk_tensor_3d(to, map, batch, row, (part + head) * DIM, barrier);
    }
};

// One thread: fetches each consumer's rows, then the tiles that all go through.
template <int CONSUMERS, int STAGES>
DEVICE void fetch(const VjpMemory<CONSUMERS, STAGES> &memory, const Sequences &s, const Source &own_a, const Source &own_b,
                  const Source &ring_a, const Source &ring_b) {
    Turn<STAGES> turn;
    u32 parity = 0;
    for (Work<CONSUMERS> work(s); work.more(); work.advance(), parity ^= 1) {
        const int batch = work.index() / s.heads, head = work.index() % s.heads;
        for (int consumer = 0; consumer < CONSUMERS; consumer++) {
            const u32 barrier = memory.own_full(consumer);
            const int row = work.row() + consumer * TILE;
            mbarrier_wait(memory.own_empty(consumer), parity ^ 1);
            mbarrier_arrive_expect_tx(barrier, 2 * TILE_BYTES);
            own_a.fetch(memory.own_a(consumer), batch, row, head, barrier);
            own_b.fetch(memory.own_b(consumer), batch, row, head, barrier);
        }
        for (int tile = 0; tile < s.tiles(); tile++, turn.advance()) {
            const u32 barrier = memory.full(turn.stage);
            mbarrier_wait(memory.empty(turn.stage), turn.parity ^ 1);
            mbarrier_arrive_expect_tx(barrier, 2 * TILE_BYTES);
            ring_a.fetch(memory.ring_a(turn.stage), batch, tile * TILE, head, barrier);
            ring_b.fetch(memory.ring_b(turn.stage), batch, tile * TILE, head, barrier);
        }
    }
}

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
            mbarrier_wait(memory.full(turn.stage), turn.parity);
            if (begin < s.positions) {
                registers_written(scores);
                registers_written(dp);
                start_product(scores, memory.own_a(warpgroup), memory.ring_a(turn.stage));
                start_product(dp, memory.own_b(warpgroup), memory.ring_b(turn.stage));
                // The sum of the tile before is finished with them.
                finish<0>(scores);
                wgmma_fence_operand(dp);
                wgmma_fence_operand(dq);
            }
            if (before >= 0) arrive(memory.empty(before));
            before = turn.stage;
            turn.advance();
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
            mbarrier_wait(memory.full(turn.stage), turn.parity);
            if (begin < s.positions) {
                registers_written(scores);
                registers_written(dp);
                start_product(scores, memory.own_a(warpgroup), memory.ring_a(turn.stage));
                start_product(dp, memory.own_b(warpgroup), memory.ring_b(turn.stage));
                // The sums of the tile before are finished with them.
                finish<0>(scores);
                wgmma_fence_operand(dp);
                wgmma_fence_operand(dk);
                wgmma_fence_operand(dv);
            }
            if (before >= 0) arrive(memory.empty(before));
            before = turn.stage;
            turn.advance();
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

#define BLOCK(consumers) extern "C" __global__ void __launch_bounds__((consumers + 1) * WARPGROUP, 1)
#define MAP const __grid_constant__ TensorMap

BLOCK(3)
attention_sm90(MAP rows, MAP qkv, bf16 *o, float *lse, int batch, int positions, int heads, float scale) {
    forward<3, 3>(rows, qkv, o, lse, {batch, positions, heads, scale});
}
EXPORT_KERNEL(attention_sm90)

BLOCK(3)
attention_vjp_q_sm90(MAP qkv, MAP d_o_map, bf16 *dqkv, float *delta, const bf16 *d_o, const bf16 *o, const float *lse,
                     const float *cos_table, const float *sin_table, int batch, int positions, int heads, float scale) {
    vjp_q<3, 4>(qkv, d_o_map, dqkv, delta, d_o, o, lse, cos_table, sin_table, {batch, positions, heads, scale});
}
EXPORT_KERNEL(attention_vjp_q_sm90)

BLOCK(2)
attention_vjp_kv_sm90(MAP qkv, MAP d_o, bf16 *dqkv, const float *delta, const float *lse, const float *cos_table,
                      const float *sin_table, int batch, int positions, int heads, float scale) {
    vjp_kv<2, 4>(qkv, d_o, dqkv, delta, lse, cos_table, sin_table, {batch, positions, heads, scale});
}
EXPORT_KERNEL(attention_vjp_kv_sm90)

#endif
