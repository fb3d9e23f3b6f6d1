// y = x W^T with what follows it, on the tensor cores of compute capability 9.0a. bf16 operands, f32 sums.
//
//   linear               y[N, out] = x W^T
//   linear_swiglu        a[N, F] = silu(g) u, where [g, u][N, 2F] = x W^T in bf16; gate_up is kept if asked for
//   linear_add_rms_norm  s = r + x W^T, rstd = 1 / sqrt(mean(s^2) + eps), y[N, D] = s rstd, by row
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

// On other architectures this unit is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#include "gemm_sm90.cuh"

DEVICE float first_of(u32 pair) { return __uint_as_float(pair << 16); }
DEVICE float second_of(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

// As the kernel of that name has it.
DEVICE float silu(float x) { return rounded<bf16>(__fdividef(x, 1.0f + __expf(-x))); }

DEVICE u32 swiglu(u32 gate, u32 up) {
    return bf16_pair(silu(first_of(gate)) * first_of(up), silu(second_of(gate)) * second_of(up));
}

// The 8 columns that a lane holds of quarter c in row + 8 e, times `scale`, rounded.
DEVICE uint4 pack_8(const float (&sum)[64], int e, int c, float scale = 1.0f) {
    const float *s = sum + 16 * c + 2 * e;
    return {bf16_pair(s[0] * scale, s[1] * scale), bf16_pair(s[4] * scale, s[5] * scale),
            bf16_pair(s[8] * scale, s[9] * scale), bf16_pair(s[12] * scale, s[13] * scale)};
}

// The inverse of pack_8, unscaled.
DEVICE void unpack_8(float (&sum)[64], int e, int c, const uint4 &eight) {
    float *s = sum + 16 * c + 2 * e;
    s[0] = first_of(eight.x), s[1] = second_of(eight.x);
    s[4] = first_of(eight.y), s[5] = second_of(eight.y);
    s[8] = first_of(eight.z), s[9] = second_of(eight.z);
    s[12] = first_of(eight.w), s[13] = second_of(eight.w);
}

// What epilogues read and write.
struct Results {
    bf16 *y;               // [N, columns].
    bf16 *gate_up;         // [N, 2 columns], or null.
    const bf16 *residual;  // [N, columns].
    float *rstd;           // [N].
    float eps;
};

// The block's tile t, rows from `begin` on. A lane's rows are row + 64 h + 8 e, its columns column + 32 c and the 7
// after it.
template <class P> DEVICE void tile(const P &p, const Results &out, int group, int begin, int t) {
    constexpr int WIDTH = P::GATED ? COLS / 2 : COLS;
    const int warp = threadIdx.x % WARPGROUP / LANES, lane = lane_index(), rows = p.shape.rows;
    const int row = begin + 16 * warp + lane / 4;
    const long long columns = (long long)(P::NORM ? 1 : p.shape.groups) * P::BLOCKS * WIDTH;
    const long long column = p.column(group) * WIDTH + lane % 4 * 8;

    float sum[2][64];
    if constexpr (P::NORM) {
        // While the other warpgroup multiplies.
#pragma unroll
        for (int h = 0; h < 2; h++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const bf16 *residual = out.residual + min(row + 64 * h + 8 * e, rows - 1) * columns + column;
#pragma unroll
                for (int c = 0; c < 4; c++) unpack_8(sum[h], e, c, *(const uint4 *)(residual + 32 * c));
            }
            wgmma_fence_operand(sum[h]);
        }
        wgmma_fence();
    }
    p.multiply(sum, t, lane);

    float rstd[2][2];
    if constexpr (P::NORM) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float square = 0.0f;
#pragma unroll
                for (int j = 2 * e; j < 64; j += 4) {
                    square += sum[h][j] * sum[h][j] + sum[h][j + 1] * sum[h][j + 1];
                }
                square += __shfl_xor_sync(0xffffffffu, square, 1);
                square += __shfl_xor_sync(0xffffffffu, square, 2);
                rstd[h][e] = square;
            }
        }
        if constexpr (P::BLOCKS > 1) p.exchange(rstd, t, warp, lane);
#pragma unroll
        for (int h = 0; h < 2; h++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
                rstd[h][e] = rsqrtf(rstd[h][e] * (1.0f / (P::BLOCKS * COLS)) + out.eps);
                const int r = row + 64 * h + 8 * e;
                if (p.rank == 0 && lane % 4 == 0 && r < rows) out.rstd[r] = rstd[h][e];
            }
        }
    }

