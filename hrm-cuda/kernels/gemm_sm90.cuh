// The pipeline of the matrix products for compute capability 9.0a; gemm_sm90.cu says how it works.
#pragma once

#include "hopper.cuh"

// What becomes of the product.
enum class Epilogue { Store, Rope, SwiGlu, SwiGluVjp, AddRmsNorm };
// Where the weights are while rows stream past.
enum class Weights { Resident, Streamed };

constexpr int DEPTH = 64;  // Of the summed dimension, in a step.
constexpr int WARPGROUP = 128;
constexpr int ROW_BYTES = 2 * DEPTH;  // Of a row in a step.
constexpr int MOST_RESIDENT_STEPS = 8;

// What to multiply, alike for all blocks.
struct Shape {
    int rows;    // N.
    int steps;   // K / 64.
    int groups;  // Of columns: each is the work of the blocks of one cluster.
};

// The tiles of one cluster: an even share of those of all groups, group by group.
struct Tiles {
    int height;  // Rows of a tile.
    int rows;    // Of tiles, in a group.
    int first;
    int last;

    __device__ Tiles(const Shape &shape, int cluster_size, int tile_rows) : height(tile_rows) {
        rows = (shape.rows + height - 1) / height;
        const long long all = (long long)rows * shape.groups;
        const int clusters = gridDim.x / cluster_size;
        const int cluster = blockIdx.x / cluster_size;
        first = (int)(all * cluster / clusters);
        last = (int)(all * (cluster + 1) / clusters);
    }

    __device__ int count() const { return last - first; }
    // Of the cluster's tile t.
    __device__ int group(int t) const { return (first + t) / rows; }
    __device__ int row(int t) const { return (first + t) % rows * height; }
};

template <Epilogue EPILOGUE, Weights WEIGHTS, int CLUSTER, int STAGES>
struct Product {
    static constexpr int BLOCKS = CLUSTER;
    static constexpr bool RESIDENT = WEIGHTS == Weights::Resident;
    static constexpr bool ROPE = EPILOGUE == Epilogue::Rope;
    static constexpr bool NORM = EPILOGUE == Epilogue::AddRmsNorm;
    // With few registers left beside the sums, they start at the residual; with many it is read while they are formed.
    // Only with many is the result added to something else.
    static constexpr bool STARTS_AT_RESIDUAL = NORM && RESIDENT, PLUS = NORM && !RESIDENT;
    static constexpr bool GATED = EPILOGUE == Epilogue::SwiGlu;
    static constexpr bool GATED_VJP = EPILOGUE == Epilogue::SwiGluVjp;
    // Warpgroups that multiply, and what each has of a block's tile: rows in parts of 64, and of each part in a thread so
    // many values.
    static constexpr int CONSUMERS = RESIDENT ? 3 : 2;
    static constexpr int THREADS = (1 + CONSUMERS) * WARPGROUP;
    static constexpr int PARTS = RESIDENT ? 2 : 1, ROWS = 64 * PARTS;
    static constexpr int COLS = RESIDENT ? 128 : 256, VALUES = COLS / 2;
    // Rows of a block's tile, and what a stage has of it: the rows, and weights that come with them.
    static constexpr int TILE_ROWS = RESIDENT ? ROWS : CONSUMERS * ROWS;
    static constexpr int PANEL = COLS * ROW_BYTES;
    static constexpr int STAGE_BYTES = TILE_ROWS * ROW_BYTES + (RESIDENT ? 0 : PANEL);
    static constexpr int TABLE_BYTES = CLUSTER * ROWS * 4;
    // Registers of a thread, of the producer and of a consumer.
    static constexpr int FEW = RESIDENT ? 32 : 40, MANY = RESIDENT ? 160 : 232;

    // What the warps turn in shared memory, eight rows each. Of two rows next to each other, 64 bytes each lie in all banks.
    static constexpr int TURNED_ROW = COLS / 8 + 4;  // In units of 16 bytes.
    static constexpr int TURNED_BYTES = GATED_VJP ? 4 * CONSUMERS * 8 * TURNED_ROW * 16 : 0;

    // In shared memory: the ring, resident weights, what is turned, sums of squares, barriers.
    u32 ring, weights, sums, barriers;
    uint4 *turned;
    Shape shape;
    u32 rank;

    __device__ Product(unsigned char *shared, const Shape &s) : shape(s) {
        ring = uniform(shared_address(shared));
        weights = ring + STAGES * STAGE_BYTES;
        const int held = STAGES * STAGE_BYTES + (RESIDENT ? shape.steps * PANEL : 0);
        turned = (uint4 *)(shared + held);
        sums = ring + held + TURNED_BYTES;
        barriers = sums + (NORM && CLUSTER > 1 ? 2 * CONSUMERS * TABLE_BYTES : 0);
        rank = CLUSTER > 1 ? cluster_ctarank() : 0;
    }

    __device__ Tiles tiles() const { return Tiles(shape, CLUSTER, TILE_ROWS); }

