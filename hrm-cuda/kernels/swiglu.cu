#include "mma.cuh"

// exp and division: as exact as IEEE's for f32, and for bf16 what the hardware has, exact to some 2 units in f32.
template <class T> DEVICE float exponential(float x) { return sizeof(T) == 2 ? exp2_fast(LOG2_E * x) : expf(x); }
template <class T> DEVICE float quotient(float a, float b) { return sizeof(T) == 2 ? a * reciprocal_fast(b) : a / b; }

// a = silu(gate) * up with silu(x) = x / (1 + exp(-x)): a is [rows, cols], gate_up [rows, 2 cols], gate in front.
template <int WIDTH, class T> DEVICE void swiglu_by(T *a, const T *gate_up, int rows, int cols) {
    int each = cols / WIDTH, row = thread_index() / each, col = thread_index() % each * WIDTH;
    if (row >= rows) return;
    const T *gates = gate_up + (u64)row * 2 * cols + col;
    float gate[WIDTH], up[WIDTH];
    load(gate, gates);
    load(up, gates + cols);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
        float x = gate[i];
        gate[i] = rounded<T>(quotient<T>(x, 1.0f + exponential<T>(-x))) * up[i];
    }
    store(a + (u64)row * cols + col, gate);
}

template <class T> DEVICE void swiglu(T *a, const T *gate_up, int rows, int cols) {
    if (by_packs(cols))
        swiglu_by<PACK<T>>(a, gate_up, rows, cols);
    else
        swiglu_by<1>(a, gate_up, rows, cols);
}
KERNEL_FOR_EACH_TYPE(swiglu, (T *a, const T *gate_up, int rows, int cols), (a, gate_up, rows, cols))

// In place, with da in a: a becomes silu(gate) * up, up becomes da * silu(gate), gate becomes
// da * up * sigmoid(gate) * (1 + gate * (1 - sigmoid(gate))). Each thread reads what it overwrites.
template <int WIDTH, class T> DEVICE void swiglu_vjp_by(T *a, T *gate_up, int rows, int cols) {
    int each = cols / WIDTH, row = thread_index() / each, col = thread_index() % each * WIDTH;
    if (row >= rows) return;
    a += (u64)row * cols + col;
    gate_up += (u64)row * 2 * cols + col;
    float da[WIDTH], gate[WIDTH], up[WIDTH];
    load(da, a);
    load(gate, gate_up);
    load(up, gate_up + cols);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
        float x = gate[i], u = up[i], d = da[i];
        float denominator = 1.0f + exponential<T>(-x);
        float sigmoid = quotient<T>(1.0f, denominator), silu = rounded<T>(quotient<T>(x, denominator));
        da[i] = silu * u;
        up[i] = d * silu;
        gate[i] = rounded<T>(d * u) * (sigmoid * (1.0f + x * (1.0f - sigmoid)));
    }
    store(a, da);
    store(gate_up, gate);
    store(gate_up + cols, up);
}

template <class T> DEVICE void swiglu_vjp(T *a, T *gate_up, int rows, int cols) {
    if (by_packs(cols))
        swiglu_vjp_by<PACK<T>>(a, gate_up, rows, cols);
    else
        swiglu_vjp_by<1>(a, gate_up, rows, cols);
}
KERNEL_FOR_EACH_TYPE(swiglu_vjp, (T *a, T *gate_up, int rows, int cols), (a, gate_up, rows, cols))
