// Products whose weight has few rows, in bf16: the vocabulary head and its vjps. What they cost is the way of the rows of x
// [rows, inner], or of dx, through memory: each goes it once, 16 bytes at a time. A row of y [rows, outer] is of any number
// of bytes, aligned to none.
//
// Tensor cores do not ask which column or row of a matrix comes at which place of a fragment, as long as both factors have
// the same order. So a lane takes 8 neighbouring elements of a row, and gives them to as many fragments as need them.
#include "mma.cuh"

// Rows of a fragment: those of a warp at a time.
constexpr int ROWS = 16;
// Rows of the weight, at most.
constexpr int OUTER = 32;
// Columns of a row that 4 lanes hold, and 8 lanes.
constexpr int COLS_OF_4_LANES = 32, COLS_OF_8_LANES = 64;

// y [rows, outer] = x [rows, inner] w^T, w [outer, inner], one warp for 16 rows. Lane (g, t) with g = lane / 4 and
// t = lane % 4 takes columns 8t .. 8t + 7 of each 32, of the rows g and g + 8 of x and of each eighth row of w from g on.
KERNEL(linear_narrow)(bf16 *y, const bf16 *x, const bf16 *w, int rows, int inner, int outer) {
    wait_for_launch_before();
    constexpr int AHEAD = 4;
    SHARED_DYNAMIC(memory);
    const int tiles = (outer + 7) / 8, steps = inner / COLS_OF_4_LANES, lane = lane_index(), g = lane / 4, t = lane % 4;
    // The weights [steps, tiles, LANES] as lanes want them, and behind them room for the results of each warp.
    uint4 *const weights = (uint4 *)memory;
    bf16 *const own = (bf16 *)(weights + steps * tiles * LANES) + warp_index() * ROWS * OUTER;
    for (int i = threadIdx.x; i < steps * tiles * LANES; i += THREADS) {
        const int row = i / LANES % tiles * 8 + g, col = i / LANES / tiles * COLS_OF_4_LANES + t * 8;
        weights[i] = row < outer ? *(const uint4 *)(w + row * inner + col) : uint4{0, 0, 0, 0};
    }
    __syncthreads();
    const int first = warp_row() * ROWS;
    if (first >= rows) return;

    float sums[OUTER / 8][4] = {};
    for (int step = 0; step < steps; step += AHEAD) {
        uint4 a[AHEAD][2];
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int row = first + g + 8 * r, col = (step + i) * COLS_OF_4_LANES + t * 8;
                const bool exists = row < rows && col < inner;
                a[i][r] = exists ? *(const uint4 *)(x + (u64)row * inner + col) : uint4{0, 0, 0, 0};
            }
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            if (step + i >= steps) continue;
            const u32 front[4] = {a[i][0].x, a[i][1].x, a[i][0].y, a[i][1].y};
            const u32 back[4] = {a[i][0].z, a[i][1].z, a[i][0].w, a[i][1].w};
#pragma unroll
            for (int tile = 0; tile < OUTER / 8; tile++) {
                if (tile >= tiles) continue;
                const uint4 b = weights[((step + i) * tiles + tile) * LANES + lane];
                mma(sums[tile], front, b.x, b.y);
                mma(sums[tile], back, b.z, b.w);
            }
        }
    }

    // Rows of y follow each other without gaps: those of a warp are one piece, aligned to 16 bytes.
#pragma unroll
    for (int tile = 0; tile < OUTER / 8; tile++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int col = 8 * tile + 2 * t + i % 2;
            if (col < outer) own[(g + i / 2 * 8) * outer + col] = from_float<bf16>(sums[tile][i]);
        }
    __syncwarp();
    const int count = min(ROWS, rows - first) * outer, packs = count / PACK<bf16>;
    y += (u64)first * outer;
    for (int i = lane; i < packs; i += LANES) ((uint4 *)y)[i] = ((const uint4 *)own)[i];
    for (int i = packs * PACK<bf16> + lane; i < count; i += LANES) y[i] = own[i];
}
EXPORT_KERNEL(linear_narrow)