    __device__ u32 full(int stage) const { return barriers + 8 * stage; }
    __device__ u32 empty(int stage) const { return full(STAGES + stage); }
    __device__ u32 turn(int warpgroup) const { return full(2 * STAGES + warpgroup); }
    __device__ u32 sums_full(int table) const { return turn(CONSUMERS + table); }
    __device__ u32 weights_full(int step) const { return sums_full(2 * CONSUMERS + step); }
    __device__ u32 weights_empty(int step) const { return weights_full(MOST_RESIDENT_STEPS + step); }

    __device__ void init_barriers() const {
        for (int stage = 0; stage < STAGES; ++stage) {
            mbarrier_init(full(stage), 1);
            mbarrier_init(empty(stage), (RESIDENT ? 4 : 4 * CONSUMERS) * CLUSTER);
        }
        for (int warpgroup = 0; warpgroup < CONSUMERS; ++warpgroup) {
            mbarrier_init(turn(warpgroup), 4);
        }
        for (int table = 0; table < 2 * CONSUMERS; ++table) {
            mbarrier_init(sums_full(table), 1);
        }
        for (int step = 0; step < MOST_RESIDENT_STEPS; ++step) {
            mbarrier_init(weights_full(step), 1);
            mbarrier_init(weights_empty(step), 4 * CONSUMERS);
        }
        fence_mbarrier_init();
    }

    // Number of this block's tile among those of as many columns.
    __device__ int column(int group) const { return group * CLUSTER + (int)rank; }

    // Fetches a step of the tile's weights, 64 columns of the product at a time: with SwiGLU gates, then ups.
    __device__ void fetch_weights(u32 to, const TensorMap &w, int group, int step, u32 barrier) const {
        for (int part = 0; part < COLS / 64; ++part) {
            const int row = GATED ? (part * shape.groups * CLUSTER + column(group)) * 64
                                   : column(group) * COLS + part * 64;
            cp_async_bulk_tensor_5d(to + part * 64 * ROW_BYTES, w, row / 32, step * DEPTH, barrier);
        }
    }

    // Fetches a step of the resident weights of a group, the `loaded`th that the block has, as soon as all warps are done
    // with that step of the group before.
    __device__ void fetch_resident(const TensorMap &w, int group, int step, int loaded) const {
        mbarrier_wait(weights_empty(step), (loaded & 1) ^ 1);
        mbarrier_arrive_expect_tx(weights_full(step), PANEL);
        fetch_weights(weights + step * PANEL, w, group, step, weights_full(step));
    }

