// What the attention kernels on tensor cores share: tiles in shared memory, products of fragments, rotation.
//
// A tile holds rows of DIM elements of one head, bf16, each row 16 bytes longer than it need be: so the same 16 bytes of
// eight successive rows lie in different banks, and neither ldmatrix nor a row-wise store conflicts.
#pragma once
#include "mma.cuh"

constexpr float LN_2 = 0.6931471805599453f;

DEVICE float infinity() { return __int_as_float(0x7f800000); }

template <int DIM> constexpr int STRIDE = DIM + 8;

// Where one head's rows lie in qkv [N, 3D], or in another matrix of several heads.
struct Head {
    bf16 *rows;
    u64 stride;
    DEVICE bf16 *row(int i) const { return rows + i * stride; }
};

// Head `head` of part `part` (queries, keys, values) of sequence `batch`.
DEVICE Head head_of(bf16 *matrix, int parts, int part, int batch, int positions, int head, int heads, int dim) {
    const u64 stride = (u64)parts * heads * dim;
    return {matrix + (u64)batch * positions * stride + (part * heads + head) * dim, stride};
}

// ---- fragments from a tile

// A = tile[row .. row + 16, k .. k + 16].
template <int LD> DEVICE void load_a(u32 (&a)[4], const bf16 *tile, int row, int k) {
    const int l = lane_index();
    ldmatrix(a, tile + (row + l % 16) * LD + k + l / 16 * 8);
}
// A = the transpose of tile[k .. k + 16, row .. row + 16].
template <int LD> DEVICE void load_a_transposed(u32 (&a)[4], const bf16 *tile, int row, int k) {
    const int l = lane_index();
    ldmatrix_transposed(a, tile + (k + l % 8 + l / 16 * 8) * LD + row + l / 8 % 2 * 8);
}
// B = the transpose of tile[col .. col + 16, k .. k + 16]: b[0], b[1] for the first 8 columns, b[2], b[3] for the others. From
// the addresses of A, so that they are worked out once.
template <int LD> DEVICE void load_b(u32 (&b)[4], const bf16 *tile, int col, int k) {
    u32 a[4];
    load_a<LD>(a, tile, col, k);
    b[0] = a[0], b[1] = a[2], b[2] = a[1], b[3] = a[3];
}
// B = tile[k .. k + 16, col .. col + 16].
template <int LD> DEVICE void load_b_transposed(u32 (&b)[4], const bf16 *tile, int k, int col) {
    const int l = lane_index();
    ldmatrix_transposed(b, tile + (k + l % 16) * LD + col + l / 16 * 8);
}

// ---- products. C is [16 M, 8 COLS] in accumulators, A is [16 M, 16 K] in fragments, those of a step together.

template <int M, int COLS> DEVICE void zero(float (&c)[M][COLS][4]) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < COLS; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) c[m][n][i] = 0.0f;
}

// C += A B^T, B = tile[col .. col + 8 COLS, k .. k + 16], for one step of 16 of the dimension summed over.
template <int LD, int M, int COLS>
DEVICE void add_product_rows_step(float (&c)[M][COLS][4], const u32 (&a)[M][4], const bf16 *tile, int col, int k) {
#pragma unroll
    for (int n = 0; n < COLS / 2; n++) {
        u32 b[4];
        load_b<LD>(b, tile, col + 16 * n, k);
#pragma unroll
        for (int m = 0; m < M; m++) {
            mma(c[m][2 * n], a[m], b[0], b[1]);
            mma(c[m][2 * n + 1], a[m], b[2], b[3]);
        }
    }
}

// C += A B^T, B = tile[col .. col + 8 COLS, 0 .. 16 K].
template <int LD, int M, int COLS, int K>
DEVICE void add_product_rows(float (&c)[M][COLS][4], const u32 (&a)[K][M][4], const bf16 *tile, int col) {
#pragma unroll
    for (int k = 0; k < K; k++) add_product_rows_step<LD>(c, a[k], tile, col, 16 * k);
}

// 16 rows of DIM as A, in shared memory until they are needed: where registers are scarce.
template <int DIM> struct RowsOf {
    const bf16 *tile;
    int row;
};
template <int LD, int COLS, int DIM>
DEVICE void add_product_rows(float (&c)[1][COLS][4], const RowsOf<DIM> &rows, const bf16 *tile, int col) {
#pragma unroll
    for (int k = 0; k < DIM; k += 16) {
        u32 a[1][4];
        load_a<LD>(a[0], rows.tile, rows.row, k);
        add_product_rows_step<LD>(c, a, tile, col, k);
    }
}