#pragma unroll
    for (int h = 0; h < 2; h++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int r = row + 64 * h + 8 * e;
            if (r >= rows) continue;
            uint4 *y = (uint4 *)(out.y + r * columns + column);
            if constexpr (P::GATED) {
                uint4 *kept = (uint4 *)(out.gate_up + 2 * r * columns + column);
#pragma unroll
                for (int c = 0; c < 2; c++) {
                    // From the rounded values, as the backward pass will see them.
                    const uint4 gate = pack_8(sum[h], e, c), up = pack_8(sum[h], e, c + 2);
                    y[4 * c] = {swiglu(gate.x, up.x), swiglu(gate.y, up.y), swiglu(gate.z, up.z),
                                swiglu(gate.w, up.w)};
                    if (out.gate_up) {
                        kept[4 * c] = gate;
                        kept[4 * c + columns / 8] = up;
                    }
                }
            } else {
#pragma unroll
                for (int c = 0; c < 4; c++) y[4 * c] = pack_8(sum[h], e, c, P::NORM ? rstd[h][e] : 1.0f);
            }
        }
    }
}

template <Epilogue EPILOGUE, Weights WEIGHTS, int CLUSTER, int STAGES>
DEVICE void run(const TensorMap &x, const TensorMap &w, const Results &out, const Shape &shape) {
    using P = Product<EPILOGUE, WEIGHTS, CLUSTER, STAGES>;
    SHARED_DYNAMIC_1024(shared);
    const P p(shared_address(shared), shape);
    if (threadIdx.x == 0) {
        p.init_barriers();
    }
    if constexpr (CLUSTER > 1) {
        barrier_cluster();
    } else {
        __syncthreads();
    }

    if (threadIdx.x < WARPGROUP) {
        setmaxnreg_dec<40>();
        if (threadIdx.x == 0) {
            p.fetch(x, w);
        }
        __syncwarp();
        // Behind the fetch, which is of the same warp and must not be held up.
        wait_for_launch_before();
    } else {
        setmaxnreg_inc<232>();
        wait_for_launch_before();
        const int warpgroup = threadIdx.x / WARPGROUP - 1, lane = threadIdx.x % 32;
        Tiles tiles(shape, CLUSTER);
        [[maybe_unused]] const int first_group = tiles.group(), last_group = tiles.last_group();
        int loaded = 0;
        // Each warp passes through every set of weights in turn, also those of which it has no tile: the next set is
        // fetched only when all warps are done with this one.
        [[maybe_unused]] const auto pass_to = [&](int group) {
            for (; loaded <= group - first_group; ++loaded) {
                if (loaded > 0 && lane == 0) {
                    mbarrier_arrive(p.weights_empty());
                }
                mbarrier_wait(p.weights_full(), loaded & 1);
            }
        };
        for (int t = 0; tiles.more(); tiles.advance(), t++) {
            if (t % 2 != warpgroup) continue;
            if constexpr (P::RESIDENT) pass_to(tiles.group());
            tile(p, out, tiles.group(), tiles.row(), t);
        }
        if constexpr (P::RESIDENT) pass_to(last_group);
    }
    // No block may leave while another still writes to its shared memory.
    if constexpr (CLUSTER > 1) {
        barrier_cluster();
    }
}

#define GEMM(name, cluster) \
    extern "C" __global__ void __cluster_dims__(cluster, 1, 1) __launch_bounds__(GEMM_THREADS, 1) name
#define OPERANDS const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w
#define SHAPE int rows, int steps, int groups

#define LINEAR(name, cluster)                                                                     \
    GEMM(name, cluster)(OPERANDS, SHAPE, bf16 *y) {                                               \
        const Results out = {y, nullptr, nullptr, nullptr, 0.0f};                                 \
        run<Epilogue::Store, Weights::Resident, cluster, 6>(x, w, out, {rows, steps, groups});    \
    }                                                                                             \
    EXPORT_CLUSTERS(name, cluster)
LINEAR(linear_1_sm90, 1)
LINEAR(linear_2_sm90, 2)

#define LINEAR_SWIGLU(name, cluster)                                                              \
    GEMM(name, cluster)(OPERANDS, SHAPE, bf16 *a, bf16 *gate_up) {                                \
        const Results out = {a, gate_up, nullptr, nullptr, 0.0f};                                 \
        run<Epilogue::SwiGlu, Weights::Resident, cluster, 6>(x, w, out, {rows, steps, groups});   \
    }                                                                                             \
    EXPORT_CLUSTERS(name, cluster)
LINEAR_SWIGLU(linear_swiglu_1_sm90, 1)
LINEAR_SWIGLU(linear_swiglu_2_sm90, 2)

#define LINEAR_ADD_RMS_NORM(name, weights, cluster, stages)                                       \
    GEMM(name, cluster)(OPERANDS, SHAPE, bf16 *y, float *rstd, const bf16 *residual, float eps) { \
        const Results out = {y, nullptr, residual, rstd, eps};                                    \
        run<Epilogue::AddRmsNorm, weights, cluster, stages>(x, w, out, {rows, steps, groups});    \
    }                                                                                             \
    EXPORT_CLUSTERS(name, cluster)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_1_sm90, Weights::Resident, 1, 6)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_2_sm90, Weights::Resident, 2, 5)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_4_sm90, Weights::Resident, 4, 5)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_streamed_2_sm90, Weights::Streamed, 2, 6)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_streamed_4_sm90, Weights::Streamed, 4, 6)

#endif
