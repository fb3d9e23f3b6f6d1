// y = x W^T with what follows it, on the tensor cores of compute capability 9.0a. bf16 operands, f32 sums.
//
//   linear_sm90               y[N, out] = x W^T
//   linear_swiglu_sm90        a[N, F] = silu(g) u, where [g, u][N, 2F] = x W^T in bf16; gate_up is kept if asked for
//   linear_add_rms_norm_sm90  s = r + x W^T, rstd = 1 / sqrt(mean(s^2) + eps), y[N, D] = s rstd, by row
//
// x [N, K] and W [out, K] are row-major. K is a multiple of 64.
//
// A block has three warpgroups: one thread of the first has the copy engine fetch tiles of rows into a ring in shared
// memory; the other two take turns, one multiplies a tile while the other finishes its result. A tile has 128 rows and
// 128 columns, its sums never leave the registers before the result is formed, and a residual is where they start.
//
//   resident  The weights of the tile's columns, [128, K], lie in shared memory, and the rows stream past them.
//   streamed  K is too long for that: the weights come with the rows.
//
// The blocks of a cluster work on the same rows and on neighbouring columns; each fetches a part of the rows for all.
// The norm needs whole rows, so there a cluster spans all D columns and its blocks exchange the sums of squares.
//
// The map of the weights has five dimensions, [out / 32, 4, 4, 2, K] with strides of 32, 2, 8 and 1 rows: it permutes
// each 32 rows so that a lane's sums, which wgmma scatters in pairs, are 8 neighbouring columns, 16 bytes of a result.
//
// The order of every sum depends on K and D alone.

#include "hopper.cuh"

using namespace hopper;

namespace {

enum class Epilogue { kStore, kSwiGlu, kAddRmsNorm };
enum class Weights { kResident, kStreamed };

constexpr int kCols = 128;     // Columns of a tile.
constexpr int kRows = 128;     // Rows of a tile.
constexpr int kDepth = 64;     // Of the summed dimension, in a step.
constexpr int kPanel = 16384;  // Bytes of 128 rows, 64 columns wide.
constexpr int kWarpgroup = 128;
constexpr int kThreads = 3 * kWarpgroup;

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

    __device__ Tiles(const Shape& shape, int cluster_size) {
        rows = (shape.rows + kRows - 1) / kRows;
        const long long all = static_cast<long long>(rows) * shape.groups;
        const int clusters = gridDim.x / cluster_size;
        const int cluster = blockIdx.x / cluster_size;
        next = static_cast<int>(all * cluster / clusters);
        last = static_cast<int>(all * (cluster + 1) / clusters);
    }

    __device__ bool more() const { return next < last; }
    __device__ int group() const { return next / rows; }
    __device__ int row() const { return next % rows * kRows; }
    __device__ void advance() { ++next; }
};

template <Epilogue kEpilogue, Weights kWeights, int kClusterSize, int kStages>
struct Product {
    static constexpr int kBlocks = kClusterSize;
    static constexpr bool kResident = kWeights == Weights::kResident;
    static constexpr bool kNorm = kEpilogue == Epilogue::kAddRmsNorm;
    static constexpr bool kGated = kEpilogue == Epilogue::kSwiGlu;
    static constexpr int kStageBytes = kResident ? kPanel : 2 * kPanel;  // Rows, then weights.
    static constexpr int kTableBytes = kClusterSize * kRows * 4;

    // In shared memory: the ring, resident weights, sums of squares, barriers.
    u32 ring, weights, sums, barriers;
    Shape shape;
    u32 rank;

    __device__ Product(u32 shared, const Shape& s) : shape(s) {
        ring = shared;
        weights = ring + kStages * kStageBytes;
        sums = weights + (kResident ? shape.steps * kPanel : 0);
        barriers = sums + (kNorm && kClusterSize > 1 ? 4 * kTableBytes : 0);
        rank = kClusterSize > 1 ? cluster_ctarank() : 0;
    }

