// What the two halves of attention's vjp on compute capability 9.0a share: their shared memory, the thread that fetches, and the
// two products that each tile of the ring begins with. See attention_short_vjp for the formulas.
//
// Queries and keys come rotated. qkv [batch, positions, 3D] and the cotangent of o, [batch, positions, D], come as maps of three
// dimensions, whose boxes are tiles; rows after the last position are zero.
#pragma once
#include "attention_sm90_few.cuh"

// In shared memory: each consumer's own rows of two matrices, a ring of tiles of two others, of which each stage has two
// statistics of its rows beside it, the rows on their way out, barriers.
template <int CONSUMERS, int STAGES> struct VjpMemory {
    u32 own, ring, barriers;
    float *stats;
    bf16 *staging, *tiles;
    DEVICE VjpMemory(unsigned char *shared) {
        tiles = (bf16 *)shared;
        own = uniform(shared_address(shared));
        ring = own + 2 * CONSUMERS * TILE_BYTES;
        constexpr int TILES = 2 * (CONSUMERS + STAGES) * TILE_BYTES, STATS = STAGES * 2 * TILE * 4;
        stats = (float *)(shared + TILES);
        staging = (bf16 *)(shared + TILES + STATS);
        barriers = own + TILES + STATS + 4 * CONSUMERS * STAGING;
    }
    // The first and the second matrix.
    DEVICE u32 own_a(int consumer) const { return own + 2 * consumer * TILE_BYTES; }
    DEVICE u32 own_b(int consumer) const { return own_a(consumer) + TILE_BYTES; }
    DEVICE u32 ring_a(int stage) const { return ring + 2 * stage * TILE_BYTES; }
    DEVICE u32 ring_b(int stage) const { return ring_a(stage) + TILE_BYTES; }
    DEVICE float *stats_of(int stage) const { return stats + stage * 2 * TILE; }
    DEVICE const bf16 *own_a_of(int consumer) const { return tiles + 2 * consumer * TILE * DIM; }
    DEVICE const bf16 *own_b_of(int consumer) const { return own_a_of(consumer) + TILE * DIM; }
    DEVICE const bf16 *ring_a_of(int stage) const { return tiles + 2 * (CONSUMERS + stage) * TILE * DIM; }
    DEVICE const bf16 *ring_b_of(int stage) const { return ring_a_of(stage) + TILE * DIM; }
    DEVICE bf16 *staging_of(int warp) const { return staging + warp * STAGING / 2; }

    DEVICE u32 full(int stage) const { return barriers + 8 * stage; }
    DEVICE u32 empty(int stage) const { return barriers + 8 * (STAGES + stage); }
    DEVICE u32 own_full(int consumer) const { return barriers + 8 * (2 * STAGES + consumer); }
    DEVICE u32 own_empty(int consumer) const { return barriers + 8 * (2 * STAGES + CONSUMERS + consumer); }
    // `arrivals` end the filling of a stage.
    DEVICE void init_barriers(int arrivals) const {
        for (int stage = 0; stage < STAGES; stage++) {
            mbarrier_init(full(stage), arrivals);
            mbarrier_init(empty(stage), 4 * CONSUMERS);
        }
        for (int consumer = 0; consumer < CONSUMERS; consumer++) {
            mbarrier_init(own_full(consumer), 1);
            mbarrier_init(own_empty(consumer), 4);
        }
        fence_mbarrier_init();
    }
};

// Which column of a map a part of it begins at: `part` counts heads.
struct Source {
    const TensorMap &map;
    int part;
    DEVICE void fetch(u32 to, int batch, int row, int head, u32 barrier) const {
        cp_async_bulk_tensor_3d(to, map, batch, row, (part + head) * DIM, barrier);
    }
};

// One thread: fetches each consumer's rows, then the tiles that all go through.
template <int CONSUMERS, int STAGES>
DEVICE void fetch(const VjpMemory<CONSUMERS, STAGES> &memory, const Sequences &s, const Source &own_a, const Source &own_b,
                  const Source &ring_a, const Source &ring_b) {
    Turn<STAGES> turn;
    u32 parity = 0;
    for (Work<CONSUMERS> work(s); work.more(); work.advance(), parity ^= 1) {
        const int batch = work.index() / s.heads, head = work.index() % s.heads;
        for (int consumer = 0; consumer < CONSUMERS; consumer++) {
            const u32 barrier = memory.own_full(consumer);
            const int row = work.row() + consumer * TILE;
            mbarrier_wait(memory.own_empty(consumer), parity ^ 1);
            mbarrier_arrive_expect_tx(barrier, 2 * TILE_BYTES);
            own_a.fetch(memory.own_a(consumer), batch, row, head, barrier);
            own_b.fetch(memory.own_b(consumer), batch, row, head, barrier);
        }
        for (int tile = 0; tile < s.tiles(); tile++, turn.advance()) {
            const u32 barrier = memory.full(turn.stage);
            mbarrier_wait(memory.empty(turn.stage), turn.parity ^ 1);
            mbarrier_arrive_expect_tx(barrier, 2 * TILE_BYTES);
            ring_a.fetch(memory.ring_a(turn.stage), batch, tile * TILE, head, barrier);
            ring_b.fetch(memory.ring_b(turn.stage), batch, tile * TILE, head, barrier);
        }
    }
}

// What a consumer begins its next tile with: scores = own_a ring_a^T and dp = own_b ring_b^T, if it has rows, for as many of
// the tile's rows as `scores` has columns. The sums of the tile before are finished then, and its stage is given back.
template <int CONSUMERS, int STAGES, class Arrive, int COUNT, class... Sums>
DEVICE void begin_tile(const VjpMemory<CONSUMERS, STAGES> &memory, Turn<STAGES> &turn, int &before, int consumer,
                       const Arrive &arrive, bool has_rows, float (&scores)[COUNT], float (&dp)[COUNT], Sums &...sums) {
    mbarrier_wait(memory.full(turn.stage), turn.parity);
    if (has_rows) {
        registers_written(scores);
        registers_written(dp);
        start_product(scores, memory.own_a(consumer), memory.ring_a(turn.stage));
        start_product(dp, memory.own_b(consumer), memory.ring_b(turn.stage));
        // The sums of the tile before are finished with them.
        finish<0>(scores);
        wgmma_fence_operand(dp);
        (wgmma_fence_operand(sums), ...);
    }
    if (before >= 0) arrive(memory.empty(before));
    before = turn.stage;
    turn.advance();
}
