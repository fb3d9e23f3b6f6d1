// Attention over sequences of any length: a block has a tile of queries (or of keys, in half of the vjp) and goes through
// tiles of the others, of which the next is on its way while one is worked on.
//
// The forward kernel gets rotated keys, and rotates its queries, which it writes back: the vjp reads both as rotated.
#include "attention.cuh"

constexpr int BLOCK = 128;
// Positions of a tile that a block goes through.
template <int DIM> constexpr int STEPS = DIM == 128 ? 32 : 64;

// 16-row fragments of queries that a warp has. Two make twice as much of each fragment that is read from shared memory,
// but take registers that a wide head needs for its sums.
template <int DIM> constexpr int M_TILES = DIM == 128 ? 1 : 2;

// Which tile of which head this block has: tiles of a head are neighbours, so that its keys stay in the cache.
struct Place {
    int tile, batch, head, index;
    DEVICE Place(int rows, int positions, int heads) {
        const int tiles = (positions + rows - 1) / rows;
        tile = blockIdx.x % tiles * rows;
        index = blockIdx.x / tiles;
        batch = index / heads;
        head = index % heads;
    }
};

// o = softmax(rope(q) k^T / sqrt(DIM)) v for each head, lse = the log-sum-exp of the scaled scores, by the online softmax
// of FlashAttention (arXiv 2205.14135): when a tile raises a row's maximum, what was summed before is scaled down.
//
// o [N, D], lse [batch * heads, positions], qkv [N, 3D], tables [positions, DIM / 2] or none.
template <int DIM>
DEVICE void attention_long(bf16 *o, float *lse, bf16 *qkv, const float *cos_table, const float *sin_table, int positions,
                           int heads, float scale) {
    constexpr int M = M_TILES<DIM>, ROWS = 64 * M, STEP = STEPS<DIM>, LD = STRIDE<DIM>;
    SHARED_DYNAMIC(memory);
    bf16 *const q = (bf16 *)memory, *const buffers = q + ROWS * LD;
    const Place place(ROWS, positions, heads);
    const int own = threadIdx.x / LANES * 16 * M, first = place.tile + own;
    Head part[3];
#pragma unroll
    for (int i = 0; i < 3; i++) part[i] = head_of(qkv, 3, i, place.batch, positions, place.head, heads, DIM);

    const auto fetch = [&](int key) {
        bf16 *const k = buffers + key / STEP % 2 * 2 * STEP * LD;
        copy_rows<DIM, STEP, BLOCK>(k, part[1], key, positions);
        copy_rows<DIM, STEP, BLOCK>(k + STEP * LD, part[2], key, positions);
    };
    copy_rows<DIM, ROWS, BLOCK>(q, part[0], place.tile, positions);
    copy_commit();
    fetch(0);
    copy_commit();
    if (cos_table) rotate_rows<DIM, ROWS, BLOCK, 1>({q}, place.tile, positions, cos_table, sin_table, part);

    u32 a[DIM / 16][M][4];
    float c[M][DIM / 8][4], max[M][2], sum[M][2];
    zero(c);
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) max[m][r] = -infinity(), sum[m][r] = 0.0f;

    for (int key = 0; key < positions; key += STEP) {
        copy_wait<0>();
        // All have what was fetched, and none reads the other buffer any more.
        __syncthreads();
        if (key + STEP < positions) fetch(key + STEP);
        copy_commit();
        if (first >= positions) continue;
        if (key == 0)
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int i = 0; i < DIM / 16; i++) load_a<LD>(a[i][m], q, own + 16 * m, 16 * i);
        const bf16 *const k = buffers + key / STEP % 2 * 2 * STEP * LD, *const v = k + STEP * LD;
        float s[M][STEP / 8][4];
        zero(s);
        add_product_rows<LD>(s, a, k, 0);
        if (key + STEP > positions)
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int n = 0; n < STEP / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        if (key + 8 * n + lane_index() % 4 * 2 + i % 2 >= positions) s[m][n][i] = -infinity();
#pragma unroll
        for (int m = 0; m < M; m++) {
            float top[2] = {max[m][0], max[m][1]};
#pragma unroll
            for (int n = 0; n < STEP / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) top[i / 2] = fmaxf(top[i / 2], s[m][n][i] * scale);
#pragma unroll
            for (int r = 0; r < 2; r++) {
                top[r] = row_max(top[r]);
                const float shrink = exp2_fast(max[m][r] - top[r]);
                max[m][r] = top[r];
                sum[m][r] *= shrink;
#pragma unroll
                for (int n = 0; n < DIM / 8; n++) c[m][n][2 * r] *= shrink, c[m][n][2 * r + 1] *= shrink;
            }
        }
