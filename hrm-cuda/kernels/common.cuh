// What all kernels share: element types, 16-byte access, reductions in a fixed order, the words that kernels and
// host share.
//
// A kernel source is compiled twice: for the GPU by NVRTC, which needs no header beside these, and for the CPU by
// g++, with the emulator's header ahead, which gives CUDA's words a meaning, defines HRM_EMULATOR and the macros
// right below.
//
// T is the element type of activations, float or bf16. All arithmetic is in f32; a result is rounded once, where
// it is stored, and in between only where the published program rounds.
#pragma once

#ifndef HRM_EMULATOR
// Shared memory of a block: an array of a fixed size, and the bytes that the launch asks for.
#define SHARED(type, name, count) __shared__ type name[count]
#define SHARED_DYNAMIC(name) extern __shared__ __align__(128) unsigned char name[]
#define SHARED_DYNAMIC_1024(name) extern __shared__ __align__(1024) unsigned char name[]
// Makes a kernel known to the emulator, or one whose __cluster_dims__ are (cluster, 1, 1).
#define EXPORT_KERNEL(name)
#define EXPORT_CLUSTERS(name, cluster)
#endif

#define DEVICE __device__ __forceinline__

// An entry point for blocks of THREADS threads. Two on a multiprocessor leave a thread 128 registers: told of no such
// bound, the compiler spills some to fit more blocks. Its first statement is wait_for_launch_before().
#define KERNEL(name) extern "C" __global__ void __launch_bounds__(THREADS, 2) name

