// Attention for heads of any width and in f32: one warp for each row, everything summed in f32 in the order of positions.
//
// Queries and keys are rotated before, in place. Of 32 keys (or queries) at a time each lane takes one for the scores; for
// the sums over them, each lane takes every 32nd element of the head. The sums lie in shared memory, dim elements for each
// warp, of which a lane touches only its own.
#include "common.cuh"

DEVICE float lowest() { return __int_as_float(0xff800000); }

DEVICE float warp_max(float x) {
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, distance));
    return x;
}

// Two dot products with the same order of sums.
template <class T> DEVICE float dot(const T *x, const T *y, int dim) {
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    int i = 0;
    for (; i + 4 <= dim; i += 4)
#pragma unroll
        for (int j = 0; j < 4; j++) sums[j] += to_float(x[i + j]) * to_float(y[i + j]);
    for (; i < dim; i++) sums[0] += to_float(x[i]) * to_float(y[i]);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// This warp's row of [batch, heads, positions], and where its head's elements lie.
struct Row {
    int position, head;
    int index;
    u64 sequence;
    bool exists;
    DEVICE Row(int batch, int positions, int heads) {
        index = warp_row();
        exists = index < batch * heads * positions;
        position = index % positions;
        head = index / positions % heads;
        sequence = (u64)(index / positions / heads) * positions;
    }
    // Row `i` of the head's part `part` in a matrix of `parts` parts.
    template <class T> DEVICE T *at(T *matrix, int i, int part, int parts, int heads, int dim) const {
        return matrix + ((sequence + i) * parts + part) * heads * dim + head * dim;
    }
};

// o = softmax(q k^T / sqrt(dim)) v for each head, lse = the log-sum-exp of the scaled scores.
//
// o [N, D], lse [batch * heads, positions], qkv [N, 3D].
template <class T>
DEVICE void attention_plain(T *o, float *lse, const T *qkv, int batch, int positions, int heads, int dim, float scale) {
    SHARED_DYNAMIC(memory);
    float *const sums = (float *)memory + threadIdx.x / LANES * dim;
    const Row row(batch, positions, heads);
    if (!row.exists) return;
    const int l = lane_index();
    const T *const q = row.at(qkv, row.position, 0, 3, heads, dim);
    for (int d = l; d < dim; d += LANES) sums[d] = 0.0f;
    float max = lowest(), sum = 0.0f;
    for (int first = 0; first < positions; first += LANES) {
        const int key = first + l;
        const float s = key < positions ? scale * dot(q, row.at(qkv, key, 1, 3, heads, dim), dim) : lowest();
        const float top = fmaxf(max, warp_max(s)), shrink = expf(max - top), p = expf(s - top);
        max = top;
        sum = sum * shrink + warp_sum(p);
        for (int d = l; d < dim; d += LANES) sums[d] *= shrink;
        for (int i = 0; i < LANES && first + i < positions; i++) {
            const float weight = __shfl_sync(~0u, p, i);
            const T *const v = row.at(qkv, first + i, 2, 3, heads, dim);
            for (int d = l; d < dim; d += LANES) sums[d] += weight * to_float(v[d]);
        }
    }
    T *const to = row.at(o, row.position, 0, 1, heads, dim);
    for (int d = l; d < dim; d += LANES) to[d] = from_float<T>(sums[d] / sum);
    if (l == 0) lse[row.index] = max + logf(sum);
}

// Row `position` of a cotangent that lies in `sums`, turned back where queries and keys were rotated.
template <class T>
DEVICE void store_turned(T *to, const float *sums, const float *cos_table, const float *sin_table, int position, int dim) {
    const int half = dim / 2;
    __syncwarp();
    for (int d = lane_index(); d < dim; d += LANES) {
        float x = sums[d];
        if (cos_table) {
            const int at = position * half + d % half;
            x = d < half ? x * cos_table[at] + sums[d + half] * sin_table[at]
                         : x * cos_table[at] - sums[d - half] * sin_table[at];
        }
        to[d] = from_float<T>(x);
    }
}

// The queries' half of the vjp: with p = exp(s - lse) and delta = rowsum(do * o),
//
//     ds = p * (do v^T - delta) / sqrt(dim), dq = rope^-1(ds k)
//
// dqkv [N, 3D], delta [batch * heads, positions] for the other half, do [N, D], and what the forward kernel wrote.
template <class T>
DEVICE void attention_plain_vjp_q(T *dqkv, float *delta, const T *d_o, const T *o, const float *lse, const T *qkv,
                                  const float *cos_table, const float *sin_table, int batch, int positions, int heads,
                                  int dim, float scale) {
    SHARED_DYNAMIC(memory);
    float *const sums = (float *)memory + threadIdx.x / LANES * dim;
    const Row row(batch, positions, heads);
    if (!row.exists) return;
    const int l = lane_index();
    const T *const q = row.at(qkv, row.position, 0, 3, heads, dim);
    const T *const g = row.at(d_o, row.position, 0, 1, heads, dim);
    const float own_delta = dot(g, row.at(o, row.position, 0, 1, heads, dim), dim), own_lse = lse[row.index];
    if (l == 0) delta[row.index] = own_delta;
    for (int d = l; d < dim; d += LANES) sums[d] = 0.0f;
    for (int first = 0; first < positions; first += LANES) {
        const int key = first + l;
        float ds = 0.0f;
        if (key < positions) {
            const float p = expf(scale * dot(q, row.at(qkv, key, 1, 3, heads, dim), dim) - own_lse);
            ds = p * (dot(g, row.at(qkv, key, 2, 3, heads, dim), dim) - own_delta) * scale;
        }
        for (int i = 0; i < LANES && first + i < positions; i++) {
            const float weight = __shfl_sync(~0u, ds, i);
            const T *const k = row.at(qkv, first + i, 1, 3, heads, dim);
            for (int d = l; d < dim; d += LANES) sums[d] += weight * to_float(k[d]);
        }
    }
    store_turned(row.at(dqkv, row.position, 0, 3, heads, dim), sums, cos_table, sin_table, row.position, dim);
}

// The keys' half: dv = p^T do, dk = rope^-1(ds^T q). The sums of a warp take 2 dim elements.
template <class T>
DEVICE void attention_plain_vjp_kv(T *dqkv, const float *delta, const T *d_o, const float *lse, const T *qkv,
                                   const float *cos_table, const float *sin_table, int batch, int positions, int heads,
                                   int dim, float scale) {
    SHARED_DYNAMIC(memory);
    float *const dk = (float *)memory + threadIdx.x / LANES * 2 * dim, *const dv = dk + dim;
    const Row row(batch, positions, heads);
    if (!row.exists) return;
    const int l = lane_index();
    const T *const k = row.at(qkv, row.position, 1, 3, heads, dim), *const v = row.at(qkv, row.position, 2, 3, heads, dim);
    for (int d = l; d < dim; d += LANES) dk[d] = dv[d] = 0.0f;
    for (int first = 0; first < positions; first += LANES) {
        const int query = first + l;
        float p = 0.0f, ds = 0.0f;
        if (query < positions) {
            const int stat = row.index - row.position + query;
            p = expf(scale * dot(row.at(qkv, query, 0, 3, heads, dim), k, dim) - lse[stat]);
            ds = p * (dot(row.at(d_o, query, 0, 1, heads, dim), v, dim) - delta[stat]) * scale;
        }
        for (int i = 0; i < LANES && first + i < positions; i++) {
            const float own_p = __shfl_sync(~0u, p, i), own_ds = __shfl_sync(~0u, ds, i);
            const T *const q = row.at(qkv, first + i, 0, 3, heads, dim), *const g = row.at(d_o, first + i, 0, 1, heads, dim);
            for (int d = l; d < dim; d += LANES) {
                dk[d] += own_ds * to_float(q[d]);
                dv[d] += own_p * to_float(g[d]);
            }
        }
    }
    store_turned(row.at(dqkv, row.position, 1, 3, heads, dim), dk, cos_table, sin_table, row.position, dim);
    store_turned(row.at(dqkv, row.position, 2, 3, heads, dim), dv, nullptr, nullptr, row.position, dim);
}

KERNEL_FOR_EACH_TYPE(attention_plain,
                     (T * o, float *lse, const T *qkv, int batch, int positions, int heads, int dim, float scale),
                     (o, lse, qkv, batch, positions, heads, dim, scale))
KERNEL_FOR_EACH_TYPE(attention_plain_vjp_q,
                     (T * dqkv, float *delta, const T *d_o, const T *o, const float *lse, const T *qkv,
                      const float *cos_table, const float *sin_table, int batch, int positions, int heads, int dim,
                      float scale),
                     (dqkv, delta, d_o, o, lse, qkv, cos_table, sin_table, batch, positions, heads, dim, scale))
KERNEL_FOR_EACH_TYPE(attention_plain_vjp_kv,
                     (T * dqkv, const float *delta, const T *d_o, const float *lse, const T *qkv, const float *cos_table,
                      const float *sin_table, int batch, int positions, int heads, int dim, float scale),
                     (dqkv, delta, d_o, lse, qkv, cos_table, sin_table, batch, positions, heads, dim, scale))
