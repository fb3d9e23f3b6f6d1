// What the kernels share that mix the cells of a sequence by a SwiGLU over positions, on the tensor cores of compute
// capability 9.0a: token_mix_sm90.cu, token_mix_vjp_sm90.cu.
//
// Columns of the sequences are the rows of the products. A warpgroup has 64 columns of a sequence, and all their positions, at
// most 104, in the registers of its threads: what is summed over positions or normed over them never leaves it. The weights
// stream past, 64 columns of the gate, of the up and of the output at a time; each of the two blocks of a cluster fetches half
// of them for both.
//
// token_weights.cu makes the copies of the weights that are fetched: rows of 128 positions, those beyond the last 0; 32 rows of
// gates, then the ups of the same columns; and of each 32 columns 8 q + 2 j + e in place 8 j + 2 q + e. So a lane of the tensor
// cores, which holds two columns in each 8, has a gate and its up, and 8 neighbours, 16 bytes of a result.
#pragma once

#include "hopper.cuh"
#include "swiglu.cuh"

constexpr int WARPGROUP = 128, CONSUMERS = 2, CLUSTER = 2, BLOCK_THREADS = (1 + CONSUMERS) * WARPGROUP;
// Columns of a warpgroup, and of the activation in a step.
constexpr int COLUMNS = 64;
// Positions as columns of a result, and as what is summed over: parts of 16.
constexpr int POSITIONS = 104, PARTS = 7, SUMMED = 16 * PARTS;
constexpr int ROW_BYTES = 128;
// 64 columns of a sequence at all its positions; 64 positions of the gates and ups of a step; its part of the output's weight.
constexpr int TILE_BYTES = SUMMED * ROW_BYTES;
constexpr int PANEL = 2 * COLUMNS * ROW_BYTES, GATE_UP_BYTES = 2 * PANEL, DOWN_BYTES = SUMMED * ROW_BYTES;
constexpr int STAGE_BYTES = GATE_UP_BYTES + DOWN_BYTES;

// Sizes, alike for all blocks.
struct Mix {
    int batch, positions, width, inter;  // x [batch, positions, width], the activation [batch * width, inter].
    // Pairs of tiles, one for each block of a cluster; a tile has the columns of two warpgroups.
    DEVICE int tiles() const { return batch * (width / (CONSUMERS * COLUMNS)); }
    DEVICE int pairs() const { return (tiles() + CLUSTER - 1) / CLUSTER; }
    DEVICE int steps() const { return inter / COLUMNS; }
};

// Where a warpgroup's columns are. Of an odd number of tiles the last block has one that does not exist: it is all zeros.
struct Columns {
    int sequence, first;
    bool exist;
    DEVICE Columns(const Mix &mix, int tile, int warpgroup) {
        const int per_sequence = mix.width / (CONSUMERS * COLUMNS);
        sequence = tile / per_sequence;
        first = (tile % per_sequence * CONSUMERS + warpgroup) * COLUMNS;
        exist = tile < mix.tiles();
    }
    // Number of the warp's first column among those of all sequences.
    DEVICE u64 first_of_warp(const Mix &mix) const {
        return (u64)sequence * mix.width + first + fresh(threadIdx.x % WARPGROUP / LANES) * 16;
    }
    // That of this thread's column r, 0 or 1.
    DEVICE u64 number(const Mix &mix, int r) const { return first_of_warp(mix) + lane_index() / 4 + 8 * r; }
};

// A place in the ring, and the parity of the phase that its barriers are in.
template <int STAGES> struct Turn {
    int stage = 0;
    u32 parity = 0;
    DEVICE void advance() {
        if (++stage == STAGES) stage = 0, parity ^= 1;
    }
};

