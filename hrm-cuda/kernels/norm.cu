// Residual sum and RMSNorm, forward and vjp, one warp for each row. A row of up to HELD columns is held in registers and
// read once; a wider one is read twice, the second time from the cache.
#include "common.cuh"

constexpr int HELD = 512;
// 16-byte parts of a lane of the widest row that is held.
template <class T> constexpr int PARTS = HELD / LANES / PACK<T>;

// Calls step(i, col) for the lane's parts of a row, WIDTH columns each from `col` on: part i of COUNT.
template <int WIDTH, int COUNT, class Step> DEVICE void each_part(int cols, Step step) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        int col = (i * LANES + lane_index()) * WIDTH;
        if (col < cols) step(i, col);
    }
}

// s = x + t, rstd = 1 / sqrt(mean(s^2) + eps), y = s * rstd, the row held in COUNT packs.
template <int COUNT, class T>
DEVICE void add_rms_norm_held(T *y, float *rstd, const T *x, const T *t, int cols, float eps) {
    constexpr int WIDTH = PACK<T>;
    float s[COUNT][WIDTH], other[COUNT][WIDTH], squares = 0.0f;
    each_part<WIDTH, COUNT>(cols, [&](int i, int col) {
        load(s[i], x + col);
        load(other[i], t + col);
    });
    each_part<WIDTH, COUNT>(cols, [&](int i, int) {
#pragma unroll
        for (int j = 0; j < WIDTH; j++) {
            s[i][j] = rounded<T>(s[i][j] + other[i][j]);
            squares += s[i][j] * s[i][j];
        }
    });
    float r = 1.0f / sqrtf(warp_sum(squares) / cols + eps);
    each_part<WIDTH, COUNT>(cols, [&](int i, int col) {
#pragma unroll
        for (int j = 0; j < WIDTH; j++) s[i][j] *= r;
        store(y + col, s[i]);
    });
    if (lane_index() == 0) *rstd = r;
}

// The same for a row of any width.
template <int WIDTH, class T>
DEVICE void add_rms_norm_twice(T *y, float *rstd, const T *x, const T *t, int cols, float eps) {
    float s[WIDTH], other[WIDTH], squares = 0.0f;
    auto sum = [&](int col) {
        load(s, x + col);
        load(other, t + col);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) s[j] = rounded<T>(s[j] + other[j]);
    };
    for (int col = lane_index() * WIDTH; col < cols; col += LANES * WIDTH) {
        sum(col);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) squares += s[j] * s[j];
    }
    float r = 1.0f / sqrtf(warp_sum(squares) / cols + eps);
    for (int col = lane_index() * WIDTH; col < cols; col += LANES * WIDTH) {
        sum(col);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) s[j] *= r;
        store(y + col, s);
    }
    if (lane_index() == 0) *rstd = r;
}

template <class T> DEVICE void add_rms_norm(T *y, float *rstd, const T *x, const T *t, int rows, int cols, float eps) {
    int row = warp_row();
    if (row >= rows) return;
    u64 start = (u64)row * cols;
    y += start, x += start, t += start, rstd += row;
    if (!by_packs(cols))
        add_rms_norm_twice<1>(y, rstd, x, t, cols, eps);
    else if (cols <= HELD / 4)
        add_rms_norm_held<(PARTS<T> + 3) / 4>(y, rstd, x, t, cols, eps);
    else if (cols <= HELD / 2)
        add_rms_norm_held<PARTS<T> / 2>(y, rstd, x, t, cols, eps);
    else if (cols <= HELD)
        add_rms_norm_held<PARTS<T>>(y, rstd, x, t, cols, eps);
    else
        add_rms_norm_twice<PACK<T>>(y, rstd, x, t, cols, eps);
}
KERNEL_FOR_EACH_TYPE(add_rms_norm, (T *y, float *rstd, const T *x, const T *t, int rows, int cols, float eps),
                     (y, rstd, x, t, rows, cols, eps))

// ds = rstd * (dy - y * mean(dy * y)), the cotangent of both summands, from the output y; the row held in COUNT packs.
template <int COUNT, class T> DEVICE void add_rms_norm_vjp_held(T *ds, const T *dy, const T *y, float rstd, int cols) {
    constexpr int WIDTH = PACK<T>;
    float d[COUNT][WIDTH], out[COUNT][WIDTH], product = 0.0f;
    each_part<WIDTH, COUNT>(cols, [&](int i, int col) {
        load(d[i], dy + col);
        load(out[i], y + col);
    });
    each_part<WIDTH, COUNT>(cols, [&](int i, int) {
#pragma unroll
        for (int j = 0; j < WIDTH; j++) product += d[i][j] * out[i][j];
    });
    float mean = warp_sum(product) / cols;
    each_part<WIDTH, COUNT>(cols, [&](int i, int col) {
#pragma unroll
        for (int j = 0; j < WIDTH; j++) d[i][j] = rstd * (d[i][j] - out[i][j] * mean);
        store(ds + col, d[i]);
    });
}

// The same for a row of any width. Not unrolled, which would take registers from the kernel that has the other, too.
template <int WIDTH, class T>
DEVICE void add_rms_norm_vjp_twice(T *ds, const T *dy, const T *y, float rstd, int cols) {
    float d[WIDTH], out[WIDTH], product = 0.0f;
#pragma unroll 1
    for (int col = lane_index() * WIDTH; col < cols; col += LANES * WIDTH) {
        load(d, dy + col);
        load(out, y + col);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) product += d[j] * out[j];
    }
    float mean = warp_sum(product) / cols;
#pragma unroll 1
    for (int col = lane_index() * WIDTH; col < cols; col += LANES * WIDTH) {
        load(d, dy + col);
        load(out, y + col);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) d[j] = rstd * (d[j] - out[j] * mean);
        store(ds + col, d);
    }
}

template <class T> DEVICE void add_rms_norm_vjp(T *ds, const T *dy, const T *y, const float *rstd, int rows, int cols) {
    int row = warp_row();
    if (row >= rows) return;
    u64 start = (u64)row * cols;
    ds += start, dy += start, y += start;
    float r = rstd[row];
    if (!by_packs(cols))
        add_rms_norm_vjp_twice<1>(ds, dy, y, r, cols);
    else if (cols <= HELD / 4)
        add_rms_norm_vjp_held<(PARTS<T> + 3) / 4>(ds, dy, y, r, cols);
    else if (cols <= HELD / 2)
        add_rms_norm_vjp_held<PARTS<T> / 2>(ds, dy, y, r, cols);
    else if (cols <= HELD)
        add_rms_norm_vjp_held<PARTS<T>>(ds, dy, y, r, cols);
    else
        add_rms_norm_vjp_twice<PACK<T>>(ds, dy, y, r, cols);
}
KERNEL_FOR_EACH_TYPE(add_rms_norm_vjp, (T *ds, const T *dy, const T *y, const float *rstd, int rows, int cols),
                     (ds, dy, y, rstd, rows, cols))