#pragma unroll
        for (int n = 0; n < STEP / 16; n++) {
            u32 p[M][4];
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    float &x = s[m][2 * n + i / 4][i % 4];
                    x = exp2_fast(x * scale - max[m][i / 2 % 2]);
                    sum[m][i / 2 % 2] += x;
                }
                as_operand(p[m], s[m][2 * n], s[m][2 * n + 1]);
            }
            add_product_step<LD>(c, p, v, 16 * n);
        }
    }
    if (first >= positions) return;

    const Head to = head_of(o, 1, 0, place.batch, positions, place.head, heads, DIM);
#pragma unroll
    for (int m = 0; m < M; m++) {
        float factor[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            sum[m][r] = row_sum(sum[m][r]);
            factor[r] = 1.0f / sum[m][r];
            const int row = first + 16 * m + lane_index() / 4 + 8 * r;
            if (lane_index() % 4 == 0 && row < positions)
                lse[(u64)place.index * positions + row] = max[m][r] * LN_2 + logf(sum[m][r]);
        }
        store_rows<DIM>(to, c[m], factor, q + (own + 16 * m) * LD, first + 16 * m, positions);
    }
}

// The queries' half of the vjp, see attention_short_vjp: dq = rope^-1(ds k), and delta, which the other half reads.
//
// dqkv [N, 3D], delta [batch * heads, positions], do [N, D], and what the forward kernel wrote; q and k are rotated.
template <int DIM>
DEVICE void attention_long_vjp_q(bf16 *dqkv, float *delta, const bf16 *d_o, const bf16 *o, const float *lse,
                                 const bf16 *qkv, const float *cos_table, const float *sin_table, int positions, int heads,
                                 float scale) {
    constexpr int M = M_TILES<DIM>, ROWS = 64 * M, STEP = STEPS<DIM>, LD = STRIDE<DIM>;
    SHARED_DYNAMIC(memory);
    bf16 *const q = (bf16 *)memory, *const g = q + ROWS * LD, *const buffers = g + ROWS * LD;
    float *const own_delta = (float *)(buffers + 4 * STEP * LD);
    const Place place(ROWS, positions, heads);
    const int own = threadIdx.x / LANES * 16 * M, first = place.tile + own;
    Head part[3];
#pragma unroll
    for (int i = 0; i < 3; i++) part[i] = head_of((bf16 *)qkv, 3, i, place.batch, positions, place.head, heads, DIM);
    const Head out = head_of((bf16 *)o, 1, 0, place.batch, positions, place.head, heads, DIM);
    const Head d_out = head_of((bf16 *)d_o, 1, 0, place.batch, positions, place.head, heads, DIM);

    const auto fetch = [&](int key) {
        bf16 *const k = buffers + key / STEP % 2 * 2 * STEP * LD;
        copy_rows<DIM, STEP, BLOCK>(k, part[1], key, positions);
        copy_rows<DIM, STEP, BLOCK>(k + STEP * LD, part[2], key, positions);
    };
    copy_rows<DIM, ROWS, BLOCK>(q, part[0], place.tile, positions);
    copy_rows<DIM, ROWS, BLOCK>(g, d_out, place.tile, positions);
    fetch(0);
    copy_commit();
    row_products<DIM, ROWS, BLOCK>(own_delta, d_out, out, place.tile, positions);

    u32 a[DIM / 16][M][4], b[DIM / 16][M][4];
    float dq[M][DIM / 8][4], row_lse[M][2], row_delta[M][2];
    zero(dq);
    for (int key = 0; key < positions; key += STEP) {
        copy_wait<0>();
        // All have what was fetched, and none reads the other buffer any more.
        __syncthreads();
        if (key + STEP < positions) fetch(key + STEP);
        copy_commit();
        if (first >= positions) continue;
        if (key == 0)
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int i = 0; i < DIM / 16; i++) {
                    load_a<LD>(a[i][m], q, own + 16 * m, 16 * i);
                    load_a<LD>(b[i][m], g, own + 16 * m, 16 * i);
                }
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    const int at = 16 * m + lane_index() / 4 + 8 * r, row = first + at;
                    const u64 stat = (u64)place.index * positions + row;
                    row_delta[m][r] = own_delta[own + at];
                    row_lse[m][r] = row < positions ? lse[stat] * LOG2_E : infinity();
                    if (lane_index() % 4 == 0 && row < positions) delta[stat] = row_delta[m][r];
                }
            }
        const bf16 *const k = buffers + key / STEP % 2 * 2 * STEP * LD, *const v = k + STEP * LD;
