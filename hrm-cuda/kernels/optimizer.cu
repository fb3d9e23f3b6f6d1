// The optimizers. While a fault is set they change nothing.
//
// No launch of another unit writes weights, and none begins while one of these runs (device/overlap/mod.rs): products fetch
// weights ahead of wait_for_launch_before.
#include "common.cuh"

// The factors of one AdamATan2 update, formed in f64 and rounded once.
struct AdamFactors {
    float rate1;      // 1 - beta1
    float rate2;      // 1 - beta2
    float decay;      // 1 - lr wd
    float step;       // lr / (1 - beta1^t)
    float correction; // sqrt(1 - beta2^t)
};

// a + t (b - a) by two fused multiply-adds.
DEVICE float lerp(float a, float b, float t) { return fmaf(t, b, fmaf(-t, a, a)); }

// m = lerp(m, g, 1 - beta1), v = lerp(v, g^2, 1 - beta2),
// p = p (1 - lr wd) - lr / (1 - beta1^t) atan2(m, sqrt(v) / sqrt(1 - beta2^t)), whose product and difference are not
// fused.
DEVICE void adam_update(const AdamFactors &f, float &p, float &m, float &v, float g) {
    m = lerp(m, g, f.rate1);
    v = lerp(v, g * g, f.rate2);
    p = __fmul_rn(p, f.decay) - __fmul_rn(f.step, atan2f(m, sqrtf(v) / f.correction));
}

// One update of `len` parameters, 4 by each thread at a time, and of their copy in bf16 where there is one.
KERNEL(adam_atan2)(float *params, bf16 *shadow, const float *gradients, float *first, float *second,
                   const StepScalars *scalars, const u64 *fault, u64 len, double beta1, double beta2,
                   double weight_decay) {
    wait_for_launch_before();
    if (*fault) return;
    SHARED(AdamFactors, factors, 1);
    if (threadIdx.x == 0) {
        double t = (double)scalars->step, lr = scalars->lr;
        factors[0] = {(float)(1.0 - beta1), (float)(1.0 - beta2), (float)(1.0 - lr * weight_decay),
                      (float)(lr / (1.0 - pow(beta1, t))), (float)sqrt(1.0 - pow(beta2, t))};
    }
    __syncthreads();
    AdamFactors f = factors[0];
    constexpr int WIDTH = PACK<float>;
    u64 stride = (u64)gridDim.x * THREADS * WIDTH;
    for (u64 at = (u64)thread_index() * WIDTH; at < len; at += stride) {
        if (at + WIDTH <= len) {
            float p[WIDTH], m[WIDTH], v[WIDTH], g[WIDTH];
            load(p, params + at);
            load(g, gradients + at);
            load(m, first + at);
            load(v, second + at);
#pragma unroll
            for (int i = 0; i < WIDTH; i++) adam_update(f, p[i], m[i], v[i], g[i]);
            store(params + at, p);
            store(first + at, m);
            store(second + at, v);
            if (shadow) *(uint2 *)(shadow + at) = uint2{bf16_pair(p[0], p[1]), bf16_pair(p[2], p[3])};
        } else {
            for (u64 i = at; i < len; i++) {
                adam_update(f, params[i], first[i], second[i], gradients[i]);
                if (shadow) shadow[i] = from_float<bf16>(params[i]);
            }
        }
    }
}
EXPORT_KERNEL(adam_atan2)

