// Attention over sequences that fit into shared memory as a whole: one block for each sequence and head, one warp for 16
// positions. Nothing is read twice from global memory, and there is one pass over the keys.
//
// ROWS is the number of positions that there is room for. Queries and keys are rotated in shared memory, in the forward
// pass and again in the vjp: qkv stays as it is. Where they come rotated, the forward kernel gets no tables, and the vjp is
// told so.
#include "attention.cuh"

// The softmax of a warp's 16 queries over all keys: p = exp2(scale q k^T - max) as operands, factor = 1 / rowsum(p) for
// the rows of this lane, the sum taken before p is rounded. Writes lse [positions].
template <int DIM, int ROWS>
DEVICE void softmax(u32 (&p)[ROWS / 16][1][4], float (&factor)[2], float *lse, const bf16 *q, const bf16 *k, int first,
                    int positions, float scale) {
    constexpr int LD = STRIDE<DIM>;
    float s[1][ROWS / 8][4];
    zero(s);
#pragma unroll
    for (int i = 0; i < DIM; i += 16) {
        u32 a[1][1][4];
        load_a<LD>(a[0][0], q, first, i);
        add_product_rows<LD>(s, a, k + i, 0);
    }

    // The rows of this lane, and which of its columns exist.
    float max[2] = {-infinity(), -infinity()}, sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int n = 0; n < ROWS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (8 * n + lane_index() % 4 * 2 + i % 2 >= positions) s[0][n][i] = -infinity();
            max[i / 2] = fmaxf(max[i / 2], s[0][n][i]);
        }
#pragma unroll
    for (int r = 0; r < 2; r++) max[r] = row_max(max[r]) * scale;
#pragma unroll
    for (int n = 0; n < ROWS / 16; n++) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float &x = s[0][2 * n + i / 4][i % 4];
            x = exp2_fast(x * scale - max[i / 2 % 2]);
            sum[i / 2 % 2] += x;
        }
        as_operand(p[n][0], s[0][2 * n], s[0][2 * n + 1]);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        sum[r] = row_sum(sum[r]);
        factor[r] = 1.0f / sum[r];
        const int row = first + lane_index() / 4 + 8 * r;
        if (lane_index() % 4 == 0 && row < positions) lse[row] = max[r] * LN_2 + logf(sum[r]);
    }
}

// o = softmax(rope(q) rope(k)^T / sqrt(DIM)) v for each head, lse = the log-sum-exp of the scaled scores.
//
// o [N, D], lse [batch * heads, positions], qkv [N, 3D], tables [positions, DIM / 2] or none.
template <int DIM, int ROWS>
DEVICE void attention_short(bf16 *o, float *lse, const bf16 *qkv, const float *cos_table, const float *sin_table,
                            int positions, int heads, float scale) {
    constexpr int BLOCK = 2 * ROWS, LD = STRIDE<DIM>, TILE = ROWS * LD;
    SHARED_DYNAMIC(memory);
    bf16 *const q = (bf16 *)memory, *const k = q + TILE, *const v = k + TILE;
    const int batch = blockIdx.x / heads, head = blockIdx.x % heads, first = threadIdx.x / LANES * 16;
    Head part[3];
#pragma unroll
    for (int i = 0; i < 3; i++) part[i] = head_of((bf16 *)qkv, 3, i, batch, positions, head, heads, DIM);

    copy_rows<DIM, ROWS, BLOCK>(q, part[0], 0, positions);
    copy_rows<DIM, ROWS, BLOCK>(k, part[1], 0, positions);
    copy_commit();
    copy_rows<DIM, ROWS, BLOCK>(v, part[2], 0, positions);
    copy_commit();
    if (cos_table)
        rotate_rows<DIM, ROWS, BLOCK, 1>({q, k}, 0, positions, cos_table, sin_table);
    else
        copy_wait<1>();
    __syncthreads();

    u32 p[ROWS / 16][1][4];
    float factor[2];
    if (first < positions)
        softmax<DIM, ROWS>(p, factor, lse + (u64)blockIdx.x * positions, q, k, first, positions, scale);
    // Only now are values needed.
    copy_wait<0>();
    __syncthreads();
    if (first >= positions) return;

    float c[1][DIM / 8][4];
    zero(c);
#pragma unroll
    for (int n = 0; n < ROWS / 16; n++) add_product_step<LD>(c, p[n], v, 16 * n);
    const Head to = head_of(o, 1, 0, batch, positions, head, heads, DIM);
    store_rows<DIM>(to, c[0], factor, q + first * LD, first, positions);
}