    __device__ u32 full(int stage) const { return barriers + 8 * stage; }
    __device__ u32 empty(int stage) const { return barriers + 8 * (kStages + stage); }
    __device__ u32 weights_full() const { return barriers + 8 * (2 * kStages); }
    __device__ u32 weights_empty() const { return barriers + 8 * (2 * kStages + 1); }
    __device__ u32 turn() const { return barriers + 8 * (2 * kStages + 2); }
    __device__ u32 sums_full(int table) const { return barriers + 8 * (2 * kStages + 3 + table); }

    __device__ void init_barriers() const {
        for (int stage = 0; stage < kStages; ++stage) {
            mbarrier_init(full(stage), 1);
            mbarrier_init(empty(stage), 4 * kClusterSize);
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
    __device__ int column(int group) const { return group * kClusterSize + static_cast<int>(rank); }

    // Fetches a step of the tile's weights: with SwiGLU 64 rows of gate, then 64 of up.
    __device__ void fetch_weights(u32 to, const TensorMap& w, int group, int step, u32 barrier) const {
        for (int half = 0; half < 2; ++half) {
            const int row = kGated ? (half * shape.groups * kClusterSize + column(group)) * 64
                                   : column(group) * kCols + half * 64;
            cp_async_bulk_tensor_5d(to + half * (kPanel / 2), w, row / 32, step * kDepth, barrier);
        }
    }

    // One thread: keeps the ring full.
    __device__ void fetch(const TensorMap& x, const TensorMap& w) const {
        constexpr int kPart = kRows / kClusterSize;
        int stage = 0, loaded = 0, held = -1;
        u32 parity = 0;
        for (Tiles tiles(shape, kClusterSize); tiles.more(); tiles.advance()) {
            const int group = tiles.group();
            const int row = tiles.row() + rank * kPart;
            if (kResident && group != held) {
                mbarrier_wait(weights_empty(), (loaded & 1) ^ 1);
                mbarrier_arrive_expect_tx(weights_full(), shape.steps * kPanel);
                for (int step = 0; step < shape.steps; ++step) {
                    fetch_weights(weights + step * kPanel, w, group, step, weights_full());
                }
                held = group;
                ++loaded;
            }
            for (int step = 0; step < shape.steps; ++step) {
                mbarrier_wait(empty(stage), parity ^ 1);
                mbarrier_arrive_expect_tx(full(stage), kStageBytes);
                const u32 to = ring + stage * kStageBytes;
                if constexpr (kClusterSize > 1) {
                    cp_async_bulk_tensor_multicast(to + rank * kPart * 128, x, row, step * kDepth, full(stage),
                                                   (1 << kClusterSize) - 1);
                } else {
                    cp_async_bulk_tensor(to, x, row, step * kDepth, full(stage));
                }
                if constexpr (!kResident) {
                    fetch_weights(to + kPanel, w, group, step, full(stage));
                }
                if (++stage == kStages) {
                    stage = 0;
                    parity ^= 1;
                }
            }
        }
    }

    // This warp is done with a stage. When all of the cluster are, it may be fetched into.
    __device__ void release(int stage, int lane) const {
        if constexpr (kClusterSize > 1) {
            if (lane < kClusterSize) {
                mbarrier_arrive_cluster(mapa(empty(stage), lane));
            }
        } else if (lane == 0) {
            mbarrier_arrive(empty(stage));
        }
    }

    // The sums of the block's tile i: of rows 64 h .. 64 h + 64 in sum[h], with the norm added to what is there.
    __device__ __forceinline__ void multiply(float (&sum)[2][64], int i, int lane) const {
        // Only when the other warpgroup has seen all its stages full do their parities speak of ours.
        mbarrier_wait(turn(), (i & 1) ^ 1);
        const int first = i * shape.steps;
        for (int step = 0; step < shape.steps; ++step) {
            const int stage = (first + step) % kStages;
            mbarrier_wait(full(stage), (first + step) / kStages & 1);
            if (step == shape.steps - 1 && lane == 0) {
                mbarrier_arrive(turn());
            }
            const u32 tile = ring + stage * kStageBytes;
            const u64 a = matrix_descriptor(tile);
            const u64 b = matrix_descriptor(kResident ? weights + step * kPanel : tile + kPanel);
            wgmma_fence();
            // Descriptors count in units of 16 bytes: 2 is 16 columns, 512 is 64 rows.
#pragma unroll
            for (int k = 0; k < kDepth / 16; ++k) {
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    wgmma_m64n128k16(sum[h], a + 512 * h + 2 * k, b + 2 * k, kNorm || step + k > 0);
                }
            }
            wgmma_commit_group();
            wgmma_wait_group<1>();
            if (step > 0) {
                release((first + step - 1) % kStages, lane);
            }
        }
        wgmma_wait_group<0>();
        release((first + shape.steps - 1) % kStages, lane);
    }

    // Sums `squares` of the rows of tile i over the cluster. Four tables take turns: another block is at most three tiles
    // ahead, for a stage is fetched into only when all blocks have read it.
    __device__ void exchange(float (&squares)[2][2], int i, int warp, int lane) const {
        const u32 table = sums + i % 4 * kTableBytes + (16 * warp + lane / 4) * 4;
        const u32 barrier = sums_full(i % 4);
        if (threadIdx.x % kWarpgroup == 0) {
            mbarrier_arrive_expect_tx(barrier, kTableBytes);
        }
        // The four lanes of a row share out the blocks.
        if (lane % 4 < kClusterSize) {
            const u32 to = mapa(table + rank * kRows * 4, lane % 4);
            const u32 barrier_there = mapa(barrier, lane % 4);
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                st_async(to + 256 * h, squares[h][0], barrier_there);
                st_async(to + 256 * h + 32, squares[h][1], barrier_there);
            }
        }
        mbarrier_wait_cluster(barrier, i / 4 & 1);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                squares[h][i] = 0.0f;
                for (int from = 0; from < kClusterSize; ++from) {
                    squares[h][i] += ld_shared(table + from * kRows * 4 + 256 * h + 32 * i);
                }
            }
        }
    }
};

