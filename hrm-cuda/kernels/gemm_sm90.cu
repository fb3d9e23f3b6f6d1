// y = x W^T with what follows it, on the tensor cores of compute capability 9.0a. bf16 operands, f32 sums.
//
//   linear               y[N, out] = x W^T
//   linear_rope          y[N, 3D] = x W^T, rounded; then queries and keys, its first 2D columns, are rotated: heads of 64
//   linear_swiglu        a[N, F] = silu(g) u, where [g, u][N, 2F] = x W^T in bf16; gate_up is kept if asked for
//   linear_swiglu_vjp    da[N, F] = x W^T in bf16, and of it and of gate and up [N, 2F] what swiglu_vjp makes: the activation
//                        a, and the cotangents of gate and up in their place
//   linear_add_rms_norm  s = r + x W^T, rstd = 1 / sqrt(mean(s^2) + eps), y[N, D] = s rstd, by row; streamed
//                        also the sum y + b[N, D], if asked for, beside y or in its stead
//
// x [N, K] and W [out, K] are row-major. K is a multiple of 64.
//
// One thread of a block's first warpgroup has the copy engine fetch rows into a ring in shared memory; the others multiply
// tiles, whose sums stay in registers until the result is formed; only the vjp of SwiGLU turns them in shared memory first.
//
//   resident  The weights of the tile's 128 columns, [128, K], lie in shared memory, and the rows stream past them. Three
//             warpgroups take turns at tiles of 128 rows: one multiplies while the others finish their results.
//   streamed  K is too long for that: the weights come with the rows, for two warpgroups with 64 rows each. Their tiles
//             have 256 columns, so that shared memory keeps up: in 128 cycles a tile's m64n256k16 reads 10 KiB of it and
//             6 KiB are fetched, where 128 bytes pass in a cycle.
//
// The blocks of a cluster work on the same rows and on neighbouring columns; each fetches a part of the rows for all.
// The norm needs whole rows, so there a cluster spans all D columns and its blocks exchange the sums of squares.
//
// The map of the weights has five dimensions, [out / 32, 4, 4, 2, K] with strides of 32, 2, 8 and 1 rows: it permutes
// each 32 rows so that a lane's sums, which wgmma scatters in pairs, are 8 neighbouring columns, 16 bytes of a result.
//
// Of a head of 64 a lane has both elements of each pair that is rotated together, and 8 angles serve all its heads in a row.
//
// The order of every sum depends on K and D alone.

// On other architectures this unit is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#include "gemm_sm90_norm.cuh"
#include "gemm_sm90_swiglu_vjp.cuh"

DEVICE uint4 swiglu_8(const uint4 &gate, const uint4 &up) {
    return {swiglu(gate.x, up.x), swiglu(gate.y, up.y), swiglu(gate.z, up.z), swiglu(gate.w, up.w)};
}

// Rotates the queries and keys that a thread has in row r + 8 e of `sum`, rounded first, in place.
template <int COUNT> DEVICE void rope(float (&sum)[COUNT], int e, const float *cos_table, const float *sin_table) {
#pragma unroll
    for (int first = 0; first < 8; first += 4) {
        float cos[4], sin[4];
        load<4>(cos, cos_table + first);
        load<4>(sin, sin_table + first);
#pragma unroll
        for (int i = 0; i < COUNT / 32 * 2; i++) {
            // Two of the 8 columns of a quarter, as pack_8 finds them, and the two that are 32 further on.
            const int pair = i % 2 * 2;
            float *const x = sum + i / 2 * 32 + 2 * e + 2 * (first + pair), *const y = x + 16;
            const u32 low = bf16_pair(x[0], x[1]), high = bf16_pair(y[0], y[1]);
            x[0] = first_of(low), x[1] = second_of(low), y[0] = first_of(high), y[1] = second_of(high);
            turn(x[0], y[0], cos[pair], sin[pair]);
            turn(x[1], y[1], cos[pair + 1], sin[pair + 1]);
        }
    }
}

// The sums begin at 0. The first product replaces what is there, which the compiler is not told: to it these registers would
// be in use from the last tile to this one, and leave none for what is read meanwhile.
template <class P> DEVICE void clear(float (&sum)[P::PARTS][P::VALUES]) {
#pragma unroll
    for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
        for (int j = 0; j < P::VALUES; j++) sum[h][j] = 0.0f;
        wgmma_fence_operand(sum[h]);
    }
    wgmma_fence();
}

