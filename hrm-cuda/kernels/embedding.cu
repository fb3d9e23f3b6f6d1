#include "common.cuh"

// 1 / sqrt 2 as the published program writes it.
constexpr float HALF_SQRT = 0.707106781f;

// One position: y = scale * e, or scale * HALF_SQRT * (e + position); element(x, col) gives e from column `col` on.
template <int WIDTH, class T, class Element>
DEVICE void embed_row(T *y, Element element, const T *position, int hidden, float scale) {
    for (int col = lane_index() * WIDTH; col < hidden; col += LANES * WIDTH) {
        float x[WIDTH];
        element(x, col);
        if (position) {
            float p[WIDTH];
            load(p, position + col);
#pragma unroll
            for (int i = 0; i < WIDTH; i++) x[i] = rounded<T>(HALF_SQRT * rounded<T>(x[i] + p[i]));
        }
#pragma unroll
        for (int i = 0; i < WIDTH; i++) x[i] *= scale;
        store(y + col, x);
    }
}

// The same with a row of the token table as e, or zeros without one.
template <int WIDTH, class T>
DEVICE void embed_token(T *y, const T *token, const T *position, int hidden, float scale) {
    auto element = [&](float(&x)[WIDTH], int col) {
#pragma unroll
        for (int i = 0; i < WIDTH; i++) x[i] = 0.0f;
        if (token) load(x, token + col);
    };
    embed_row<WIDTH>(y, element, position, hidden, scale);
}

// y [B, S, hidden] with S = prefix + seq_len, one warp for each position: row s of the zero-padded puzzle embedding in
// front, then tokens. An id outside its table is reported, and counts as zeros.
template <class T>
DEVICE void embed(T *y, const int *inputs, const int *puzzle_ids, const T *tokens, const float *puzzles,
                  const T *positions, int rows, int seq_len, int prefix, int hidden, int vocab, int identifiers, int ndim,
                  float scale, u64 *fault) {
    int row = warp_row();
    if (row >= rows) return;
    int b = row / (prefix + seq_len), s = row % (prefix + seq_len);
    y += (u64)row * hidden;
    const T *position = positions ? positions + (u64)s * hidden : nullptr;
    if (s < prefix) {
        int id = puzzle_ids[b];
        // Columns of the puzzle embedding from this position on; rows of any width are not aligned.
        int rest = is_row(id, identifiers, fault, FAULT_PUZZLE) ? ndim - s * hidden : 0;
        const float *puzzle = puzzles + (u64)id * ndim + s * hidden;
        auto element = [&](float(&x)[1], int col) { x[0] = col < rest ? rounded<T>(puzzle[col]) : 0.0f; };
        embed_row<1>(y, element, position, hidden, scale);
        return;
    }
    int id = inputs[b * seq_len + s - prefix];
    const T *token = is_row(id, vocab, fault, FAULT_TOKEN) ? tokens + (u64)id * hidden : nullptr;
    if (by_packs(hidden))
        embed_token<PACK<T>>(y, token, position, hidden, scale);
    else
        embed_token<1>(y, token, position, hidden, scale);
}
KERNEL_FOR_EACH_TYPE(embed,
                     (T *y, const int *inputs, const int *puzzle_ids, const T *tokens, const float *puzzles,
                      const T *positions, int rows, int seq_len, int prefix, int hidden, int vocab, int identifiers, int ndim,
                      float scale, u64 *fault),
                     (y, inputs, puzzle_ids, tokens, puzzles, positions, rows, seq_len, prefix, hidden, vocab, identifiers, ndim,
                      scale, fault))

// The cotangent of e (and of its position) from that of y.
template <class T> DEVICE float embed_cotangent(float dy, float scale, int learned) {
    float d = rounded<T>(scale * dy);
    return learned ? rounded<T>(HALF_SQRT * d) : d;
}

// dpuzzle [B, ndim]: the front of each sequence of dy [B, positions, hidden].
template <class T>
DEVICE void embed_vjp_puzzles(T *dpuzzle, const T *dy, int batch, int positions, int hidden, int ndim, float scale,
                              int learned) {
    int b = thread_index() / ndim, col = thread_index() % ndim;
    if (b >= batch) return;
    float d = to_float(dy[(u64)b * positions * hidden + col]);
    dpuzzle[thread_index()] = from_float<T>(embed_cotangent<T>(d, scale, learned));
}
KERNEL_FOR_EACH_TYPE(embed_vjp_puzzles,
                     (T *dpuzzle, const T *dy, int batch, int positions, int hidden, int ndim, float scale, int learned),
                     (dpuzzle, dy, batch, positions, hidden, ndim, scale, learned))

