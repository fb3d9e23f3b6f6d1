// The pipeline of the matrix products for compute capability 9.0a; gemm_sm90.cu says how it works.
#pragma once

#include "hopper.cuh"

// What becomes of the product.
enum class Epilogue { Store, SwiGlu, AddRmsNorm };
// Where the weights are while rows stream past.
enum class Weights { Resident, Streamed };

constexpr int COLS = 128;     // Columns of a tile.
constexpr int ROWS = 128;     // Rows of a tile.
constexpr int DEPTH = 64;     // Of the summed dimension, in a step.
constexpr int PANEL = 16384;  // Bytes of 128 rows, 64 columns wide.
constexpr int WARPGROUP = 128;
constexpr int GEMM_THREADS = 3 * WARPGROUP;

// What to multiply, alike for all blocks.
struct Shape {
    int rows;    // N.
    int steps;   // K / 64.
    int groups;  // Of columns: each is the work of the blocks of one cluster.
};

// The tiles of one cluster: an even share of those of all groups, group by group.
struct Tiles {
    int rows;  // Of tiles, in a group.
    int next;
    int last;

    __device__ Tiles(const Shape &shape, int cluster_size) {
        rows = (shape.rows + ROWS - 1) / ROWS;
        const long long all = (long long)rows * shape.groups;
        const int clusters = gridDim.x / cluster_size;
        const int cluster = blockIdx.x / cluster_size;
        next = (int)(all * cluster / clusters);
        last = (int)(all * (cluster + 1) / clusters);
    }

    __device__ bool more() const { return next < last; }
    __device__ int group() const { return next / rows; }
    __device__ int row() const { return next % rows * ROWS; }
    // That of the last tile; of a cluster that has no tile, one before all groups.
    __device__ int last_group() const { return more() ? (last - 1) / rows : -1; }
    __device__ void advance() { ++next; }
};

template <Epilogue EPILOGUE, Weights WEIGHTS, int CLUSTER, int STAGES>
struct Product {
    static constexpr int BLOCKS = CLUSTER;
    static constexpr bool RESIDENT = WEIGHTS == Weights::Resident;
    static constexpr bool NORM = EPILOGUE == Epilogue::AddRmsNorm;
    static constexpr bool GATED = EPILOGUE == Epilogue::SwiGlu;
    static constexpr int STAGE_BYTES = RESIDENT ? PANEL : 2 * PANEL;  // Rows, then weights.
    static constexpr int TABLE_BYTES = CLUSTER * ROWS * 4;

    // In shared memory: the ring, resident weights, sums of squares, barriers.
    u32 ring, weights, sums, barriers;
    Shape shape;
    u32 rank;

    __device__ Product(u32 shared, const Shape &s) : shape(s) {
        ring = shared;
        weights = ring + STAGES * STAGE_BYTES;
        sums = weights + (RESIDENT ? shape.steps * PANEL : 0);
        barriers = sums + (NORM && CLUSTER > 1 ? 4 * TABLE_BYTES : 0);
        rank = CLUSTER > 1 ? cluster_ctarank() : 0;
    }

    __device__ u32 full(int stage) const { return barriers + 8 * stage; }
    __device__ u32 empty(int stage) const { return barriers + 8 * (STAGES + stage); }
    __device__ u32 weights_full() const { return barriers + 8 * (2 * STAGES); }
    __device__ u32 weights_empty() const { return barriers + 8 * (2 * STAGES + 1); }
    __device__ u32 turn() const { return barriers + 8 * (2 * STAGES + 2); }
    __device__ u32 sums_full(int table) const { return barriers + 8 * (2 * STAGES + 3 + table); }

    __device__ void init_barriers() const {
        for (int stage = 0; stage < STAGES; ++stage) {
            mbarrier_init(full(stage), 1);
            mbarrier_init(empty(stage), 4 * CLUSTER);
        }
        mbarrier_init(weights_full(), 1);
        mbarrier_init(weights_empty(), 8);
        mbarrier_init(turn(), 4);
        for (int table = 0; table < 4; ++table) {
            mbarrier_init(sums_full(table), 1);
        }
        fence_mbarrier_init();
    }

    // Number of this block's tile among those of 128 columns.
    __device__ int column(int group) const { return group * CLUSTER + (int)rank; }

    // Fetches a step of the tile's weights: with SwiGLU 64 rows of gate, then 64 of up.
    __device__ void fetch_weights(u32 to, const TensorMap &w, int group, int step, u32 barrier) const {
        for (int half = 0; half < 2; ++half) {
            const int row = GATED ? (half * shape.groups * CLUSTER + column(group)) * 64
                                   : column(group) * COLS + half * 64;
            cp_async_bulk_tensor_5d(to + half * (PANEL / 2), w, row / 32, step * DEPTH, barrier);
        }
    }

    // Fetches the resident weights of a group, the `loaded`th that the block has.
    __device__ void fetch_resident(const TensorMap &w, int group, int loaded) const {
        mbarrier_wait(weights_empty(), (loaded & 1) ^ 1);
        mbarrier_arrive_expect_tx(weights_full(), shape.steps * PANEL);
        for (int step = 0; step < shape.steps; ++step) {
            fetch_weights(weights + step * PANEL, w, group, step, weights_full());
        }
    }