// In shared memory: a ring of weights, the tiles of OPERANDS sequences of each warpgroup, results on their way out, barriers,
// and what a kernel has for each warp.
template <int OPERANDS, int STAGES> struct Memory {
    u32 ring, tiles, barriers;
    unsigned char *shared;
    static constexpr int TILES = STAGES * STAGE_BYTES, RESULTS = TILES + CONSUMERS * OPERANDS * TILE_BYTES;
    static constexpr int BARRIERS = RESULTS + CONSUMERS * TILE_BYTES, BARRIER_BYTES = 2 * 8 * (STAGES + CONSUMERS);

    DEVICE explicit Memory(unsigned char *shared) : shared(shared) {
        ring = uniform(shared_address(shared));
        tiles = ring + TILES;
        barriers = ring + BARRIERS;
    }
    DEVICE u32 gate_up(int stage, int panel) const { return ring + stage * STAGE_BYTES + panel * PANEL; }
    DEVICE u32 down(int stage) const { return gate_up(stage, 2); }
    DEVICE u32 tile(int warpgroup, int operand) const { return tiles + (warpgroup * OPERANDS + operand) * TILE_BYTES; }
    DEVICE const bf16 *elements(int warpgroup, int operand) const {
        return (const bf16 *)(shared + TILES + (warpgroup * OPERANDS + operand) * TILE_BYTES);
    }
    DEVICE uint4 *turned(int warpgroup, int bytes) const {
        const int warp = warpgroup * 4 + threadIdx.x % WARPGROUP / LANES;
        return (uint4 *)(shared + BARRIERS + BARRIER_BYTES + warp * bytes);
    }
    DEVICE bf16 *results(int warpgroup) const { return (bf16 *)(shared + RESULTS + warpgroup * TILE_BYTES); }

    DEVICE u32 full(int stage) const { return barriers + 8 * stage; }
    DEVICE u32 empty(int stage) const { return full(STAGES + stage); }
    DEVICE u32 tiles_full(int warpgroup) const { return full(2 * STAGES + warpgroup); }
    DEVICE u32 tiles_empty(int warpgroup) const { return full(2 * STAGES + CONSUMERS + warpgroup); }
    DEVICE void init_barriers() const {
        for (int stage = 0; stage < STAGES; stage++) {
            mbarrier_init(full(stage), 1);
            mbarrier_init(empty(stage), 4 * CONSUMERS * CLUSTER);
        }
        for (int warpgroup = 0; warpgroup < CONSUMERS; warpgroup++) {
            mbarrier_init(tiles_full(warpgroup), 1);
            mbarrier_init(tiles_empty(warpgroup), 4);
        }
        fence_mbarrier_init();
    }

    // This warp is done with a stage. When all of the cluster are, it may be fetched into.
    DEVICE void release(int stage) const {
        const int lane = lane_index();
        if (lane < CLUSTER) mbarrier_arrive_cluster(mapa(empty(stage), lane));
    }
};

// One thread: fetches the tiles of the sequences, a map for each operand, and keeps the ring full. A block fetches of each
// step half of the gates and ups, and half of the output's rows, for both.
template <int OPERANDS, int STAGES>
DEVICE void fetch(const Memory<OPERANDS, STAGES> &memory, const Mix &mix, const TensorMap *const (&sequences)[OPERANDS],
                  const TensorMap &gate_up, const TensorMap &down) {
    constexpr unsigned short BOTH = (1 << CLUSTER) - 1;
    const int rank = cluster_ctarank();
    Turn<STAGES> turn;
    u32 parity = 0;
    for (int pair = blockIdx.x / CLUSTER; pair < mix.pairs(); pair += gridDim.x / CLUSTER, parity ^= 1) {
        for (int warpgroup = 0; warpgroup < CONSUMERS; warpgroup++) {
            const Columns columns(mix, pair * CLUSTER + rank, warpgroup);
            const u32 barrier = memory.tiles_full(warpgroup);
            mbarrier_wait(memory.tiles_empty(warpgroup), parity ^ 1);
            mbarrier_arrive_expect_tx(barrier, OPERANDS * TILE_BYTES);
            for (int operand = 0; operand < OPERANDS; operand++)
                cp_async_bulk_tensor_3d(memory.tile(warpgroup, operand), *sequences[operand], columns.sequence, 0,
                                        columns.first, barrier);
        }
        for (int step = 0; step < mix.steps(); step++, turn.advance()) {
            const u32 barrier = memory.full(turn.stage), rows = rank * COLUMNS * ROW_BYTES;
            mbarrier_wait(memory.empty(turn.stage), turn.parity ^ 1);
            mbarrier_arrive_expect_tx(barrier, STAGE_BYTES);
            for (int panel = 0; panel < 2; panel++)
                cp_async_bulk_tensor_multicast(memory.gate_up(turn.stage, panel) + rows, gate_up,
                                               (2 * step + rank) * COLUMNS, panel * 64, barrier, BOTH);
            cp_async_bulk_tensor_multicast(memory.down(turn.stage) + rank * (DOWN_BYTES / CLUSTER), down,
                                           rank * (SUMMED / CLUSTER), step * COLUMNS, barrier, BOTH);
        }
    }
}