// Two neighbours in a row, rounded; the first in the low half.
__device__ __forceinline__ u32 pack(float first, float second) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return *reinterpret_cast<const u32*>(&pair);
}

__device__ __forceinline__ float first_of(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float second_of(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }

// The 8 columns that a lane holds of quarter c, row + 8 i, times `scale`, rounded.
__device__ __forceinline__ uint4 pack_8(const float (&sum)[64], int i, int c, float scale = 1.0f) {
    const float* s = sum + 16 * c + 2 * i;
    return {pack(s[0] * scale, s[1] * scale), pack(s[4] * scale, s[5] * scale), pack(s[8] * scale, s[9] * scale),
            pack(s[12] * scale, s[13] * scale)};
}

// The inverse of pack_8, unscaled.
__device__ __forceinline__ void unpack_8(float (&sum)[64], int i, int c, const uint4& eight) {
    float* s = sum + 16 * c + 2 * i;
    s[0] = first_of(eight.x), s[1] = second_of(eight.x);
    s[4] = first_of(eight.y), s[5] = second_of(eight.y);
    s[8] = first_of(eight.z), s[9] = second_of(eight.z);
    s[12] = first_of(eight.w), s[13] = second_of(eight.w);
}

__device__ __forceinline__ u32 swiglu(u32 gate, u32 up) {
    return pack(silu(first_of(gate)) * first_of(up), silu(second_of(gate)) * second_of(up));
}

// What epilogues read and write.
struct Results {
    __nv_bfloat16* y;               // [N, columns].
    __nv_bfloat16* gate_up;         // [N, 2 columns], or null.
    const __nv_bfloat16* residual;  // [N, columns].
    float* rstd;                    // [N].
    float eps;
};

// The block's tile i, rows from `begin` on.
template <class P>
__device__ __forceinline__ void tile(const P& p, const Results& out, int group, int begin, int i) {
    const int warp = threadIdx.x % kWarpgroup / 32, lane = threadIdx.x % 32;
    // This lane's rows are row + 64 h + 8 i, its columns 8 each from column + 32 c on.
    constexpr int kWidth = P::kGated ? kCols / 2 : kCols;
    const int row = begin + 16 * warp + lane / 4;
    const long long columns = static_cast<long long>(P::kNorm ? 1 : p.shape.groups) * P::kBlocks * kWidth;
    const long long column = p.column(group) * kWidth + lane % 4 * 8;

    float sum[2][64];
    if constexpr (P::kNorm) {
        // While the other warpgroup multiplies.
#pragma unroll
        for (int h = 0; h < 2; ++h) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int r = min(row + 64 * h + 8 * i, p.shape.rows - 1);
#pragma unroll
                for (int c = 0; c < 4; ++c) {
                    unpack_8(sum[h], i, c,
                             *reinterpret_cast<const uint4*>(out.residual + r * columns + column + 32 * c));
                }
            }
            wgmma_fence_operand(sum[h]);
        }
        wgmma_fence();
    }
    p.multiply(sum, i, lane);

    float rstd[2][2];
    if constexpr (P::kNorm) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                float square = 0.0f;