// The two versions of a kernel: `name_f32` and `name_bf16` call the template `name<T>`. `parameters` speaks of T.
#define KERNEL_FOR_EACH_TYPE(name, parameters, arguments) \
    namespace for_f32 {                                   \
    using T = float;                                      \
    KERNEL(name##_f32) parameters {                       \
        wait_for_launch_before();                         \
        name<T> arguments;                                \
    }                                                     \
    EXPORT_KERNEL(name##_f32)                             \
    }                                                     \
    namespace for_bf16 {                                  \
    using T = bf16;                                       \
    KERNEL(name##_bf16) parameters {                      \
        wait_for_launch_before();                         \
        name<T> arguments;                                \
    }                                                     \
    EXPORT_KERNEL(name##_bf16)                            \
    }

typedef unsigned int u32;
typedef unsigned long long u64;

// Threads of a block, unless a kernel says otherwise. Each row of a kernel that works by rows belongs to one warp.
constexpr int THREADS = 256;
constexpr int LANES = 32;
constexpr int WARPS = THREADS / LANES;

DEVICE int lane_index() { return (int)(threadIdx.x % LANES); }
DEVICE int warp_index() { return (int)(threadIdx.x / LANES); }
// The row of this warp in a launch of one warp for each row.
DEVICE int warp_row() { return (int)blockIdx.x * WARPS + warp_index(); }
// This thread's position in the launch.
DEVICE int thread_index() { return (int)blockIdx.x * THREADS + threadIdx.x; }

// Every thread of every kernel calls this before it touches global memory, and before it leaves. From compute capability 9.0
// on a launch may begin while the one before it still runs. This waits until that one is complete and what it wrote can be
// read, and only then lets the launch behind begin. So of the launches before,
//
//   once a thread has called it, all are complete: it has waited for the last of them, which had waited for the others;
//   until then, all but the last are: each block of that one had waited when it let this launch begin.
//
// A test looks for a kernel that forgets it: device/overlap/waits.rs.
DEVICE void wait_for_launch_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;\n\tgriddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// The same number, unknown to the compiler: what it derives of it stays behind this place, and takes no registers before.
DEVICE int fresh(int x) {
    asm volatile("" : "+r"(x));
    return x;
}

// bfloat16: the upper half of an f32.
struct bf16 {
    unsigned short bits;
};

// The elements of a pair.
DEVICE float first_of(u32 pair) { return __uint_as_float(pair << 16); }
DEVICE float second_of(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

#ifdef HRM_EMULATOR
// To nearest, ties to even; every NaN becomes the one that the GPU makes.
DEVICE u32 bf16_bits(float x) {
    u32 bits = __float_as_uint(x);
    return x != x ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
DEVICE u32 bf16_pair(float low, float high) { return bf16_bits(low) | bf16_bits(high) << 16; }
DEVICE u32 bf16_product(u32 a, u32 b) {
    return bf16_pair(first_of(a) * first_of(b), second_of(a) * second_of(b));
}
// f32 has more than twice bf16's digits, so that rounding twice gives what rounding once gives.
DEVICE u32 bf16_sum(u32 a, u32 b) { return bf16_pair(first_of(a) + first_of(b), second_of(a) + second_of(b)); }
#else
DEVICE u32 bf16_pair(float low, float high) {
    u32 bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}
// By the instruction for two: that for one is done where exp2 and reciprocals are, which there is less of.
DEVICE u32 bf16_bits(float x) { return bf16_pair(x, 0.0f) & 0xffff; }

// a b + c of pairs, each rounded once.
DEVICE u32 bf16_fma(u32 a, u32 b, u32 c) {
    u32 d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
// Products of two pairs, each rounded: -0 changes nothing, not even a zero's sign.
DEVICE u32 bf16_product(u32 a, u32 b) { return bf16_fma(a, b, 0x80008000u); }
// Sums of two pairs: a is multiplied by 1.
DEVICE u32 bf16_sum(u32 a, u32 b) { return bf16_fma(a, 0x3f803f80u, b); }
#endif

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

template <class T> DEVICE T from_float(float x);
template <> DEVICE float from_float<float>(float x) { return x; }
template <> DEVICE bf16 from_float<bf16>(float x) { return bf16{(unsigned short)bf16_bits(x)}; }

// x rounded to T: a rounding point of the published program between two operations.
template <class T> DEVICE float rounded(float x) { return to_float(from_float<T>(x)); }
template <> DEVICE float rounded<bf16>(float x) { return second_of(bf16_pair(0.0f, x)); }

// (x, y) turned by an angle, or back.
DEVICE void turn(float &x, float &y, float cos, float sin) {
    const float turned = x * cos - y * sin;
    y = y * cos + x * sin;
    x = turned;
}

// Elements of T in 16 bytes, the widest access.
template <class T> constexpr int PACK = 16 / sizeof(T);

DEVICE void unpack(float *x, uint4 raw, float) {
    u32 words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = __uint_as_float(words[i]);
}
DEVICE void unpack(float *x, uint4 raw, bf16) {
    u32 words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; i++) x[2 * i] = first_of(words[i]), x[2 * i + 1] = second_of(words[i]);
}
DEVICE uint4 pack(const float *x, float) {
    return uint4{__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]), __float_as_uint(x[3])};
}
DEVICE uint4 pack(const float *x, bf16) {
    return uint4{bf16_pair(x[0], x[1]), bf16_pair(x[2], x[3]), bf16_pair(x[4], x[5]), bf16_pair(x[6], x[7])};
}

// WIDTH consecutive elements: one, or a multiple of 16 bytes at an address aligned to 16.
template <int WIDTH, class T> DEVICE void load(float (&x)[WIDTH], const T *from) {
    if constexpr (WIDTH == 1) {
        x[0] = to_float(from[0]);
    } else {
#pragma unroll
        for (int i = 0; i < WIDTH / PACK<T>; i++) unpack(x + i * PACK<T>, ((const uint4 *)from)[i], T());
    }
}
template <int WIDTH, class T> DEVICE void store(T *to, const float (&x)[WIDTH]) {
    if constexpr (WIDTH == 1) {
        to[0] = from_float<T>(x[0]);
    } else {
#pragma unroll
        for (int i = 0; i < WIDTH / PACK<T>; i++) ((uint4 *)to)[i] = pack(x + i * PACK<T>, T());
    }
}

// Whether rows of `cols` elements can be read 16 bytes at a time, whatever T: each row starts at a multiple of 16
// bytes then, as every span does.
DEVICE bool by_packs(int cols) { return cols % 8 == 0; }

// The sum over a warp, in all its lanes, in an order that depends on nothing.
DEVICE float warp_sum(float x) {
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(~0u, x, distance);
    return x;
}


// The sum of value(row) over `rows` rows, for the columns of a block: each lane has a column, warp w takes the rows
// w, w + WARPS, .. and the warps' sums are added in their order. The result is in the first warp.
template <class Value> DEVICE float sum_over_rows(int rows, Value value) {
    SHARED(float, parts, THREADS);
    float sum = 0.0f;
#pragma unroll 8
    for (int row = warp_index(); row < rows; row += WARPS) sum += value(row);
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (warp_index() == 0)
        for (int warp = 1; warp < WARPS; warp++) sum += parts[warp * LANES + lane_index()];
    __syncthreads();
    return sum;
}

// What changes from one training step to the next. The twin of ops/scalars.rs.
struct StepScalars {
    u64 step;             // optimizer step, from 1
    u64 seed;             // of the exploration
    double lr;            // of AdamATan2
    double puzzle_emb_lr; // of sign-SGD
};

// What a kernel found wrong, the code in the upper half and the value in the lower; 0 is nothing. The twin of
// ops/fault.rs. The largest wins, so that the word does not depend on the order of threads.
enum FaultCode {
    FAULT_TOKEN = 1,      // a token outside its table
    FAULT_PUZZLE = 2,     // a puzzle identifier outside its table
    FAULT_LABEL = 3,      // a label outside the vocabulary
    FAULT_NOT_FINITE = 4, // a loss or a gradient that is no number
};

DEVICE void report(u64 *fault, FaultCode code, int value) {
    u64 word = (u64)code << 32 | (u32)value;
#ifdef HRM_EMULATOR
    u64 old = __atomic_load_n(fault, __ATOMIC_RELAXED);
    while (old < word && !__atomic_compare_exchange_n(fault, &old, word, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
#else
    atomicMax(fault, word);
#endif
}

// Whether `id` is a row of a table of `rows`; if not, it is reported.
DEVICE bool is_row(int id, int rows, u64 *fault, FaultCode code) {
    bool inside = 0 <= id && id < rows;
    if (!inside) report(fault, code, id);
    return inside;
}
