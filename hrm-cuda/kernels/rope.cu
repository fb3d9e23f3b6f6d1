// Rotary positions.
#include "common.cuh"

// Queries and keys, or keys alone, rotated in place: element i of the first half of a head goes with element i of the
// second,
//
//     (x, y) = (x cos - y sin, y cos + x sin)
//
// qkv [rows, 3 * heads * dim], of which the parts first_part up to 2 are rotated; tables [positions, dim / 2]. A thread has
// WIDTH pairs of every head of its row: their angles are the same.
template <int WIDTH, class T>
DEVICE void rope_pairs(T *qkv, const float *cos_table, const float *sin_table, int rows, int positions, int heads, int dim,
                       int first_part) {
    const int half = dim / 2, chunks = half / WIDTH, at = thread_index();
    const int row = at / chunks, col = at % chunks * WIDTH;
    if (row >= rows) return;
    T *const begin = qkv + ((u64)row * 3 + first_part) * heads * dim + col;
    const u64 angle = (u64)(row % positions) * half + col;
    float cos[WIDTH], sin[WIDTH];
    load<WIDTH>(cos, cos_table + angle);
    load<WIDTH>(sin, sin_table + angle);
    // Those of the keys lie behind those of the queries.
#pragma unroll 4
    for (int head = 0; head < (2 - first_part) * heads; head++) {
        T *const x_at = begin + head * dim, *const y_at = x_at + half;
        float x[WIDTH], y[WIDTH];
        load<WIDTH>(x, x_at);
        load<WIDTH>(y, y_at);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) turn(x[i], y[i], cos[i], sin[i]);
        store<WIDTH>(x_at, x);
        store<WIDTH>(y_at, y);
    }
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
