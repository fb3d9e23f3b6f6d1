// y = x W^T with what follows it, on the tensor cores of compute capability 9.0a. bf16 operands, f32 sums.
//
//   linear               y[N, out] = x W^T
//   linear_rope          y[N, 3D] = x W^T, rounded; then queries and keys, its first 2D columns, are rotated: heads of 64
//   linear_swiglu        a[N, F] = silu(g) u, where [g, u][N, 2F] = x W^T in bf16; gate_up is kept if asked for
//   linear_swiglu_vjp    da[N, F] = x W^T in bf16, and of it and of gate and up [N, 2F] what swiglu_vjp makes: the activation
//                        a, and the cotangents of gate and up in their place
//   linear_add_rms_norm  s = r + x W^T, rstd = 1 / sqrt(mean(s^2) + eps), y[N, D] = s rstd, by row; y + b[N, D] if
//                        asked for, beside y or in its stead
//
// x [N, K] and W [out, K] are row-major. K is a multiple of 64.
//
// One thread of a block's first warpgroup has the copy engine fetch rows into a ring in shared memory; the others multiply
// tiles, whose sums never leave the registers before the result is formed. A residual is where they start.
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

#include "gemm_sm90.cuh"
#include "swiglu.cuh"

DEVICE float first_of(u32 pair) { return __uint_as_float(pair << 16); }
DEVICE float second_of(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

DEVICE u32 swiglu(u32 gate, u32 up) {
    return bf16_pair(silu<bf16>(first_of(gate)) * first_of(up), silu<bf16>(second_of(gate)) * second_of(up));
}

// The 8 columns that a lane holds of quarter c in row + 8 e, times `scale`, rounded.
template <int COUNT> DEVICE uint4 pack_8(const float (&sum)[COUNT], int e, int c, float scale = 1.0f) {
    const float *s = sum + 16 * c + 2 * e;
    return {bf16_pair(s[0] * scale, s[1] * scale), bf16_pair(s[4] * scale, s[5] * scale),
            bf16_pair(s[8] * scale, s[9] * scale), bf16_pair(s[12] * scale, s[13] * scale)};
}

// The inverse of pack_8, unscaled.
template <int COUNT> DEVICE void unpack_8(float (&sum)[COUNT], int e, int c, const uint4 &eight) {
    float *s = sum + 16 * c + 2 * e;
    s[0] = first_of(eight.x), s[1] = second_of(eight.x);
    s[4] = first_of(eight.y), s[5] = second_of(eight.y);
    s[8] = first_of(eight.z), s[9] = second_of(eight.z);
    s[12] = first_of(eight.w), s[13] = second_of(eight.w);
}

// What epilogues read and write.
struct Results {
    bf16 *y;               // [N, columns].
    bf16 *gate_up;         // [N, 2 columns], or null. The vjp reads it, and writes its cotangent there.
    const bf16 *residual;  // [N, columns].
    float *rstd;           // [N].
    float eps;
    const float *cos = nullptr, *sin = nullptr;  // [positions, 32].
    int positions = 1;                           // Of a sequence: row r is at position r % positions.
    bf16 *total = nullptr;  // [N, columns], or null: y + addend, and y may be null.
    const bf16 *addend = nullptr;
};

// The place of a thread: its rows are row and row + 8, its columns column + 32 c and the 7 after it.
struct Place {
    int warpgroup, warp, lane;
    int row;
    long long column, columns;  // Of so many in a row of the result.

    template <class P> DEVICE Place(const P &p, int warpgroup, int group, int begin) : warpgroup(warpgroup) {
        constexpr int WIDTH = P::GATED ? P::COLS / 2 : P::COLS;
        warp = threadIdx.x % WARPGROUP / LANES, lane = lane_index();
        row = begin + (P::RESIDENT ? 0 : warpgroup * P::ROWS) + 16 * warp + lane / 4;
        column = p.column(group) * WIDTH + lane % 4 * 8;
        columns = (long long)(P::NORM ? 1 : p.shape.groups) * P::BLOCKS * WIDTH;
    }
};

// rstd of the thread's rows of the warpgroup's nth tile.
template <class P>
DEVICE void norm(const P &p, const Results &out, const float (&sum)[P::PARTS][P::VALUES], float (&rstd)[P::PARTS][2],
                 int n, const Place &at) {
#pragma unroll
    for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float square = 0.0f;
#pragma unroll
            for (int j = 2 * e; j < P::VALUES; j += 4) square += sum[h][j] * sum[h][j] + sum[h][j + 1] * sum[h][j + 1];
            square += __shfl_xor_sync(0xffffffffu, square, 1);
            square += __shfl_xor_sync(0xffffffffu, square, 2);
            rstd[h][e] = square;
        }
    }
    if constexpr (P::BLOCKS > 1) p.exchange(rstd, n, at.warpgroup, at.warp, at.lane);