// A tile's columns as rows of an operand A, 16 of each warp, all positions in parts of 16.
typedef u32 Operand[PARTS][4];
DEVICE void load(Operand &a, const bf16 *tile) {
    const int lane = lane_index(), chunk = threadIdx.x % WARPGROUP / LANES * 2 + lane / 8 % 2;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int row = 16 * part + lane / 16 * 8 + lane % 8;
        ldmatrix_transposed(a[part], tile + row * COLUMNS + (chunk ^ row % 8) * 8);
    }
}

// The pair of an operand A that is in place i, i + 1 of an accumulator of the same rows, i even.
template <int COUNT> DEVICE u32 pair_in(const u32 (&a)[COUNT][4], int i) { return a[i / 8][i / 4 % 2 * 2 + i / 2 % 2]; }

template <int COUNT> DEVICE void clear(float (&c)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) c[i] = 0.0f;
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

// A pair of gates, in place i of an accumulator of 32 gates and then their ups, and of ups, as they are rounded.
DEVICE u32 gates(const float (&c)[COLUMNS / 2], int i) { return bf16_pair(c[i], c[i + 1]); }
DEVICE u32 ups(const float (&c)[COLUMNS / 2], int i) { return bf16_pair(c[i + COLUMNS / 4], c[i + COLUMNS / 4 + 1]); }

// Writes rows of the result, positions of the warpgroup's columns, given value(i) of place i of an accumulator: they are
// turned in shared memory, so that memory gets 128 bytes of each.
template <class Value>
DEVICE void store_columns(bf16 *y, bf16 *turned, const Mix &mix, const Columns &at, int warpgroup, Value value) {
    const int thread = threadIdx.x % WARPGROUP, lane = lane_index(), warp = thread / LANES;
    // All warps have read the results of before.
    barrier_sync(1 + warpgroup, WARPGROUP);
#pragma unroll
    for (int i = 0; i < POSITIONS / 2; i++) {
        const int position = i / 4 * 8 + lane % 4 * 2 + i % 2, chunk = 2 * warp + i / 2 % 2;
        turned[position * COLUMNS + (chunk ^ position % 8) * 8 + lane / 4] = from_float<bf16>(value(i));
    }
    barrier_sync(1 + warpgroup, WARPGROUP);
    if (!at.exist) return;
    bf16 *const to = y + (u64)at.sequence * mix.positions * mix.width + at.first;
    for (int i = thread; i < mix.positions * (COLUMNS / 8); i += WARPGROUP) {
        const int position = i / (COLUMNS / 8), chunk = i % (COLUMNS / 8);
        *(uint4 *)(to + (u64)position * mix.width + chunk * 8) =
            *(const uint4 *)(turned + position * COLUMNS + (chunk ^ position % 8) * 8);
    }
}

// The sum over the four lanes that share a row of an accumulator.
DEVICE float quad_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

// What every kernel of the kind does: a warp that fetches, warpgroups that consume(memory, warpgroup).
template <int OPERANDS, int STAGES, class Consume>
DEVICE void mix_tokens(const Mix &mix, const TensorMap *const (&sequences)[OPERANDS], const TensorMap &gate_up,
                       const TensorMap &down, Consume consume) {
    SHARED_DYNAMIC_1024(shared);
    const Memory<OPERANDS, STAGES> memory(shared);
    if (threadIdx.x == 0) memory.init_barriers();
    barrier_cluster();
    // The launch before makes the copies of the weights.
    wait_for_launch_before();
    const int warpgroup = uniform(threadIdx.x / WARPGROUP);
    if (warpgroup == CONSUMERS) {
        setmaxnreg_dec<40>();
        if (threadIdx.x % WARPGROUP == 0) fetch(memory, mix, sequences, gate_up, down);
        __syncwarp();
    } else {
        setmaxnreg_inc<232>();
        consume(memory, warpgroup);
    }
    // No block may leave while another still sends it weights, or arrives at its barriers.
    barrier_cluster();
}

#define MIX_TOKENS(name) \
    extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(BLOCK_THREADS, 1) name
#define MAP const __grid_constant__ TensorMap