    // One thread: keeps the ring full. The first resident weights are on their way while the launch before still runs, which
    // writes none: that is the optimizers' affair, and no launch begins beside one of theirs.
    __device__ void fetch(const TensorMap &x, const TensorMap &w) const {
        constexpr int PART = ROWS / CLUSTER;
        int stage = 0, loaded = 0, held = -1;
        u32 parity = 0;
        Tiles tiles(shape, CLUSTER);
        prefetch_tensormap(x);
        if (RESIDENT && tiles.more()) {
            held = tiles.group();
            fetch_resident(w, held, loaded++);
        }
        wait_for_launch_before();
        for (; tiles.more(); tiles.advance()) {
            const int group = tiles.group();
            const int row = tiles.row() + rank * PART;
            if (RESIDENT && group != held) {
                held = group;
                fetch_resident(w, held, loaded++);
            }
            for (int step = 0; step < shape.steps; ++step) {
                mbarrier_wait(empty(stage), parity ^ 1);
                mbarrier_arrive_expect_tx(full(stage), STAGE_BYTES);
                const u32 to = ring + stage * STAGE_BYTES;
                if constexpr (CLUSTER > 1) {
                    cp_async_bulk_tensor_multicast(to + rank * PART * 128, x, row, step * DEPTH, full(stage),
                                                   (1 << CLUSTER) - 1);
                } else {
                    cp_async_bulk_tensor(to, x, row, step * DEPTH, full(stage));
                }
                if constexpr (!RESIDENT) {
                    fetch_weights(to + PANEL, w, group, step, full(stage));
                }
                if (++stage == STAGES) {
                    stage = 0;
                    parity ^= 1;
                }
            }
        }
    }

    // This warp is done with a stage. When all of the cluster are, it may be fetched into.
    __device__ void release(int stage, int lane) const {
        if constexpr (CLUSTER > 1) {
            if (lane < CLUSTER) {
                mbarrier_arrive_cluster(mapa(empty(stage), lane));
            }
        } else if (lane == 0) {
            mbarrier_arrive(empty(stage));
        }
    }

    // The sums of the block's tile t: of rows 64 h .. 64 h + 64 in sum[h], with the norm added to what is there.
    DEVICE void multiply(float (&sum)[2][64], int t, int lane) const {
        // Only when the other warpgroup has seen all its stages full do their parities speak of ours.
        mbarrier_wait(turn(), (t & 1) ^ 1);
        const int first = t * shape.steps;
        for (int step = 0; step < shape.steps; ++step) {
            const int stage = (first + step) % STAGES;
            mbarrier_wait(full(stage), (first + step) / STAGES & 1);
            if (step == shape.steps - 1 && lane == 0) {
                mbarrier_arrive(turn());
            }
            const u32 tile = ring + stage * STAGE_BYTES;
            const u64 a = matrix_descriptor(tile);
            const u64 b = matrix_descriptor(RESIDENT ? weights + step * PANEL : tile + PANEL);
            wgmma_fence();
            // Descriptors count in units of 16 bytes: 2 is 16 columns, 512 is 64 rows.
#pragma unroll
            for (int k = 0; k < DEPTH / 16; ++k) {
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    wgmma_m64n128k16(sum[h], a + 512 * h + 2 * k, b + 2 * k, NORM || step + k > 0);
                }
            }
            wgmma_commit_group();
            wgmma_wait_group<1>();
            if (step > 0) {
                release((first + step - 1) % STAGES, lane);
            }
        }
        wgmma_wait_group<0>();
        release((first + shape.steps - 1) % STAGES, lane);
    }

    // Sums `squares` of the rows of tile t over the cluster. Four tables take turns: a block sends its sums of tile t only
    // when it has those of tile t - 2 from all blocks, which by then have read those of tile t - 4.
    __device__ void exchange(float (&squares)[2][2], int t, int warp, int lane) const {
        const u32 table = sums + t % 4 * TABLE_BYTES + (16 * warp + lane / 4) * 4;
        const u32 barrier = sums_full(t % 4);
        if (threadIdx.x % WARPGROUP == 0) {
            mbarrier_arrive_expect_tx(barrier, TABLE_BYTES);
        }
        // The four lanes of a row share out the blocks.
        if (lane % 4 < CLUSTER) {
            const u32 to = mapa(table + rank * ROWS * 4, lane % 4);
            const u32 barrier_there = mapa(barrier, lane % 4);
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                st_async(to + 256 * h, squares[h][0], barrier_there);
                st_async(to + 256 * h + 32, squares[h][1], barrier_there);
            }
        }
        mbarrier_wait_cluster(barrier, t / 4 & 1);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                squares[h][i] = 0.0f;
                for (int from = 0; from < CLUSTER; ++from) {
                    squares[h][i] += ld_shared(table + from * ROWS * 4 + 256 * h + 32 * i);
                }
            }
        }
    }
};