#pragma unroll
    for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            rstd[h][e] = rsqrtf(rstd[h][e] * (1.0f / (P::BLOCKS * P::COLS)) + out.eps);
            const int r = at.row + 64 * h + 8 * e;
            if (p.rank == 0 && at.lane % 4 == 0 && r < p.shape.rows) out.rstd[r] = rstd[h][e];
        }
    }
}

DEVICE uint4 add_8(const uint4 &a, const uint4 &b) {
    return {add_pairs(a.x, b.x), add_pairs(a.y, b.y), add_pairs(a.z, b.z), add_pairs(a.w, b.w)};
}

// What a thread adds to its results of a part of the tile: 8 columns of each quarter, in two rows.
template <class P>
DEVICE void load_addend(const P &p, const Results &out, uint4 (&addend)[2][P::COLS / 32], int h, const Place &at) {
#pragma unroll
    for (int e = 0; e < 2; e++) {
        const int r = min(at.row + 64 * h + 8 * e, p.shape.rows - 1);
        const uint4 *const from = (const uint4 *)(out.addend + r * at.columns + at.column);
#pragma unroll
        for (int c = 0; c < P::COLS / 32; c++) addend[e][c] = from[4 * c];
    }
}

// The 8 columns of each quarter that a thread adds to its results in row + 8 e of part h.
template <class P>
DEVICE void load_addend(const P &p, const Results &out, uint4 (&addend)[P::COLS / 32], int h, int e, const Place &at) {
    const int r = min(at.row + 64 * h + 8 * e, p.shape.rows - 1);
    const uint4 *const from = (const uint4 *)(out.addend + r * at.columns + at.column);
#pragma unroll
    for (int c = 0; c < P::COLS / 32; c++) addend[c] = from[4 * c];
}

// The norm of the thread's rows of the warpgroup's nth tile, and with PLUS its sum with what is added to it.
template <class P, bool PLUS>
DEVICE void add_rms_norm(const P &p, const Results &out, const float (&sum)[P::PARTS][P::VALUES], int n,
                         const Place &at) {
    constexpr int QUARTERS = P::COLS / 32;
    // On its way while blocks exchange their sums. With resident weights there are no registers for that: it has been brought
    // near while the tile was multiplied.
    constexpr bool AHEAD = PLUS && !P::RESIDENT;
    [[maybe_unused]] uint4 addend[2][QUARTERS];
    if constexpr (AHEAD) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int r = min(at.row + 8 * e, p.shape.rows - 1);
            const bf16 *const from = out.addend + r * at.columns + at.column;
#pragma unroll
            for (int c = 0; c < QUARTERS; c++) addend[e][c] = *(const uint4 *)(from + 32 * c);
        }
    }
    float rstd[P::PARTS][2];
    norm(p, out, sum, rstd, n, at);
#pragma unroll
    for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int r = at.row + 64 * h + 8 * e;
            if (r >= p.shape.rows) continue;
            const long long first = r * at.columns + at.column;
#pragma unroll
            for (int c = 0; c < QUARTERS; c++) {
                if constexpr (PLUS && !AHEAD) addend[e][c] = *(const uint4 *)(out.addend + first + 32 * c);
                const uint4 y = pack_8(sum[h], e, c, rstd[h][e]);
                if (!PLUS || out.y) *(uint4 *)(out.y + first + 32 * c) = y;
                if constexpr (PLUS) *(uint4 *)(out.total + first + 32 * c) = add_8(y, addend[e][c]);
            }
        }
    }
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

// swiglu_vjp of 8 elements.
DEVICE void swiglu_vjp_8(uint4 &a, uint4 &gate, uint4 &up) {
    float a_8[8], gate_8[8], up_8[8];
    unpack(a_8, a, bf16());
    unpack(gate_8, gate, bf16());
    unpack(up_8, up, bf16());
    swiglu_vjp<bf16>(a_8, gate_8, up_8);
    a = pack(a_8, bf16());
    gate = pack(gate_8, bf16());
    up = pack(up_8, bf16());
}

