#include "swiglu.cuh"

// a = silu(gate) * up: a is [rows, cols], gate_up [rows, 2 cols], gate in front.
template <int WIDTH, class T> DEVICE void swiglu_by(T *a, const T *gate_up, int rows, int cols) {
    int each = cols / WIDTH, row = thread_index() / each, col = thread_index() % each * WIDTH;
    if (row >= rows) return;
    const T *gates = gate_up + (u64)row * 2 * cols + col;
    float gate[WIDTH], up[WIDTH];
    load(gate, gates);
    load(up, gates + cols);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) gate[i] = swiglu<T>(gate[i], up[i]);
    store(a + (u64)row * cols + col, gate);
}

template <class T> DEVICE void swiglu(T *a, const T *gate_up, int rows, int cols) {
    if (by_packs(cols))
        swiglu_by<PACK<T>>(a, gate_up, rows, cols);
    else
        swiglu_by<1>(a, gate_up, rows, cols);
}
KERNEL_FOR_EACH_TYPE(swiglu, (T *a, const T *gate_up, int rows, int cols), (a, gate_up, rows, cols))

// The vjp of the same, in place, with da in a. Each thread reads what it overwrites.
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
    for (int i = 0; i < WIDTH; i++) swiglu_vjp<T>(da[i], gate[i], up[i]);
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