#pragma unroll 1
        for (int n = 0; n < STEP / 16; n++) {
            float s[M][2][4], dp[M][2][4];
            zero(s), zero(dp);
            add_product_rows<LD>(s, a, k, 16 * n);
            add_product_rows<LD>(dp, b, v, 16 * n);
            u32 ds[M][4];
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    const int r = i / 2 % 2, column = key + 16 * n + i / 4 * 8 + lane_index() % 4 * 2 + i % 2;
                    float &x = dp[m][i / 4][i % 4];
                    x = exp2_fast(s[m][i / 4][i % 4] * scale - row_lse[m][r]) * (x - row_delta[m][r]);
                    // The exponential of a key that does not exist may be anything.
                    if (column >= positions) x = 0.0f;
                }
                as_operand(ds[m], dp[m][0], dp[m][1]);
            }
            add_product_step<LD>(dq, ds, k, 16 * n);
        }
    }
    if (first >= positions) return;

    const Head to = head_of(dqkv, 3, 0, place.batch, positions, place.head, heads, DIM);
    const float softmax_scale = scale * LN_2, scaled[2] = {softmax_scale, softmax_scale};
#pragma unroll
    for (int m = 0; m < M; m++) {
        if (cos_table) turn_back<DIM>(dq[m], first + 16 * m, positions, cos_table, sin_table);
        store_rows<DIM>(to, dq[m], scaled, q + (own + 16 * m) * LD, first + 16 * m, positions);
    }
}