// Columns of a warp: 8 for each lane.
constexpr int COLUMNS = 256;
// Positions that are read ahead of their sum.
constexpr int AHEAD = 4;

// parts[chunk, token, col]: the sum of the cotangents of the chunk's cells that hold `token`, in their order. Each warp
// looks through the cells of one chunk for one token, and sums COLUMNS columns: WIDTH next to each other for each lane.
template <int WIDTH, class T>
DEVICE void embed_vjp_tokens_by(float *parts, const T *dy, const int *inputs, int batch, int seq_len, int positions,
                                int hidden, int vocab, int chunks, float scale, int learned) {
    constexpr int COUNT = COLUMNS / LANES / WIDTH;
    int tiles = (hidden + COLUMNS - 1) / COLUMNS;
    int tile = warp_row() % tiles, token = warp_row() / tiles % vocab, chunk = warp_row() / tiles / vocab;
    if (chunk >= chunks) return;
    // The lane's columns begin there, COUNT times WIDTH of them.
    int first = tile * COLUMNS + lane_index() * WIDTH, rest = hidden - first;
    dy += first, parts += first;
    int cells = batch * seq_len, each = (cells + chunks - 1) / chunks;
    int begin = chunk * each, end = min(begin + each, cells);
    float sum[COUNT][WIDTH] = {};
    for (int cell = begin; cell < end; cell += LANES) {
        int mine = cell + lane_index();
        u32 found = __ballot_sync(~0u, mine < end && inputs[mine] == token);
        while (found) {
            float d[AHEAD][COUNT][WIDTH] = {};
#pragma unroll
            for (int k = 0; k < AHEAD; k++) {
                if (!found) continue;
                int hit = cell + __ffs(found) - 1;
                found &= found - 1;
                // The prefixes of this sequence and of those before it lie in front.
                int row = hit + (hit / seq_len + 1) * (positions - seq_len);
#pragma unroll
                for (int i = 0; i < COUNT; i++)
                    if (i * LANES * WIDTH < rest) load(d[k][i], dy + (u64)row * hidden + i * LANES * WIDTH);
            }
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
#pragma unroll
                for (int i = 0; i < COUNT; i++)
#pragma unroll
                    for (int j = 0; j < WIDTH; j++) sum[i][j] += embed_cotangent<T>(d[k][i][j], scale, learned);
        }
    }
    parts += ((u64)chunk * vocab + token) * hidden;
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        if (i * LANES * WIDTH < rest) store(parts + i * LANES * WIDTH, sum[i]);
}

template <class T>
DEVICE void embed_vjp_tokens(float *parts, const T *dy, const int *inputs, int batch, int seq_len, int positions,
                             int hidden, int vocab, int chunks, float scale, int learned) {
    if (by_packs(hidden))
        embed_vjp_tokens_by<8>(parts, dy, inputs, batch, seq_len, positions, hidden, vocab, chunks, scale, learned);
    else
        embed_vjp_tokens_by<1>(parts, dy, inputs, batch, seq_len, positions, hidden, vocab, chunks, scale, learned);
}
KERNEL_FOR_EACH_TYPE(embed_vjp_tokens,
                     (float *parts, const T *dy, const int *inputs, int batch, int seq_len, int positions, int hidden,
                      int vocab, int chunks, float scale, int learned),
                     (parts, dy, inputs, batch, seq_len, positions, hidden, vocab, chunks, scale, learned))

// Gradient of the learned positions: the sum over sequences of cols = positions * hidden values each.
template <class T> DEVICE void embed_vjp_positions(float *gradient, const T *dy, int batch, int cols, float scale) {
    int col = blockIdx.x * LANES + lane_index();
    float sum = sum_over_rows(batch, [&](int b) {
        return col < cols ? embed_cotangent<T>(to_float(dy[(u64)b * cols + col]), scale, true) : 0.0f;
    });
    if (warp_index() == 0 && col < cols) gradient[col] = sum;
}
KERNEL_FOR_EACH_TYPE(embed_vjp_positions, (float *gradient, const T *dy, int batch, int cols, float scale),
                     (gradient, dy, batch, cols, scale))