// vjp of attention_short. With p = exp(s - lse) and delta = rowsum(do * o):
//
//     dv = p^T do, ds = p * (do v^T - delta) / sqrt(DIM), dq = rope^-1(ds k), dk = rope^-1(ds^T q)
//
// A warp first has 16 keys, and goes through the queries; what it finds of ds goes to shared memory, where it then finds the
// rows of its keys, and each warp the columns of its 16 queries. Sums are in the order of positions.
//
// dqkv [N, 3D], do [N, D], and what the forward kernel was given and wrote; tables, which turn cotangents back, also where q
// and k are `rotated` already.
template <int DIM, int ROWS>
DEVICE void attention_short_vjp(bf16 *dqkv, const bf16 *d_o, const bf16 *o, const float *lse, const bf16 *qkv,
                                const float *cos_table, const float *sin_table, int rotated, int positions, int heads,
                                float scale) {
    constexpr int BLOCK = 2 * ROWS, LD = STRIDE<DIM>, TILE = ROWS * LD, LD_DS = STRIDE<ROWS>;
    SHARED_DYNAMIC(memory);
    bf16 *const q = (bf16 *)memory, *const k = q + TILE, *const v = k + TILE, *const g = v + TILE;
    bf16 *const ds = g + TILE;
    float *const own_lse = (float *)(ds + ROWS * LD_DS), *const delta = own_lse + ROWS;
    const int batch = blockIdx.x / heads, head = blockIdx.x % heads, first = threadIdx.x / LANES * 16;
    Head part[3];
#pragma unroll
    for (int i = 0; i < 3; i++) part[i] = head_of((bf16 *)qkv, 3, i, batch, positions, head, heads, DIM);
    const auto cotangent = [&](int i) { return head_of(dqkv, 3, i, batch, positions, head, heads, DIM); };
    const Head out = head_of((bf16 *)o, 1, 0, batch, positions, head, heads, DIM);
    const Head d_out = head_of((bf16 *)d_o, 1, 0, batch, positions, head, heads, DIM);

    copy_rows<DIM, ROWS, BLOCK>(q, part[0], 0, positions);
    copy_rows<DIM, ROWS, BLOCK>(k, part[1], 0, positions);
    copy_commit();
    copy_rows<DIM, ROWS, BLOCK>(v, part[2], 0, positions);
    copy_rows<DIM, ROWS, BLOCK>(g, d_out, 0, positions);
    copy_commit();
    row_products<DIM, ROWS, BLOCK>(delta, d_out, out, 0, positions);
    const int row = threadIdx.x;
    if (row < ROWS) {
        own_lse[row] = row < positions ? lse[(u64)blockIdx.x * positions + row] * LOG2_E : infinity();
    }
    if (cos_table && !rotated) rotate_rows<DIM, ROWS, BLOCK, 1>({q, k}, 0, positions, cos_table, sin_table);
    copy_wait<0>();
    __syncthreads();

    const float softmax_scale = scale * LN_2, one[2] = {1.0f, 1.0f}, scaled[2] = {softmax_scale, softmax_scale};
    if (first < positions) {
        // They stay in shared memory until they are needed: so three blocks fit on a multiprocessor.
        const RowsOf<DIM> keys = {k, first}, values = {v, first};
        {
            float dv[1][DIM / 8][4];
            zero(dv);
#pragma unroll 1
            for (int query = 0; query < positions; query += 16) {
                u32 p[1][4], part_ds[1][4];
                probabilities_vjp<DIM>(p, part_ds, keys, values, q, g, own_lse, delta, query, scale);
                add_product_step<LD>(dv, p, g, query);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    // Keys that do not exist must not reach dq: their exponentials may be anything.
                    const int key = first + lane_index() / 4 + i % 2 * 8;
                    const int at = key * LD_DS + query + lane_index() % 4 * 2 + i / 2 * 8;
                    *(u32 *)(ds + at) = key < positions ? part_ds[0][i] : 0;
                }
            }
            // Nobody else reads this warp's rows of v.
            store_rows<DIM>(cotangent(2), dv[0], one, v + first * LD, first, positions);
        }
        float dk[1][DIM / 8][4];
        zero(dk);
        // store_rows has brought the warp together since its lanes wrote ds.
        for (int query = 0; query < positions; query += 16) {
            u32 a[1][4];
            load_a<LD_DS>(a[0], ds, first, query);
            add_product_step<LD>(dk, a, q, query);
        }
        if (cos_table) turn_back<DIM>(dk[0], first, positions, cos_table, sin_table);
        store_rows<DIM>(cotangent(1), dk[0], scaled, v + first * LD, first, positions);
    }
    __syncthreads();
    if (first >= positions) return;

    float dq[1][DIM / 8][4];
    zero(dq);
    for (int key = 0; key < positions; key += 16) {
        u32 a[1][4];
        load_a_transposed<LD_DS>(a[0], ds, first, key);
        add_product_step<LD>(dq, a, k, key);
    }
    if (cos_table) turn_back<DIM>(dq[0], first, positions, cos_table, sin_table);
    store_rows<DIM>(cotangent(0), dq[0], scaled, q + first * LD, first, positions);
}

// Blocks on a multiprocessor of the vjp's largest: as many as fit where there is most shared memory. Elsewhere to ask for as
// many would cost registers and win nothing.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000)
constexpr int VJP_BLOCKS = 3;
#else
constexpr int VJP_BLOCKS = 2;
#endif

#define SHORT(dim, rows, forward_blocks, vjp_blocks)                                                                    \
    extern "C" __global__ void __launch_bounds__(2 * rows, forward_blocks) attention_short_##dim##x##rows(              \
        bf16 *o, float *lse, const bf16 *qkv, const float *cos_table, const float *sin_table, int positions, int heads, \
        float scale) {                                                                                                  \
        wait_for_launch_before();                                                                                       \
        attention_short<dim, rows>(o, lse, qkv, cos_table, sin_table, positions, heads, scale);                         \
    }                                                                                                                   \
    EXPORT_KERNEL(attention_short_##dim##x##rows)                                                                       \
    extern "C" __global__ void __launch_bounds__(2 * rows, vjp_blocks) attention_short_vjp_##dim##x##rows(              \
        bf16 *dqkv, const bf16 *d_o, const bf16 *o, const float *lse, const bf16 *qkv, const float *cos_table,          \
        const float *sin_table, int rotated, int positions, int heads, float scale) {                                   \
        wait_for_launch_before();                                                                                       \
        attention_short_vjp<dim, rows>(dqkv, d_o, o, lse, qkv, cos_table, sin_table, rotated, positions, heads, scale); \
    }                                                                                                                   \
    EXPORT_KERNEL(attention_short_vjp_##dim##x##rows)

SHORT(32, 96, 4, 2)
SHORT(32, 128, 2, 2)
SHORT(64, 96, 4, VJP_BLOCKS)