    // One thread: keeps the ring full. The first resident weights are on their way while the launch before still runs, which
    // writes none: that is the optimizers' affair, and no launch begins beside one of theirs. But the vjp of SwiGLU is given
    // a copy of its weights, which the launch before writes: they wait like all else.
    __device__ void fetch(const TensorMap &x, const TensorMap &w) const {
        constexpr int PART = TILE_ROWS / CLUSTER;
        const Tiles tiles = this->tiles();
        int stage = 0, loaded = 0, held = -1;
        u32 parity = 0;
        prefetch_tensormap(x);
        if (RESIDENT && !GATED_VJP && tiles.count() > 0) {
            held = tiles.group(0);
#pragma unroll 1
            for (int step = 0; step < shape.steps; ++step) fetch_resident(w, held, step, loaded);
            ++loaded;
        }
        wait_for_launch_before();
        for (int t = 0; t < tiles.count(); ++t) {
            const int group = tiles.group(t);
            const int row = tiles.row(t) + rank * PART;
            const bool other_weights = RESIDENT && group != held;
#pragma unroll 1
            for (int step = 0; step < shape.steps; ++step) {
                if (other_weights) fetch_resident(w, group, step, loaded);
                mbarrier_wait(empty(stage), parity ^ 1);
                mbarrier_arrive_expect_tx(full(stage), STAGE_BYTES);
                const u32 to = ring + stage * STAGE_BYTES;
                if constexpr (CLUSTER > 1) {
                    cp_async_bulk_tensor_multicast(to + rank * PART * ROW_BYTES, x, row, step * DEPTH, full(stage),
                                                   (1 << CLUSTER) - 1);
                } else {
                    cp_async_bulk_tensor(to, x, row, step * DEPTH, full(stage));
                }
                if constexpr (!RESIDENT) {
                    fetch_weights(to + TILE_ROWS * ROW_BYTES, w, group, step, full(stage));
                }
                if (++stage == STAGES) {
                    stage = 0;
                    parity ^= 1;
                }
            }
            loaded += other_weights;
            held = group;
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

    // What a warpgroup knows of a set of resident weights, the `number`th of this block.
    struct Set {
        int number;
        bool seen;  // This warpgroup had a tile of it before.
        bool last;  // It has none after this one.
    };

    __device__ void release_weights(int step, int lane) const {
        if (lane == 0) {
            mbarrier_arrive(weights_empty(step));
        }
    }

    // A set of which this warpgroup has no tile.
    __device__ void pass(int number, int lane) const {
        for (int step = 0; step < shape.steps; ++step) {
            mbarrier_wait(weights_full(step), number & 1);
            release_weights(step, lane);
        }
    }

    DEVICE static void wgmma(float (&d)[64], u64 a, u64 b, bool accumulate) { wgmma_m64n128k16(d, a, b, accumulate); }
    DEVICE static void wgmma(float (&d)[128], u64 a, u64 b, bool accumulate) { wgmma_m64n256k16(d, a, b, accumulate); }

    // Products of half a step, 32 columns of the operands from column 32 * half on.
    DEVICE static void multiply_half(float (&sum)[PARTS][VALUES], u64 a, u64 b, int half, bool accumulate) {
        // Descriptors count in units of 16 bytes: 2 is 16 columns, 512 is 64 rows.
#pragma unroll
        for (int k = 2 * half; k < 2 * half + 2; ++k) {
#pragma unroll
            for (int h = 0; h < PARTS; ++h) {
                wgmma(sum[h], a + 512 * h + 2 * k, b + 2 * k, accumulate || k > 0);
            }
        }
        wgmma_commit_group();
    }

    // The sums of the warpgroup's part of tile t, added to what is there if they start at the residual.
    //
    // A warp is held until the tensor cores have taken its products, all but the last one or two. So what else there is
    // to do in a step stands between its halves, and nothing between two steps.
    DEVICE void multiply(float (&sum)[PARTS][VALUES], int t, int warpgroup, const Set &set, int lane) const {
        if constexpr (RESIDENT) {
            // Only when the warpgroup of the tile before has seen all its stages full do their parities speak of ours.
            mbarrier_wait(turn(warpgroup), (t / CONSUMERS & 1) ^ (warpgroup == 0));
        }
        int stage = t * shape.steps % STAGES, previous = 0;
        u32 parity = t * shape.steps / STAGES & 1;
        bool ready = false;
#pragma unroll 1
        for (int step = 0; step < shape.steps; ++step) {
            if (RESIDENT && !set.seen) {
                mbarrier_wait(weights_full(step), set.number & 1);
            }
            if (!ready) {
                mbarrier_wait(full(stage), parity);
            }
            const u32 tile = ring + stage * STAGE_BYTES;
            const u64 a = matrix_descriptor(tile + (RESIDENT ? 0 : warpgroup * ROWS * ROW_BYTES));
            const u64 b = matrix_descriptor(RESIDENT ? weights + step * PANEL : tile + TILE_ROWS * ROW_BYTES);
            wgmma_fence();
            multiply_half(sum, a, b, 0, STARTS_AT_RESIDUAL || step > 0);
            wgmma_wait_group<1>();
            if (step > 0) {
                done(previous, step - 1, set, lane);
            }
            previous = stage;
            if (++stage == STAGES) {
                stage = 0;
                parity ^= 1;
            }
            if (step < shape.steps - 1) {
                ready = mbarrier_test_wait(full(stage), parity);
            } else if (RESIDENT && lane == 0) {
                mbarrier_arrive(turn((warpgroup + 1) % CONSUMERS));
            }
            multiply_half(sum, a, b, 1, true);
        }
        wgmma_wait_group<0>();
        done(previous, shape.steps - 1, set, lane);
    }

    // This warp is done with a step of its tile.
    __device__ void done(int stage, int step, const Set &set, int lane) const {
        release(stage, lane);
        if (RESIDENT && set.last) {
            release_weights(step, lane);
        }
    }

    // Sums `squares` of the rows of the warpgroup's nth tile over the cluster. Two tables of each warpgroup take turns: a
    // block sends its sums of tile n only when it has those of tile n - 1 from all blocks, which by then have read those
    // of tile n - 2.
    __device__ void exchange(float (&squares)[PARTS][2], int n, int warpgroup, int warp, int lane) const {
        const int number = n % 2 * CONSUMERS + warpgroup;
        const u32 table = sums + number * TABLE_BYTES + (16 * warp + lane / 4) * 4;
        const u32 barrier = sums_full(number);
        if (threadIdx.x % WARPGROUP == 0) {
            mbarrier_arrive_expect_tx(barrier, TABLE_BYTES);
        }
        // The four lanes of a row share out the blocks.
        if (lane % 4 < CLUSTER) {
            const u32 to = mapa(table + rank * ROWS * 4, lane % 4);
            const u32 barrier_there = mapa(barrier, lane % 4);
#pragma unroll
            for (int h = 0; h < PARTS; ++h) {
                st_async(to + 256 * h, squares[h][0], barrier_there);
                st_async(to + 256 * h + 32, squares[h][1], barrier_there);
            }
        }
        mbarrier_wait_cluster(barrier, n / 2 & 1);
#pragma unroll
        for (int h = 0; h < PARTS; ++h) {
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
