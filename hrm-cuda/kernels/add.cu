#include "common.cuh"

// y = a + b, `len` elements each, 16 bytes by each thread.
template <class T> DEVICE void add(T *y, const T *a, const T *b, u64 len) {
    constexpr int WIDTH = PACK<T>;
    u64 at = (u64)thread_index() * WIDTH;
    if (at + WIDTH <= len) {
        float left[WIDTH], right[WIDTH];
        load(left, a + at);
        load(right, b + at);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) left[i] += right[i];
        store(y + at, left);
    } else {
        for (; at < len; at++) y[at] = from_float<T>(to_float(a[at]) + to_float(b[at]));
    }
}
KERNEL_FOR_EACH_TYPE(add, (T *y, const T *a, const T *b, u64 len), (y, a, b, len))