// C += A B, B = tile[k .. k + 16, 0 .. 8 COLS], for one step of 16 of the dimension summed over.
template <int LD, int M, int COLS>
DEVICE void add_product_step(float (&c)[M][COLS][4], const u32 (&a)[M][4], const bf16 *tile, int k) {
#pragma unroll
    for (int n = 0; n < COLS / 2; n++) {
        u32 b[4];
        load_b_transposed<LD>(b, tile, k, 16 * n);
#pragma unroll
        for (int m = 0; m < M; m++) {
            mma(c[m][2 * n], a[m], b[0], b[1]);
            mma(c[m][2 * n + 1], a[m], b[2], b[3]);
        }
    }
}

// Accumulators [16, 16] as fragment A of the next product, rounded to bf16.
DEVICE void as_operand(u32 (&a)[4], const float (&left)[4], const float (&right)[4]) {
    a[0] = bf16_pair(left[0], left[1]);
    a[1] = bf16_pair(left[2], left[3]);
    a[2] = bf16_pair(right[0], right[1]);
    a[3] = bf16_pair(right[2], right[3]);
}

// Over the four lanes that share a row of an accumulator.
DEVICE float row_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}
DEVICE float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

// ---- tiles from and to global memory

// Starts the copy of rows first .. first + ROWS of a head to a tile; rows from `positions` on are 0.
template <int DIM, int ROWS, int BLOCK> DEVICE void copy_rows(bf16 *tile, Head from, int first, int positions) {
    constexpr int CHUNKS = DIM / 8;
    static_assert(ROWS * CHUNKS % BLOCK == 0, "every thread copies as much");
#pragma unroll
    for (int i = 0; i < ROWS * CHUNKS / BLOCK; i++) {
        const int at = threadIdx.x + i * BLOCK, row = at / CHUNKS, col = at % CHUNKS * 8;
        const bool exists = first + row < positions;
        copy_async(tile + row * STRIDE<DIM> + col, from.row(exists ? first + row : 0) + col, exists);
    }
}

// Waits for all but the last `groups_left` groups of copies, and rotates tiles that they have filled, in place: a barrier
// has to follow. The rotation is that of NeoX: element i of the first half of a row goes with element i of the second.
// Rotated rows go to the heads `to`, too, if these are given.
template <int DIM, int ROWS, int BLOCK, int groups_left, int TILES>
DEVICE void rotate_rows(bf16 *const (&tiles)[TILES], int first, int positions, const float *cos_table,
                        const float *sin_table, const Head *to = nullptr) {
    constexpr int HALF = DIM / 2, CHUNKS = HALF / 8, SHARE = ROWS * CHUNKS / BLOCK;
    static_assert(ROWS * CHUNKS % BLOCK == 0 && ROWS % 8 == 0, "every thread rotates as much");
    int row[SHARE];
    float cos[SHARE][8], sin[SHARE][8];
    const int col = threadIdx.x % CHUNKS * 8;
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        // Eight successive lanes take the halves of rows that are CHUNKS apart, which lie in different banks.
        const int at = threadIdx.x / CHUNKS + i * (BLOCK / CHUNKS);
        row[i] = at / 8 * 8 + at % (8 / CHUNKS) * CHUNKS + at / (8 / CHUNKS) % CHUNKS;
        if (first + row[i] < positions) {
            load<8>(cos[i], cos_table + (first + row[i]) * HALF + col);
            load<8>(sin[i], sin_table + (first + row[i]) * HALF + col);
        }
    }
    // Keeps the compiler from reading the angles after the wait.
    __syncwarp();
    copy_wait<groups_left>();
    __syncthreads();
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        if (first + row[i] >= positions) continue;
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            bf16 *const at = tiles[t] + row[i] * STRIDE<DIM> + col;
            float x[8], y[8];
            load<8>(x, at);
            load<8>(y, at + HALF);
#pragma unroll
            for (int j = 0; j < 8; j++) turn(x[j], y[j], cos[i][j], sin[i][j]);
            store<8>(at, x);
            store<8>(at + HALF, y);
            if (to) {
                store<8>(to[t].row(first + row[i]) + col, x);
                store<8>(to[t].row(first + row[i]) + col + HALF, y);
            }
        }
    }
}

