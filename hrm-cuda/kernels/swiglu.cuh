// SwiGLU, a = silu(gate) * up with silu(x) = x / (1 + exp(-x)), element by element.
#pragma once

#include "mma.cuh"

// exp and division: as exact as IEEE's for f32, and for bf16 what the hardware has, exact to some 2 units in f32.
template <class T> DEVICE float exponential(float x) { return sizeof(T) == 2 ? exp2_fast(LOG2_E * x) : expf(x); }
template <class T> DEVICE float quotient(float a, float b) { return sizeof(T) == 2 ? a * reciprocal_fast(b) : a / b; }

// Rounded, as the published program has it before it multiplies.
template <class T> DEVICE float silu(float x) { return rounded<T>(quotient<T>(x, 1.0f + exponential<T>(-x))); }

// In place, with da in a: a becomes silu(gate) * up, up becomes da * silu(gate), gate becomes
// da * up * sigmoid(gate) * (1 + gate * (1 - sigmoid(gate))).
template <class T, int WIDTH> DEVICE void swiglu_vjp(float (&a)[WIDTH], float (&gate)[WIDTH], float (&up)[WIDTH]) {
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
        float x = gate[i], u = up[i], d = a[i];
        float denominator = 1.0f + exponential<T>(-x);
        float sigmoid = quotient<T>(1.0f, denominator), silu = rounded<T>(quotient<T>(x, denominator));
        a[i] = silu * u;
        up[i] = d * silu;
        gate[i] = rounded<T>(d * u) * (sigmoid * (1.0f + x * (1.0f - sigmoid)));
    }
}
