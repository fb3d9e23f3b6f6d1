// What the attention kernels for compute capability 9.0a share: tiles from the copy engine, products of tiles.
//
// A tile has 64 rows of one head of 64 elements: 8 KiB in shared memory, in the copy engine's 128-byte swizzle. A block has
// one warpgroup that fetches and CONSUMERS that each work on 64 rows of their own, against a ring of tiles that all share.
// Blocks stay, and take one piece of work after the other; the ring runs on from one piece to the next. A sequence's last rows,
// if they are few, are no tile of a consumer's own: see attention_sm90_few.cuh.
#pragma once
#include "attention.cuh"
#include "hopper.cuh"

constexpr int DIM = 64;
constexpr int TILE = 64;
constexpr int TILE_BYTES = TILE * DIM * 2;
constexpr int WARPGROUP = 128;
// Keys that the forward kernel works on at a time.
constexpr int KEYS = 128;
constexpr int KEYS_BYTES = KEYS * DIM * 2;
// Bytes in which a consumer's warp gathers 16 rows of a result, see store_rows.
constexpr int STAGING = 16 * STRIDE<DIM> * 2;
// The last rows that a warpgroup goes through, where they are no more than this, are multiplied as so many and not as 64.
constexpr int TAIL = 16;

// Sizes, alike for all blocks.
struct Sequences {
    int batch, positions, heads;
    float scale;  // log2(e) / sqrt(DIM)
    DEVICE int tiles() const { return (positions + TILE - 1) / TILE; }
    // Tiles ahead of a tail.
    DEVICE int tiles_ahead() const { return positions % TILE <= TAIL ? positions / TILE : tiles(); }
};

// The pieces of work of a block: 64 CONSUMERS rows of one head each. Those of a head are neighbours, so that what they read
// stays in the cache.
template <int CONSUMERS> struct Work {
    int next, all, per_head;
    DEVICE Work(const Sequences &s) {
        per_head = (s.positions + TILE * CONSUMERS - 1) / (TILE * CONSUMERS);
        all = per_head * s.batch * s.heads;
        next = blockIdx.x;
    }
    DEVICE bool more() const { return next < all; }
    DEVICE void advance() { next += gridDim.x; }
    // First row.
    DEVICE int row() const { return next % per_head * TILE * CONSUMERS; }
    // Number of the head among those of all sequences.
    DEVICE int index() const { return next / per_head; }
};

// A place in a ring of STAGES, and the parity of the phase that its barriers are in.
template <int STAGES> struct Turn {
    int stage = 0;
    u32 parity = 0;
    DEVICE void advance() {
        if (++stage == STAGES) stage = 0, parity ^= 1;
    }
};

// C = A B^T for tiles A and B in shared memory; A and B name their first bytes.
DEVICE void start_product(float (&c)[32], u32 a, u32 b) {
#pragma unroll
    for (int k = 0; k < DIM / 16; k++)
        wgmma_m64n64k16(c, matrix_descriptor(a) + 2 * k, matrix_descriptor(b) + 2 * k, k > 0);
    wgmma_commit_group();
}
// The same for a B of 16 rows.
DEVICE void start_product(float (&c)[8], u32 a, u32 b) {
#pragma unroll
    for (int k = 0; k < DIM / 16; k++)
        wgmma_m64n16k16(c, matrix_descriptor(a) + 2 * k, matrix_descriptor(b) + 2 * k, k > 0);
    wgmma_commit_group();
}
// The same for a B of 128 rows.
DEVICE void start_product(float (&c)[64], u32 a, u32 b) {
#pragma unroll
    for (int k = 0; k < DIM / 16; k++)
        wgmma_m64n128k16(c, matrix_descriptor(a) + 2 * k, matrix_descriptor(b) + 2 * k, k > 0);
    wgmma_commit_group();
}
// C += A B, A [64, 16 K] in registers.
template <int K> DEVICE void start_sum(float (&c)[32], const u32 (&a)[K][4], u32 b) {
#pragma unroll
    for (int k = 0; k < K; k++) wgmma_m64n64k16_transposed(c, a[k], matrix_descriptor(b) + 128 * k);
    wgmma_commit_group();
}

// Waits until at most PENDING of the products started last are unfinished, `c` being of one that is finished then.
template <int PENDING, int COUNT> DEVICE void finish(float (&c)[COUNT]) {
    wgmma_wait_group<PENDING>();
    wgmma_fence_operand(c);
}

// Before products are started whose operands in registers were written.
template <int COUNT> DEVICE void registers_written(float (&c)[COUNT]) {
    wgmma_fence_operand(c);
    wgmma_fence();
}

// Accumulators [64, 16 K] as operands A, rounded to bf16.
template <int K> DEVICE void as_operands(u32 (&a)[K][4], const float (&c)[8 * K]) {
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) a[k][i] = bf16_pair(c[8 * k + 2 * i], c[8 * k + 2 * i + 1]);
}

template <int COUNT> DEVICE void clear(float (&c)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) c[i] = 0.0f;
}

// Column of c[i] in a tile, for this lane.
DEVICE int column_of(int i) { return i / 4 * 8 + lane_index() % 4 * 2 + i % 2; }

// Accumulators as what a warp has of them, 16 rows, in the form of mma's.
typedef float Fragments[DIM / 8][4];
DEVICE Fragments &fragments(float (&c)[32]) { return reinterpret_cast<Fragments &>(c); }

// A kernel of so many consumers, and a parameter that is a map.
#define BLOCK(consumers) extern "C" __global__ void __launch_bounds__((consumers + 1) * WARPGROUP, 1)
#define MAP const __grid_constant__ TensorMap