// What becomes of the sums where neither rows are normed nor anything is read beside them but angles.
template <class P> DEVICE void store(const P &p, const Results &out, float (&sum)[P::PARTS][P::VALUES], const Place &at) {
    constexpr int QUARTERS = P::COLS / 32;
#pragma unroll
    for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int r = at.row + 64 * h + 8 * e;
            if (r >= p.shape.rows) continue;
            if constexpr (P::ROPE) {
                // A tile has whole heads: all of them are queries and keys, or all values.
                const int angle = r % out.positions * 32 + at.lane % 4 * 8;
                if (at.column < at.columns / 3 * 2) rope(sum[h], e, out.cos + angle, out.sin + angle);
            }
            uint4 *y = (uint4 *)(out.y + r * at.columns + at.column);
            if constexpr (P::GATED) {
                uint4 *kept = (uint4 *)(out.gate_up + 2 * r * at.columns + at.column);
#pragma unroll
                for (int c = 0; c < QUARTERS / 2; c++) {
                    // From the rounded values, as the backward pass will see them.
                    const uint4 gate = pack_8(sum[h], e, c), up = pack_8(sum[h], e, c + QUARTERS / 2);
                    y[4 * c] = swiglu_8(gate, up);
                    if (out.gate_up) {
                        kept[4 * c] = gate;
                        kept[4 * c + at.columns / 8] = up;
                    }
                }
            } else {
#pragma unroll
                for (int c = 0; c < QUARTERS; c++) y[4 * c] = pack_8(sum[h], e, c);
            }
        }
    }
}

// What a warpgroup has of the block's tile t, its own nth.
template <class P>
DEVICE void tile(const P &p, const Results &out, int t, int n, const typename P::Set &set, const Place &at) {
    float sum[P::PARTS][P::VALUES];
    if constexpr (P::NORM) {
        Beside<P> residual;
        // While other warpgroups multiply, or while this one does.
        residual.read(p, out.residual, at);
        if constexpr (P::STARTS_AT_RESIDUAL) {
            residual.start(sum);
        } else {
            clear<P>(sum);
        }
        p.multiply(sum, t, at.warpgroup, set, at.lane);
        if constexpr (P::PLUS) {
            if (out.sum) return add_rms_norm<P, true>(p, out, sum, residual, n, at);
        }
        add_rms_norm<P, false>(p, out, sum, residual, n, at);
    } else if constexpr (P::GATED_VJP) {
        clear<P>(sum);
        p.multiply(sum, t, at.warpgroup, set, at.lane);
        gated_vjp(p, out, sum, at);
    } else {
        p.multiply(sum, t, at.warpgroup, set, at.lane);
        store(p, out, sum, at);
    }
}

// The tiles of a warpgroup: with resident weights one in as many as there are warpgroups.
template <class P> DEVICE void consume(const P &p, const Results &out, int warpgroup) {
    constexpr int STRIDE = P::RESIDENT ? P::CONSUMERS : 1;
    const Tiles tiles = p.tiles();
    const int lane = lane_index();
    // Sets of weights that this warpgroup is done with. It passes through every set in turn, also those of which it has
    // no tile: the next is fetched only when all warps are done with this one.
    [[maybe_unused]] int sets = 0;
    bool seen = false;
    for (int t = P::RESIDENT ? warpgroup : 0, n = 0; t < tiles.count(); t += STRIDE, n++) {
        const int group = tiles.group(t);
        typename P::Set set = {0, true, false};
        if constexpr (P::RESIDENT) {
            for (; sets < group - tiles.group(0); sets++) p.pass(sets, lane);
            set = {sets, seen, t + STRIDE >= tiles.count() || tiles.group(t + STRIDE) != group};
        }
        tile(p, out, t, n, set, Place(p, warpgroup, group, tiles.row(t)));
        seen = !set.last;
        sets += set.last;
    }
    if constexpr (P::RESIDENT) {
        if (tiles.count() > 0) {
            for (; sets <= tiles.group(tiles.count() - 1) - tiles.group(0); sets++) p.pass(sets, lane);
        }
    }
}