// Accumulators [16, DIM], in the rows of this lane, turned back: the vjp of the rotation.
template <int DIM>
DEVICE void turn_back(float (&c)[DIM / 8][4], int row, int positions, const float *cos_table, const float *sin_table) {
    constexpr int HALF = DIM / 2;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int position = row + lane_index() / 4 + 8 * r;
        if (position >= positions) continue;
#pragma unroll
        for (int n = 0; n < HALF / 8; n++) {
            const int at = position * HALF + 8 * n + lane_index() % 4 * 2;
            const float2 cos = *(const float2 *)(cos_table + at), sin = *(const float2 *)(sin_table + at);
            turn(c[n][2 * r], c[n + HALF / 8][2 * r], cos.x, -sin.x);
            turn(c[n][2 * r + 1], c[n + HALF / 8][2 * r + 1], cos.y, -sin.y);
        }
    }
}

// Writes accumulators [16, DIM] of a warp, times a factor for each row of this lane, to rows first .. first + 16 of a
// head: by way of a tile of 16 rows that is the warp's own, so that it writes 16 bytes at a time. `l` is the lane.
template <int DIM>
DEVICE void store_rows(Head to, const float (&c)[DIM / 8][4], const float (&factor)[2], bf16 *tile, int first, int positions,
                       int l = lane_index()) {
    constexpr int CHUNKS = DIM / 8;
    __syncwarp();
#pragma unroll
    for (int n = 0; n < DIM / 8; n++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            bf16 *const pair = tile + (l / 4 + 8 * r) * STRIDE<DIM> + 8 * n + l % 4 * 2;
            *(u32 *)pair = bf16_pair(c[n][2 * r] * factor[r], c[n][2 * r + 1] * factor[r]);
        }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 16 * CHUNKS / LANES; i++) {
        const int at = l + i * LANES, row = at / CHUNKS, col = at % CHUNKS * 8;
        if (first + row < positions)
            *(uint4 *)(to.row(first + row) + col) = *(const uint4 *)(tile + row * STRIDE<DIM> + col);
    }
}

// ---- the vjp

// `delta = rowsum(do * o)` of rows first .. first + ROWS, to `delta`, 0 from `positions` on.
template <int DIM, int ROWS, int BLOCK>
DEVICE void row_products(float *delta, Head d_o, Head o, int first, int positions) {
    constexpr int CHUNKS = DIM / 8;
    static_assert(ROWS * CHUNKS % BLOCK == 0 && LANES % CHUNKS == 0, "a row's lanes are of one warp");
#pragma unroll
    for (int i = 0; i < ROWS * CHUNKS / BLOCK; i++) {
        const int at = threadIdx.x + i * BLOCK, row = at / CHUNKS, col = at % CHUNKS * 8;
        float sum = 0.0f;
        if (first + row < positions) {
            float x[8], y[8];
            load<8>(x, d_o.row(first + row) + col);
            load<8>(y, o.row(first + row) + col);
#pragma unroll
            for (int j = 0; j < 8; j++) sum += x[j] * y[j];
        }
#pragma unroll
        for (int distance = CHUNKS / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
        if (col == 0) delta[row] = sum;
    }
}

// Of a warp's 16 keys and 16 queries:
//
//     p = exp2(scale k q^T - lse), ds = p * (v do^T - delta)
//
// so that dv += p do and dk += ds q. Everything is transposed, keys down and queries across, so that p and ds are operands as
// they come out. `lse` is in units of log 2; scale is log2(e) / sqrt(DIM), and the factor 1 / sqrt(DIM) of dk is left to the
// end. Queries that do not exist have an lse of infinity, and so no part.
template <int DIM, class Rows>
DEVICE void probabilities_vjp(u32 (&p_operand)[1][4], u32 (&ds)[1][4], const Rows &k, const Rows &v, const bf16 *q,
                              const bf16 *d_o, const float *lse, const float *delta, int query, float scale) {
    constexpr int LD = STRIDE<DIM>;
    float s[1][2][4], dp[1][2][4];
    zero(s), zero(dp);
    add_product_rows<LD>(s, k, q, query);
    add_product_rows<LD>(dp, v, d_o, query);
    float p[2][4];
#pragma unroll
    for (int n = 0; n < 2; n++) {
        const int at = query + 8 * n + lane_index() % 4 * 2;
        const float2 own_lse = *(const float2 *)(lse + at), own_delta = *(const float2 *)(delta + at);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            p[n][i] = exp2_fast(s[0][n][i] * scale - (i % 2 ? own_lse.y : own_lse.x));
            dp[0][n][i] = p[n][i] * (dp[0][n][i] - (i % 2 ? own_delta.y : own_delta.x));
        }
    }
    as_operand(p_operand[0], p[0], p[1]);
    as_operand(ds[0], dp[0][0], dp[0][1]);
}