// The keys' half of the vjp: dv = p^T do, dk = rope^-1(ds^T q). A warp has 16 keys.
//
// Operands as for the other half, which has written delta.
template <int DIM>
DEVICE void attention_long_vjp_kv(bf16 *dqkv, const float *delta, const bf16 *d_o, const float *lse, const bf16 *qkv,
                                  const float *cos_table, const float *sin_table, int positions, int heads, float scale) {
    constexpr int ROWS = 64, STEP = STEPS<DIM>, LD = STRIDE<DIM>;
    // A wide head has no registers for its keys and values beside their cotangents.
    constexpr bool IN_REGISTERS = DIM <= 64;
    SHARED_DYNAMIC(memory);
    bf16 *const k = (bf16 *)memory, *const v = k + ROWS * LD, *const buffers = v + ROWS * LD;
    float *const stats = (float *)(buffers + 4 * STEP * LD);
    const Place place(ROWS, positions, heads);
    const int own = threadIdx.x / LANES * 16, first = place.tile + own;
    Head part[3];
#pragma unroll
    for (int i = 0; i < 3; i++) part[i] = head_of((bf16 *)qkv, 3, i, place.batch, positions, place.head, heads, DIM);
    const Head d_out = head_of((bf16 *)d_o, 1, 0, place.batch, positions, place.head, heads, DIM);

    const auto fetch = [&](int query) {
        bf16 *const q = buffers + query / STEP % 2 * 2 * STEP * LD;
        copy_rows<DIM, STEP, BLOCK>(q, part[0], query, positions);
        copy_rows<DIM, STEP, BLOCK>(q + STEP * LD, d_out, query, positions);
    };
    // lse of a tile for the first STEP threads, delta for the next.
    const auto fetch_stat = [&](int query) {
        const int row = query + threadIdx.x % STEP;
        const bool is_lse = threadIdx.x < STEP;
        if (threadIdx.x >= 2 * STEP || row >= positions) return is_lse ? infinity() : 0.0f;
        const float stat = (is_lse ? lse : delta)[(u64)place.index * positions + row];
        return is_lse ? stat * LOG2_E : stat;
    };
    copy_rows<DIM, ROWS, BLOCK>(k, part[1], place.tile, positions);
    copy_rows<DIM, ROWS, BLOCK>(v, part[2], place.tile, positions);
    fetch(0);
    copy_commit();
    if (threadIdx.x < 2 * STEP) stats[threadIdx.x] = fetch_stat(0);

    u32 a[DIM / 16][1][4], b[DIM / 16][1][4];
    float dk[1][DIM / 8][4], dv[1][DIM / 8][4];
    zero(dk), zero(dv);
    for (int query = 0; query < positions; query += STEP) {
        const int buffer = query / STEP % 2;
        copy_wait<0>();
        // All have what was fetched, and none reads the other buffer any more.
        __syncthreads();
        float next_stat = 0.0f;
        if (query + STEP < positions) {
            fetch(query + STEP);
            next_stat = fetch_stat(query + STEP);
        }
        copy_commit();
        if (first < positions) {
            if (IN_REGISTERS && query == 0)
#pragma unroll
                for (int i = 0; i < DIM / 16; i++)
                    load_a<LD>(a[i][0], k, own, 16 * i), load_a<LD>(b[i][0], v, own, 16 * i);
            const bf16 *const q = buffers + buffer * 2 * STEP * LD, *const g = q + STEP * LD;
            const float *const tile_lse = stats + buffer * 2 * STEP, *const tile_delta = tile_lse + STEP;
#pragma unroll 1
            for (int at = 0; at < STEP; at += 16) {
                if (!IN_REGISTERS)
#pragma unroll
                    for (int i = 0; i < DIM / 16; i++)
                        load_a<LD>(a[i][0], k, own, 16 * i), load_a<LD>(b[i][0], v, own, 16 * i);
                u32 p[1][4], ds[1][4];
                probabilities_vjp<DIM>(p, ds, a, b, q, g, tile_lse, tile_delta, at, scale);
                add_product_step<LD>(dv, p, g, at);
                add_product_step<LD>(dk, ds, q, at);
            }
        }
        if (threadIdx.x < 2 * STEP) stats[(1 - buffer) * 2 * STEP + threadIdx.x] = next_stat;
    }
    if (first >= positions) return;

    const float softmax_scale = scale * LN_2, one[2] = {1.0f, 1.0f}, scaled[2] = {softmax_scale, softmax_scale};
    const Head d_key = head_of(dqkv, 3, 1, place.batch, positions, place.head, heads, DIM);
    const Head d_value = head_of(dqkv, 3, 2, place.batch, positions, place.head, heads, DIM);
    // Nobody else reads this warp's rows of v.
    store_rows<DIM>(d_value, dv[0], one, v + own * LD, first, positions);
    if (cos_table) turn_back<DIM>(dk[0], first, positions, cos_table, sin_table);
    store_rows<DIM>(d_key, dk[0], scaled, v + own * LD, first, positions);
}

#define LONG(dim)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) attention_long_##dim(bf16 *o, float *lse, bf16 *qkv, const float *cos_table,     \
                                                            const float *sin_table, int positions, int heads,           \
                                                            float scale) {                                              \
        wait_for_launch_before();                                                                                       \
        attention_long<dim>(o, lse, qkv, cos_table, sin_table, positions, heads, scale);                                \
    }                                                                                                                   \
    EXPORT_KERNEL(attention_long_##dim)                                                                                 \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) attention_long_vjp_q_##dim(                                                      \
        bf16 *dqkv, float *delta, const bf16 *d_o, const bf16 *o, const float *lse, const bf16 *qkv,                    \
        const float *cos_table, const float *sin_table, int positions, int heads, float scale) {                        \
        wait_for_launch_before();                                                                                       \
        attention_long_vjp_q<dim>(dqkv, delta, d_o, o, lse, qkv, cos_table, sin_table, positions, heads, scale);        \
    }                                                                                                                   \
    EXPORT_KERNEL(attention_long_vjp_q_##dim)                                                                           \
    extern "C" __global__ void __launch_bounds__(BLOCK, 2) attention_long_vjp_kv_##dim(                                                     \
        bf16 *dqkv, const float *delta, const bf16 *d_o, const float *lse, const bf16 *qkv, const float *cos_table,     \
        const float *sin_table, int positions, int heads, float scale) {                                                \
        wait_for_launch_before();                                                                                       \
        attention_long_vjp_kv<dim>(dqkv, delta, d_o, lse, qkv, cos_table, sin_table, positions, heads, scale);          \
    }                                                                                                                   \
    EXPORT_KERNEL(attention_long_vjp_kv_##dim)

LONG(32)
LONG(64)
LONG(128)