// Gate and up of the thread's rows become their cotangents, and y the activation; `sum` is its cotangent.
template <class P>
DEVICE void gated_vjp(const P &p, const Results &out, const float (&sum)[P::PARTS][P::VALUES], const Place &at) {
    constexpr int QUARTERS = P::COLS / 32, ROWS = 2 * P::PARTS;
    // Rounded, as it would be in memory, it leaves half the registers to what is read.
    uint4 a[ROWS][QUARTERS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int c = 0; c < QUARTERS; c++) a[i][c] = pack_8(sum[i / 2], i % 2, c);
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int r = at.row + 64 * (i / 2) + 8 * (i % 2);
        if (r >= p.shape.rows) continue;
        uint4 *const y = (uint4 *)(out.y + r * at.columns + at.column);
        uint4 *const gates = (uint4 *)(out.gate_up + 2 * r * at.columns + at.column), *const ups = gates + at.columns / 8;
        // All on their way before the first is worked on.
        uint4 gate[QUARTERS], up[QUARTERS];
#pragma unroll
        for (int c = 0; c < QUARTERS; c++) gate[c] = gates[4 * c], up[c] = ups[4 * c];
#pragma unroll
        for (int c = 0; c < QUARTERS; c++) {
            swiglu_vjp_8(a[i][c], gate[c], up[c]);
            y[4 * c] = a[i][c];
            gates[4 * c] = gate[c];
            ups[4 * c] = up[c];
        }
    }
}

// What a warpgroup has of the block's tile t, its own nth.
template <class P>
DEVICE void tile(const P &p, const Results &out, int t, int n, const typename P::Set &set, const Place &at) {
    constexpr int QUARTERS = P::COLS / 32;
    const int rows = p.shape.rows;
    float sum[P::PARTS][P::VALUES];
    if constexpr (P::NORM) {
        // While other warpgroups multiply.
#pragma unroll
        for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int r = min(at.row + 64 * h + 8 * e, rows - 1);
                const bf16 *residual = out.residual + r * at.columns + at.column;
#pragma unroll
                for (int c = 0; c < QUARTERS; c++) {
                    unpack_8(sum[h], e, c, *(const uint4 *)(residual + 32 * c));
                    if (P::RESIDENT && out.total) prefetch_l2(out.addend + r * at.columns + at.column + 32 * c);
                }
            }
            wgmma_fence_operand(sum[h]);
        }
        wgmma_fence();
    }
    if constexpr (P::GATED_VJP) {
        // The first product replaces what is there, which the compiler is not told: to it these registers would be in use
        // from the last tile to this one.
#pragma unroll
        for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
            for (int j = 0; j < P::VALUES; j++) sum[h][j] = 0.0f;
            wgmma_fence_operand(sum[h]);
        }
        wgmma_fence();
    }
    p.multiply(sum, t, at.warpgroup, set, at.lane);

    if constexpr (P::GATED_VJP) {
        gated_vjp(p, out, sum, at);
        return;
    }
    if constexpr (P::NORM) {
        out.total ? add_rms_norm<P, true>(p, out, sum, n, at) : add_rms_norm<P, false>(p, out, sum, n, at);
        return;
    }
#pragma unroll
    for (int h = 0; h < P::PARTS; h++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int r = at.row + 64 * h + 8 * e;
            if (r >= rows) continue;
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
                    y[4 * c] = {swiglu(gate.x, up.x), swiglu(gate.y, up.y), swiglu(gate.z, up.z),
                                swiglu(gate.w, up.w)};
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
    const P p(uniform(shared_address(shared)), shape);
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

#define LINEAR_GATED(name, epilogue, cluster)                                             \
    using P_##name = Product<Epilogue::epilogue, Weights::Resident, cluster, 6>;          \
    GEMM(name, P_##name)(OPERANDS, SHAPE, bf16 *a, bf16 *gate_up) {                       \
        run<P_##name>(x, w, {a, gate_up, nullptr, nullptr, 0.0f}, {rows, steps, groups}); \
    }                                                                                     \
    EXPORT_CLUSTERS(name, cluster)
LINEAR_GATED(linear_swiglu_1_sm90, SwiGlu, 1)
LINEAR_GATED(linear_swiglu_2_sm90, SwiGlu, 2)
LINEAR_GATED(linear_swiglu_vjp_1_sm90, SwiGluVjp, 1)
LINEAR_GATED(linear_swiglu_vjp_2_sm90, SwiGluVjp, 2)

#define LINEAR_ADD_RMS_NORM(name, weights, cluster, stages)                                        \
    using P_##name = Product<Epilogue::AddRmsNorm, weights, cluster, stages>;                      \
    GEMM(name, P_##name)(OPERANDS, SHAPE, bf16 *y, float *rstd, const bf16 *residual, float eps,   \
                         bf16 *total, const bf16 *addend) {                                        \
        const Results out = {y, nullptr, residual, rstd, eps, nullptr, nullptr, 1, total, addend}; \
        run<P_##name>(x, w, out, {rows, steps, groups});                                           \
    }                                                                                              \
    EXPORT_CLUSTERS(name, cluster)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_1_sm90, Weights::Resident, 1, 5)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_2_sm90, Weights::Resident, 2, 5)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_4_sm90, Weights::Resident, 4, 5)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_streamed_1_sm90, Weights::Streamed, 1, 4)
LINEAR_ADD_RMS_NORM(linear_add_rms_norm_streamed_2_sm90, Weights::Streamed, 2, 4)

#endif