// dx [rows, inner] = dy [rows, outer] w, or added to dx; w [outer, inner], one warp for 16 rows. Lane (g, t) gets columns
// 8t .. 8t + 7 of each 32, two from each of four fragments, of the rows g and g + 8.
KERNEL(linear_narrow_vjp_input)(bf16 *dx, const bf16 *dy, const bf16 *w, int rows, int inner, int outer, int accumulate) {
    wait_for_launch_before();
    SHARED_DYNAMIC(memory);
    const int depth = (outer + 15) / 16, steps = inner / COLS_OF_4_LANES, lane = lane_index(), g = lane / 4, t = lane % 4;
    // The weights [steps, depth, 2, LANES] as lanes want them: of two fragments at a time.
    uint4 *const weights = (uint4 *)memory;
    const auto weight = [&](int row, int col) { return row < outer ? w[row * inner + col] : bf16{0}; };
    const auto weight_pair = [&](int row, int col) { return pair_of(weight(row, col), weight(row + 1, col)); };
    for (int i = threadIdx.x; i < steps * depth * 2 * LANES; i += THREADS) {
        const int half = i / LANES % 2, row = i / LANES / 2 % depth * 16 + 2 * t;
        const int col = i / LANES / 2 / depth * COLS_OF_4_LANES + g / 2 * 8 + 4 * half + g % 2;
        weights[i] = uint4{weight_pair(row, col), weight_pair(row + 8, col), weight_pair(row, col + 2),
                           weight_pair(row + 8, col + 2)};
    }
    __syncthreads();
    const int first = warp_row() * ROWS;
    if (first >= rows) return;

    const auto cotangent = [&](int row, int col) {
        return row < rows && col < outer ? dy[(u64)row * outer + col] : bf16{0};
    };
    u32 a[OUTER / 16][4];
#pragma unroll
    for (int k = 0; k < OUTER / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int row = first + g + i % 2 * 8, col = 16 * k + 2 * t + i / 2 * 8;
            a[k][i] = pair_of(cotangent(row, col), cotangent(row, col + 1));
        }
    for (int step = 0; step < steps; step++) {
        float sums[4][4] = {};
#pragma unroll
        for (int k = 0; k < OUTER / 16; k++) {
            if (k >= depth) continue;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const uint4 b = weights[((step * depth + k) * 2 + half) * LANES + lane];
                mma(sums[2 * half], a[k], b.x, b.y);
                mma(sums[2 * half + 1], a[k], b.z, b.w);
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int row = first + g + 8 * r;
            if (row >= rows) continue;
            bf16 *const to = dx + (u64)row * inner + step * COLS_OF_4_LANES + t * 8;
            float d[8], old[8] = {};
            if (accumulate) load(old, to);
#pragma unroll
            for (int i = 0; i < 8; i++) d[i] = old[i] + sums[i / 2][2 * r + i % 2];
            store(to, d);
        }
    }
}
EXPORT_KERNEL(linear_narrow_vjp_input)

// parts [chunks, outer, inner]: dy^T x over `each` rows of dy [rows, outer] and x [rows, inner], in their order. One warp for
// 64 columns of x and 16 of dy. Lane (g, t) takes columns 8g .. 8g + 7 of the rows 2t, 2t + 1, 2t + 8 and 2t + 9 of each 16.
KERNEL(linear_narrow_vjp_weight)(float *parts, const bf16 *dy, const bf16 *x, int rows, int inner, int outer, int each,
                                 int chunks) {
    wait_for_launch_before();
    constexpr int AHEAD = 2;
    const int g = lane_index() / 4, t = lane_index() % 4, groups = inner / COLS_OF_8_LANES, halves = (outer + 15) / 16;
    const int col = warp_row() % groups * COLS_OF_8_LANES, half = warp_row() / groups % halves, chunk = warp_row() / groups / halves;
    if (chunk >= chunks) return;
    const int begin = chunk * each, end = min(begin + each, rows);
    const auto cotangent = [&](int row, int col) {
        return row < end && col < outer ? dy[(u64)row * outer + col] : bf16{0};
    };
    // Of place g of fragment j the column 8g + j.
    float sums[8][4] = {};
    for (int row = begin; row < end; row += AHEAD * ROWS) {
        u32 a[AHEAD][4], b[AHEAD][4][4];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int at = row + k * ROWS + 2 * t + i % 2 + i / 2 * 8;
                const uint4 raw = at < end ? *(const uint4 *)(x + (u64)at * inner + col + 8 * g) : uint4{0, 0, 0, 0};
                b[k][i][0] = raw.x, b[k][i][1] = raw.y, b[k][i][2] = raw.z, b[k][i][3] = raw.w;
            }
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int at = row + k * ROWS + 2 * t + i / 2 * 8, place = 16 * half + g + i % 2 * 8;
                a[k][i] = pair_of(cotangent(at, place), cotangent(at + 1, place));
            }
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
#pragma unroll
            for (int j = 0; j < 8; j++) {
                // Element j of two rows, one below the other.
                const auto column = [&](const u32(&upper)[4], const u32(&lower)[4]) {
                    return j % 2 ? upper[j / 2] >> 16 | (lower[j / 2] & 0xffff0000u)
                                 : (upper[j / 2] & 0xffffu) | lower[j / 2] << 16;
                };
                mma(sums[j], a[k], column(b[k][0], b[k][1]), column(b[k][2], b[k][3]));
            }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int place = 16 * half + g + i / 2 * 8;
        if (place >= outer) continue;
        float d[8];
#pragma unroll
        for (int j = 0; j < 8; j++) d[j] = sums[j][i];
        store(parts + ((u64)chunk * outer + place) * inner + col + 8 * (2 * t + i % 2), d);
    }
}
EXPORT_KERNEL(linear_narrow_vjp_weight)
