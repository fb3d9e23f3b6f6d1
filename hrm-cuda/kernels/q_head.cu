#include "common.cuh"

// q[b] = W z[b, 0] + bias: q [B, 2], z [B, positions, hidden], one warp for each sequence.
template <class T>
DEVICE void q_head(float *q, const T *z, const T *w, const T *bias, int batch, int positions, int hidden) {
    int b = warp_row();
    if (b >= batch) return;
    z += (u64)b * positions * hidden;
    float halt = 0.0f, go_on = 0.0f;
    for (int col = lane_index(); col < hidden; col += LANES) {
        float x = to_float(z[col]);
        halt += x * to_float(w[col]);
        go_on += x * to_float(w[hidden + col]);
    }
    halt = warp_sum(halt), go_on = warp_sum(go_on);
    if (lane_index() == 0) {
        q[2 * b] = rounded<T>(halt + to_float(bias[0]));
        q[2 * b + 1] = rounded<T>(go_on + to_float(bias[1]));
    }
}
KERNEL_FOR_EACH_TYPE(q_head, (float *q, const T *z, const T *w, const T *bias, int batch, int positions, int hidden),
                     (q, z, w, bias, batch, positions, hidden))

// y[b] = x[b, 0]: y [B, hidden], x [B, positions, hidden], one warp for each sequence.
template <class T> DEVICE void take_first(T *y, const T *x, int batch, int positions, int hidden) {
    int b = warp_row();
    if (b >= batch) return;
    x += (u64)b * positions * hidden;
    y += (u64)b * hidden;
    if (by_packs(hidden)) {
        for (int i = lane_index(); i < hidden / PACK<T>; i += LANES) ((uint4 *)y)[i] = ((const uint4 *)x)[i];
    } else {
        for (int col = lane_index(); col < hidden; col += LANES) y[col] = x[col];
    }
}
KERNEL_FOR_EACH_TYPE(take_first, (T *y, const T *x, int batch, int positions, int hidden), (y, x, batch, positions, hidden))

// dz[b, 0] += dq[b] W, one warp for each sequence.
template <class T> DEVICE void q_head_vjp_state(T *dz, const float *dq, const T *w, int batch, int positions, int hidden) {
    int b = warp_row();
    if (b >= batch) return;
    dz += (u64)b * positions * hidden;
    float halt = rounded<T>(dq[2 * b]), go_on = rounded<T>(dq[2 * b + 1]);
    for (int col = lane_index(); col < hidden; col += LANES) {
        float sum = to_float(dz[col]) + halt * to_float(w[col]);
        dz[col] = from_float<T>(sum + go_on * to_float(w[hidden + col]));
    }
}
KERNEL_FOR_EACH_TYPE(q_head_vjp_state, (T *dz, const float *dq, const T *w, int batch, int positions, int hidden),
                     (dz, dq, w, batch, positions, hidden))

// dw = dq^T z[:, 0], 32 columns of it by each block, and dbias = the sum of dq by the last block.
template <class T>
DEVICE void q_head_vjp_weight(float *dw, float *dbias, const float *dq, const T *z, int batch, int positions,
                              int hidden) {
    int col = blockIdx.x * LANES + lane_index();
    bool bias = blockIdx.x == gridDim.x - 1;
    for (int i = 0; i < 2; i++) {
        float sum = sum_over_rows(batch, [&](int b) {
            float x = bias ? 1.0f : col < hidden ? to_float(z[(u64)b * positions * hidden + col]) : 0.0f;
            return rounded<T>(dq[2 * b + i]) * x;
        });
        if (warp_index() != 0) continue;
        if (bias && lane_index() == 0) dbias[i] = sum;
        if (!bias && col < hidden) dw[i * hidden + col] = sum;
    }
}
KERNEL_FOR_EACH_TYPE(q_head_vjp_weight,
                     (float *dw, float *dbias, const float *dq, const T *z, int batch, int positions, int hidden),
                     (dw, dbias, dq, z, batch, positions, hidden))
