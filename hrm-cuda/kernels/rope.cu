// Rotary positions.
#include "common.cuh"

// Queries and keys, or keys alone, rotated in place: element i of the first half of a head goes with element i of the
// second,
//
//     (x, y) = (x cos - y sin, y cos + x sin)
//
// qkv [rows, 3 * heads * dim], of which the parts first_part up to 2 are rotated; tables [positions, dim / 2]. A thread has
// WIDTH pairs.
template <int WIDTH, class T>
DEVICE void rope_pairs(T *qkv, const float *cos_table, const float *sin_table, int rows, int positions, int heads, int dim,
                       int first_part) {
    const int half = dim / 2, chunks = half / WIDTH, in_row = (2 - first_part) * heads * chunks;
    const int at = thread_index();
    if (at / in_row >= rows) return;
    const int row = at / in_row, head = at % in_row / chunks, col = at % chunks * WIDTH;
    T *const x_at = qkv + ((u64)row * 3 + first_part) * heads * dim + head * dim + col, *const y_at = x_at + half;
    const u64 angle = (u64)(row % positions) * half + col;
    float x[WIDTH], y[WIDTH], cos[WIDTH], sin[WIDTH];
    load<WIDTH>(x, x_at);
    load<WIDTH>(y, y_at);
    load<WIDTH>(cos, cos_table + angle);
    load<WIDTH>(sin, sin_table + angle);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
        const float turned = x[i] * cos[i] - y[i] * sin[i];
        y[i] = y[i] * cos[i] + x[i] * sin[i];
        x[i] = turned;
    }
    store<WIDTH>(x_at, x);
    store<WIDTH>(y_at, y);
}

template <class T>
DEVICE void rope(T *qkv, const float *cos_table, const float *sin_table, int rows, int positions, int heads, int dim,
                 int first_part) {
    if (dim % 16 == 0)
        rope_pairs<8>(qkv, cos_table, sin_table, rows, positions, heads, dim, first_part);
    else
        rope_pairs<1>(qkv, cos_table, sin_table, rows, positions, heads, dim, first_part);
}

KERNEL_FOR_EACH_TYPE(rope,
                     (T * qkv, const float *cos_table, const float *sin_table, int rows, int positions, int heads, int dim,
                      int first_part),
                     (qkv, cos_table, sin_table, rows, positions, heads, dim, first_part))