// p = p (1 - lr wd) - lr sign(sum of the row's gradients), sign(0) = 0, NaN stays NaN, for the rows `ids` [B] of
// table [rows, cols]: block (b, tile) updates 32 columns of row ids[b], unless an earlier b has the same row.
template <class T>
DEVICE void sign_sgd(float *table, const int *ids, const T *gradients, const StepScalars *scalars, u64 *fault, int batch,
                     int rows, int cols, double weight_decay) {
    int b = blockIdx.x, id = ids[b], col = blockIdx.y * LANES + lane_index();
    if (*fault || !is_row(id, rows, fault, FAULT_PUZZLE)) return;
    SHARED(int, earlier, WARPS);
    bool found = false;
    for (int other = threadIdx.x; other < b; other += THREADS) found |= ids[other] == id;
    found = __any_sync(~0u, found);
    if (lane_index() == 0) earlier[warp_index()] = found;
    __syncthreads();
    for (int warp = 0; warp < WARPS; warp++)
        if (earlier[warp]) return;
    float sum = sum_over_rows(batch - b, [&](int after) {
        int other = b + after;
        return col < cols && ids[other] == id ? to_float(gradients[(u64)other * cols + col]) : 0.0f;
    });
    if (warp_index() != 0 || col >= cols) return;
    float sign = sum > 0.0f ? 1.0f : sum < 0.0f ? -1.0f : sum * 0.0f;
    float *p = table + (u64)id * cols + col;
    double lr = scalars->puzzle_emb_lr;
    *p = __fmul_rn(*p, (float)(1.0 - lr * weight_decay)) - __fmul_rn((float)lr, sign);
}
KERNEL_FOR_EACH_TYPE(sign_sgd,
                     (float *table, const int *ids, const T *gradients, const StepScalars *scalars, u64 *fault,
                      int batch, int rows, int cols, double weight_decay),
                     (table, ids, gradients, scalars, fault, batch, rows, cols, weight_decay))

DEVICE bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// Reports an infinity or a NaN among `len` elements, 16 bytes by each thread.
template <class T> DEVICE void check_finite(const T *x, u64 len, u64 *fault) {
    constexpr int WIDTH = PACK<T>;
    u64 at = (u64)thread_index() * WIDTH;
    bool bad = false;
    if (at + WIDTH <= len) {
        float values[WIDTH];
        load(values, x + at);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) bad |= !is_finite(values[i]);
    } else {
        for (; at < len; at++) bad |= !is_finite(to_float(x[at]));
    }
    if (__any_sync(~0u, bad) && lane_index() == 0) report(fault, FAULT_NOT_FINITE, 0);
}
KERNEL_FOR_EACH_TYPE(check_finite, (const T *x, u64 len, u64 *fault), (x, len, fault))

// The copy in bf16 of `len` parameters, 8 by each thread.
KERNEL(round_parameters)(bf16 *shadow, const float *params, u64 len) {
    wait_for_launch_before();
    constexpr int WIDTH = PACK<bf16>;
    u64 at = (u64)thread_index() * WIDTH;
    if (at + WIDTH <= len) {
        float p[WIDTH];
        load(p, params + at);
        store(shadow + at, p);
    } else {
        for (; at < len; at++) shadow[at] = from_float<bf16>(params[at]);
    }
}
EXPORT_KERNEL(round_parameters)

// a = (1 - rate) p + rate a, averages of `len` parameters, 4 by each thread. Both products are rounded before they are added.
KERNEL(average)(float *averages, const float *params, const u64 *fault, u64 len, double rate) {
    wait_for_launch_before();
    if (*fault) return;
    const float fresh = (float)(1.0 - rate), old = (float)rate;
    const auto moved = [&](float a, float p) { return __fadd_rn(__fmul_rn(fresh, p), __fmul_rn(old, a)); };
    constexpr int WIDTH = PACK<float>;
    u64 at = (u64)thread_index() * WIDTH;
    if (at + WIDTH <= len) {
        float a[WIDTH], p[WIDTH];
        load(a, averages + at);
        load(p, params + at);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) a[i] = moved(a[i], p[i]);
        store(averages + at, a);
    } else {
        for (; at < len; at++) averages[at] = moved(averages[at], params[at]);
    }
}
EXPORT_KERNEL(average)

// Exchanges `len` parameters and their averages, 4 by each thread, and writes the parameters' copy in bf16 where there is one.
KERNEL(swap_averages)(float *params, bf16 *shadow, float *averages, u64 len) {
    wait_for_launch_before();
    constexpr int WIDTH = PACK<float>;
    u64 at = (u64)thread_index() * WIDTH;
    if (at + WIDTH <= len) {
        float p[WIDTH], a[WIDTH];
        load(p, params + at);
        load(a, averages + at);
        store(params + at, a);
        store(averages + at, p);
        if (shadow) *(uint2 *)(shadow + at) = uint2{bf16_pair(a[0], a[1]), bf16_pair(a[2], a[3])};
    } else {
        for (; at < len; at++) {
            const float p = params[at], a = averages[at];
            params[at] = a, averages[at] = p;
            if (shadow) shadow[at] = from_float<bf16>(a);
        }
    }
}
EXPORT_KERNEL(swap_averages)