#pragma unroll
                for (int j = 2 * i; j < 64; j += 4) {
                    square += sum[h][j] * sum[h][j] + sum[h][j + 1] * sum[h][j + 1];
                }
                square += __shfl_xor_sync(0xffffffffu, square, 1);
                square += __shfl_xor_sync(0xffffffffu, square, 2);
                rstd[h][i] = square;
            }
        }
        if constexpr (P::kBlocks > 1) {
            p.exchange(rstd, i, warp, lane);
        }
#pragma unroll
        for (int h = 0; h < 2; ++h) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                rstd[h][i] = rsqrtf(rstd[h][i] * (1.0f / (P::kBlocks * kCols)) + out.eps);
                const int r = row + 64 * h + 8 * i;
                if (p.rank == 0 && lane % 4 == 0 && r < p.shape.rows) {
                    out.rstd[r] = rstd[h][i];
                }
            }
        }
    }

#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int r = row + 64 * h + 8 * i;
            if (r >= p.shape.rows) {
                continue;
            }
            uint4* y = reinterpret_cast<uint4*>(out.y + r * columns + column);
            if constexpr (P::kGated) {
                uint4* kept = reinterpret_cast<uint4*>(out.gate_up + r * 2 * columns + column);
#pragma unroll
                for (int c = 0; c < 2; ++c) {
                    // From the rounded values, as the backward pass will see them.
                    const uint4 gate = pack_8(sum[h], i, c), up = pack_8(sum[h], i, c + 2);
                    y[4 * c] = {swiglu(gate.x, up.x), swiglu(gate.y, up.y), swiglu(gate.z, up.z),
                                swiglu(gate.w, up.w)};
                    if (out.gate_up) {
                        kept[4 * c] = gate;
                        kept[4 * c + columns / 8] = up;
                    }
                }
            } else {
#pragma unroll
                for (int c = 0; c < 4; ++c) {
                    y[4 * c] = pack_8(sum[h], i, c, P::kNorm ? rstd[h][i] : 1.0f);
                }
            }
        }
    }
}

