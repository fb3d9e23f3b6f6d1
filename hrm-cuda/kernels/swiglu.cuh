// SwiGLU, a = silu(gate) * up with silu(x) = x / (1 + exp(-x)), element by element. silu is rounded before it is multiplied,
// as the published program has it; so is da * up in the vjp.
#pragma once

#include "mma.cuh"

// exp and division: as exact as IEEE's for f32, and for bf16 what the hardware has, exact to some 2 units in f32.
template <class T> DEVICE float exponential(float x) { return sizeof(T) == 2 ? exp2_fast(LOG2_E * x) : expf(x); }
template <class T> DEVICE float quotient(float a, float b) { return sizeof(T) == 2 ? a * reciprocal_fast(b) : a / b; }

template <class T> DEVICE float silu(float x) { return quotient<T>(x, 1.0f + exponential<T>(-x)); }

// silu(x), and its derivative: with s = 1 / (1 + exp(-x)), s (1 + x (1 - s)) = s + silu(x) (1 - s).
template <class T> DEVICE void silu_and_slope(float &silu, float &slope, float x) {
    const float denominator = 1.0f + exponential<T>(-x), sigmoid = quotient<T>(1.0f, denominator);
    silu = quotient<T>(x, denominator);
    slope = sigmoid + silu * (1.0f - sigmoid);
}

template <class T> DEVICE float swiglu(float gate, float up) { return rounded<T>(silu<T>(gate)) * up; }

// In place, with da in a: a becomes silu(gate) * up, up becomes da * silu(gate), gate becomes da * up * silu'(gate).
template <class T> DEVICE void swiglu_vjp(float &a, float &gate, float &up) {
    float silu, slope;
    silu_and_slope<T>(silu, slope, gate);
    silu = rounded<T>(silu);
    gate = rounded<T>(a * up) * slope;
    const float da = a;
    a = silu * up;
    up = da * silu;
}

// The same of pairs of bf16, with the same bits: what is a product and nothing else stays a pair.
DEVICE u32 swiglu(u32 gate, u32 up) {
    return bf16_product(bf16_pair(silu<bf16>(first_of(gate)), silu<bf16>(second_of(gate))), up);
}
DEVICE void swiglu_vjp(u32 &a, u32 &gate, u32 &up) {
    float first, second, first_slope, second_slope;
    silu_and_slope<bf16>(first, first_slope, first_of(gate));
    silu_and_slope<bf16>(second, second_slope, second_of(gate));
    const u32 silu = bf16_pair(first, second), product = bf16_product(a, up), da = a;
    gate = bf16_pair(first_of(product) * first_slope, second_of(product) * second_slope);
    a = bf16_product(silu, up);
    up = bf16_product(da, silu);
}
