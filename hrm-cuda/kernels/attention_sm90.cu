// Attention over sequences of any length on compute capability 9.0a, for heads of 64: what attention_long.cu computes, with
// the operands in shared memory and the products asynchronous. Its vjp: attention_vjp_q_sm90.cu, attention_vjp_kv_sm90.cu.
//
// Queries and keys come rotated. qkv [batch, positions, 3D] comes as maps of three dimensions, whose boxes are tiles; rows after
// the last position are zero.

// On other architectures this unit is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#include "attention_sm90_few.cuh"

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

BLOCK(3)
attention_sm90(MAP rows, MAP qkv, bf16 *o, float *lse, int batch, int positions, int heads, float scale) {
    forward<3, 3>(rows, qkv, o, lse, {batch, positions, heads, scale});
}
EXPORT_KERNEL(attention_sm90)

#endif