template <Epilogue kEpilogue, Weights kWeights, int kClusterSize, int kStages>
__device__ __forceinline__ void run(const TensorMap& x, const TensorMap& w, const Results& out, const Shape& shape) {
    using P = Product<kEpilogue, kWeights, kClusterSize, kStages>;
    extern __shared__ __align__(1024) unsigned char shared[];
    const P p(shared_address(shared), shape);
    if (threadIdx.x == 0) {
        p.init_barriers();
    }
    if constexpr (kClusterSize > 1) {
        barrier_cluster();
    } else {
        __syncthreads();
    }

    if (threadIdx.x < kWarpgroup) {
        setmaxnreg_dec<40>();
        if (threadIdx.x == 0) {
            p.fetch(x, w);
        }
        __syncwarp();
    } else {
        setmaxnreg_inc<232>();
        const int warpgroup = threadIdx.x / kWarpgroup - 1, lane = threadIdx.x % 32;
        Tiles tiles(shape, kClusterSize);
        const int first_group = tiles.group();
        int loaded = 0;
        for (int i = 0; tiles.more(); tiles.advance(), ++i) {
            if (i % 2 != warpgroup) {
                continue;
            }
            if constexpr (P::kResident) {
                // Each warp passes through every set of weights in turn, also those of which it has no tile.
                for (; loaded <= tiles.group() - first_group; ++loaded) {
                    if (loaded > 0 && lane == 0) {
                        mbarrier_arrive(p.weights_empty());
                    }
                    mbarrier_wait(p.weights_full(), loaded & 1);
                }
            }
            tile(p, out, tiles.group(), tiles.row(), i);
        }
    }
    // No block may leave while another still writes to its shared memory.
    if constexpr (kClusterSize > 1) {
        barrier_cluster();
    }
}

}  // namespace

#define KERNEL(name, cluster) extern "C" __global__ __cluster_dims__(cluster, 1, 1) __launch_bounds__(kThreads, 1) void name

#define LINEAR(name, cluster)                                                                                     \
    KERNEL(name, cluster)                                                                                         \
    (const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, __nv_bfloat16* y, int rows, int steps, \
     int groups) {                                                                                                \
        run<Epilogue::kStore, Weights::kResident, cluster, 6>(x, w, {y, nullptr, nullptr, nullptr, 0.0f},         \
                                                              {rows, steps, groups});                             \
    }
LINEAR(linear_sm90_1, 1)
LINEAR(linear_sm90_2, 2)

#define SWIGLU(name, cluster)                                                                                     \
    KERNEL(name, cluster)                                                                                         \
    (const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, __nv_bfloat16* a,                  \
     __nv_bfloat16* gate_up, int rows, int steps, int groups) {                                                   \
        run<Epilogue::kSwiGlu, Weights::kResident, cluster, 6>(x, w, {a, gate_up, nullptr, nullptr, 0.0f},        \
                                                               {rows, steps, groups});                            \
    }
SWIGLU(linear_swiglu_sm90_1, 1)
SWIGLU(linear_swiglu_sm90_2, 2)

#define ADD_RMS_NORM(name, weights, cluster, stages)                                                              \
    KERNEL(name, cluster)                                                                                         \
    (const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, __nv_bfloat16* y, float* rstd,     \
     const __nv_bfloat16* residual, float eps, int rows, int steps, int groups) {                                 \
        run<Epilogue::kAddRmsNorm, weights, cluster, stages>(x, w, {y, nullptr, residual, rstd, eps},             \
                                                             {rows, steps, groups});                              \
    }
ADD_RMS_NORM(linear_add_rms_norm_sm90_1, Weights::kResident, 1, 6)
ADD_RMS_NORM(linear_add_rms_norm_sm90_2, Weights::kResident, 2, 5)
ADD_RMS_NORM(linear_add_rms_norm_sm90_4, Weights::kResident, 4, 5)
ADD_RMS_NORM(linear_add_rms_norm_long_sm90_2, Weights::kStreamed, 2, 6)
ADD_RMS_NORM(linear_add_rms_norm_long_sm90_4, Weights::kStreamed, 4, 6)