template <class P> DEVICE void run(const TensorMap &x, const TensorMap &w, const Results &out, const Shape &shape) {
    SHARED_DYNAMIC_1024(shared);
    const P p(shared, shape);
    if (threadIdx.x == 0) {
        p.init_barriers();
    }
    if constexpr (P::BLOCKS > 1) {
        barrier_cluster();
    } else {
        __syncthreads();
    }

    if (threadIdx.x < WARPGROUP) {
        setmaxnreg_dec<P::FEW>();
        if (threadIdx.x == 0) {
            p.fetch(x, w);
        }
        __syncwarp();
        // Behind the fetch, which is of the same warp and must not be held up.
        wait_for_launch_before();
    } else {
        setmaxnreg_inc<P::MANY>();
        wait_for_launch_before();
        consume(p, out, (int)uniform(threadIdx.x / WARPGROUP) - 1);
    }
    // No block may leave while another still writes to its shared memory.
    if constexpr (P::BLOCKS > 1) {
        barrier_cluster();
    }
}

#define GEMM(name, P) \
    extern "C" __global__ void __cluster_dims__(P::BLOCKS, 1, 1) __launch_bounds__(P::THREADS, 1) name
#define OPERANDS const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w
#define SHAPE int rows, int steps, int groups

#define LINEAR(name, cluster)                                                             \
    using P_##name = Product<Epilogue::Store, Weights::Resident, cluster, 6>;             \
    GEMM(name, P_##name)(OPERANDS, SHAPE, bf16 *y) {                                      \
        run<P_##name>(x, w, {y, nullptr, nullptr, nullptr, 0.0f}, {rows, steps, groups}); \
    }                                                                                     \
    EXPORT_CLUSTERS(name, cluster)
LINEAR(linear_1_sm90, 1)
LINEAR(linear_2_sm90, 2)

#define LINEAR_ROPE(name, cluster)                                                                               \
    using P_##name = Product<Epilogue::Rope, Weights::Resident, cluster, 6>;                                     \
    GEMM(name, P_##name)(OPERANDS, SHAPE, bf16 *y, const float *cos, const float *sin, int positions) {          \
        run<P_##name>(x, w, {y, nullptr, nullptr, nullptr, 0.0f, cos, sin, positions}, {rows, steps, groups}); \
    }                                                                                                            \
    EXPORT_CLUSTERS(name, cluster)
LINEAR_ROPE(linear_rope_1_sm90, 1)
LINEAR_ROPE(linear_rope_2_sm90, 2)

#define LINEAR_GATED(name, epilogue, cluster, stages)                                     \
    using P_##name = Product<Epilogue::epilogue, Weights::Resident, cluster, stages>;     \
    GEMM(name, P_##name)(OPERANDS, SHAPE, bf16 *a, bf16 *gate_up) {                       \
        run<P_##name>(x, w, {a, gate_up, nullptr, nullptr, 0.0f}, {rows, steps, groups}); \
    }                                                                                     \
    EXPORT_CLUSTERS(name, cluster)
LINEAR_GATED(linear_swiglu_1_sm90, SwiGlu, 1, 6)
LINEAR_GATED(linear_swiglu_2_sm90, SwiGlu, 2, 6)
LINEAR_GATED(linear_swiglu_vjp_1_sm90, SwiGluVjp, 1, 4)
LINEAR_GATED(linear_swiglu_vjp_2_sm90, SwiGluVjp, 2, 4)

#define LINEAR_ADD_RMS_NORM(name, cluster)                                                         \
    using P_##name = Product<Epilogue::AddRmsNorm, Weights::Resident, cluster, 5>;                 \
    GEMM(name, P_##name)(OPERANDS, SHAPE, bf16 *y, float *rstd, const bf16 *residual, float eps) { \
        run<P_##name>(x, w, {y, nullptr, residual, rstd, eps}, {rows, steps, groups});             \
    }                                                                                              \
    EXPORT_CLUSTERS(name, cluster)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_1_sm90, 1)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_2_sm90, 2)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_4_sm90, 4)

#define LINEAR_ADD_RMS_NORM_PLUS(name, cluster)                                                  \
    using P_##name = Product<Epilogue::AddRmsNorm, Weights::Streamed, cluster, 4>;               \
    GEMM(name, P_##name)(OPERANDS, SHAPE, bf16 *y, float *rstd, const bf16 *residual, float eps, \
                         bf16 *sum, const bf16 *addend) {                                        \
        const Results out = {y, nullptr, residual, rstd, eps, nullptr, nullptr, 1, sum, addend}; \
        run<P_##name>(x, w, out, {rows, steps, groups});                                         \
    }                                                                                            \
    EXPORT_CLUSTERS(name, cluster)
LINEAR_ADD_RMS_NORM_PLUS(linear_add_rms_norm_streamed_1_sm90, 1)
LINEAR_ADD_RMS_NORM_PLUS(linear_add_rms_norm_streamed_2_sm90, 2)

#endif
