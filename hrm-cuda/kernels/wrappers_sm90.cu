// One kernel for each wrapper of hopper.cuh, or for a few that are seen together only, and no arithmetic beside: a test works
// out what each must give. The emulator has its own meaning of the wrappers, so it is on a GPU that these say something about
// the inline assembly.
//
// What wgmma reads of shared memory, and what a box is copied over, the copy engine has brought: it would not see an ordinary
// write without a fence that no kernel needs.

// On other architectures this unit is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#include "hopper.cuh"

constexpr int WARPGROUP = 128;
constexpr int CLUSTER = 4;
constexpr int ROW_BYTES = 128;  // Of a box: 64 bf16.
constexpr int TILE_BYTES = 64 * ROW_BYTES;

#define MAP const __grid_constant__ TensorMap
#define WRAPPER(name) extern "C" __global__ void __launch_bounds__(WARPGROUP, 1) wrapper_##name
#define WRAPPER_OF_CLUSTER(name) \
    extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(WARPGROUP, 1) wrapper_##name

// Barriers of so many arrivals each, ready for the block and for the copy engine.
DEVICE void init_barriers(u32 first, int count, int arrivals) {
    if (threadIdx.x == 0) {
        for (int i = 0; i < count; i++) mbarrier_init(first + 8 * i, arrivals);
        fence_mbarrier_init();
    }
    __syncthreads();
}

// y [rows, 32] words: a box as it lies in shared memory.
DEVICE void show_box(u32 *y, const unsigned char *shared, int rows) {
    for (int i = threadIdx.x; i < rows * 32; i += WARPGROUP) y[i] = ((const u32 *)shared)[i];
}

// ---- Warps and parts of a block

// y = x of the warp's first lane.
WRAPPER(uniform)(u32 *y, const u32 *x) {
    wait_for_launch_before();
    y[threadIdx.x] = uniform(x[threadIdx.x]);
}
EXPORT_KERNEL(wrapper_uniform)

// y [2, 128] = x [2, 128] of the neighbour warp's lane. Two warps meet at barrier 1, once for each row; the two others at
// barrier 15, for the first row only.
WRAPPER(barrier_sync)(u32 *y, const u32 *x) {
    wait_for_launch_before();
    SHARED(u32, places, 2 * WARPGROUP);
    const int t = threadIdx.x, pair = uniform(t / 64);
    for (int row = 0; row < 2 - pair; row++) {
        places[row * WARPGROUP + t] = x[row * WARPGROUP + t];
        barrier_sync(pair ? 15 : 1, 64);
        y[row * WARPGROUP + t] = places[row * WARPGROUP + (t ^ LANES)];
    }
}
EXPORT_KERNEL(wrapper_barrier_sync)

// y = x [COUNT, 384], in this thread's column: all of it in registers while `threads` threads meet.
template <int COUNT> DEVICE void hold(float *y, const float *x, int barrier, int threads) {
    float values[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; i++) values[i] = x[i * 3 * WARPGROUP + threadIdx.x];
    barrier_sync(barrier, threads);
#pragma unroll
    for (int i = 0; i < COUNT; i++) y[i * 3 * WARPGROUP + threadIdx.x] = values[i];
}

// setmaxnreg_dec and setmaxnreg_inc: y = x [200, 384], of the first 128 columns only 16 rows. A thread begins with 168
// registers; there are no 232 for two warpgroups before the first gives its own back.
extern "C" __global__ void __launch_bounds__(3 * WARPGROUP, 1) wrapper_setmaxnreg(float *y, const float *x) {
    wait_for_launch_before();
    if (uniform(threadIdx.x / WARPGROUP) == 0) {
        setmaxnreg_dec<40>();
        hold<16>(y, x, 1, WARPGROUP);
    } else {
        setmaxnreg_inc<232>();
        hold<200>(y, x, 2, 2 * WARPGROUP);
    }
}
EXPORT_KERNEL(wrapper_setmaxnreg)

// ---- Barriers in shared memory

// mbarrier_init, mbarrier_arrive and mbarrier_wait: y [rows, 32] = x [rows, 32] of the neighbour lane. One warp puts a row
// into the one place there is and arrives at a barrier, another waits for that, takes the row and arrives at a second.
WRAPPER(mbarrier)(u32 *y, const u32 *x, int rows) {
    wait_for_launch_before();
    SHARED_DYNAMIC_1024(shared);
    u32 *const place = (u32 *)shared;
    const u32 full = shared_address(shared) + 4 * LANES, empty = full + 8;
    init_barriers(full, 2, LANES);
    const int lane = lane_index(), warp = uniform(threadIdx.x / LANES);
    for (int row = 0; row < rows; row++) {
        const u32 parity = row & 1;
        if (warp == 0) {
            mbarrier_wait(empty, parity ^ 1);
            place[lane] = x[row * LANES + lane];
            mbarrier_arrive(full);
        } else {
            mbarrier_wait(full, parity);
            y[row * LANES + lane] = place[lane ^ 1];
            mbarrier_arrive(empty);
        }
    }
}
EXPORT_KERNEL(wrapper_mbarrier)

// y [4, 2]: whether a phase of parity 0, of parity 1 has ended at a barrier of two arrivals: a fresh one, after one arrival,
// after the second, after four.
WRAPPER(mbarrier_test_wait)(u32 *y) {
    wait_for_launch_before();
    SHARED_DYNAMIC_1024(shared);
    const u32 barrier = shared_address(shared);
    init_barriers(barrier, 1, 2);
    if (threadIdx.x > 0) return;
    const auto show = [&](int i) {
        y[2 * i] = mbarrier_test_wait(barrier, 0);
        y[2 * i + 1] = mbarrier_test_wait(barrier, 1);
    };
    show(0);
    mbarrier_arrive(barrier);
    show(1);
    mbarrier_arrive(barrier);
    // Yes may be late, so it is waited for.
    mbarrier_wait(barrier, 0);
    show(2);
    mbarrier_arrive(barrier);
    mbarrier_arrive(barrier);
    mbarrier_wait(barrier, 1);
    show(3);
}
EXPORT_KERNEL(wrapper_mbarrier_test_wait)

// y [2]: whether a phase has ended for which two boxes of `rows` rows are announced, when one has been fetched, and when both
// have. By then a box of another barrier has come, which was fetched after the first.
WRAPPER(mbarrier_arrive_expect_tx)(MAP map, u32 *y, int rows) {
    wait_for_launch_before();
    SHARED_DYNAMIC_1024(shared);
    const u32 bytes = rows * ROW_BYTES, tile = shared_address(shared), barrier = tile + 3 * bytes, other = barrier + 8;
    init_barriers(barrier, 2, 1);
    if (threadIdx.x > 0) return;
    mbarrier_arrive_expect_tx(barrier, 2 * bytes);
    cp_async_bulk_tensor(tile, map, 0, 0, barrier);
    mbarrier_arrive_expect_tx(other, bytes);
    cp_async_bulk_tensor(tile + bytes, map, 0, 0, other);
    mbarrier_wait(other, 0);
    y[0] = mbarrier_test_wait(barrier, 0);
    cp_async_bulk_tensor(tile + 2 * bytes, map, 0, 0, barrier);
    mbarrier_wait(barrier, 0);
    y[1] = mbarrier_test_wait(barrier, 0);
}
EXPORT_KERNEL(wrapper_mbarrier_arrive_expect_tx)

// ---- The copy engine

template <int DIMENSIONS> DEVICE void copy_box(u32 to, const TensorMap &map, int batch, int row, int col, u32 barrier) {
    if constexpr (DIMENSIONS == 2) cp_async_bulk_tensor(to, map, row, col, barrier);
    if constexpr (DIMENSIONS == 3) cp_async_bulk_tensor_3d(to, map, batch, row, col, barrier);
    if constexpr (DIMENSIONS == 5) cp_async_bulk_tensor_5d(to, map, row, col, barrier);
}

// With fence_mbarrier_init and prefetch_tensormap, which are not seen by themselves: y [rows, 32] words, a box of `rows` rows
// over the first one of the tensor.
#define WRAPPER_OF_COPY(name, dimensions)                                   \
    WRAPPER(name)(MAP map, u32 *y, int rows, int batch, int row, int col) { \
        if (threadIdx.x == 0) prefetch_tensormap(map);                      \
        wait_for_launch_before();                                           \
        SHARED_DYNAMIC_1024(shared);                                        \
        const u32 bytes = rows * ROW_BYTES, tile = shared_address(shared);  \
        const u32 under = tile + bytes, over = under + 8;                   \
        init_barriers(under, 2, 1);                                         \
        if (threadIdx.x == 0) {                                             \
            mbarrier_arrive_expect_tx(under, bytes);                        \
            copy_box<dimensions>(tile, map, 0, 0, 0, under);                \
            mbarrier_wait(under, 0);                                        \
            mbarrier_arrive_expect_tx(over, bytes);                         \
            copy_box<dimensions>(tile, map, batch, row, col, over);         \
        }                                                                   \
        mbarrier_wait(over, 0);                                             \
        show_box(y, shared, rows);                                          \
    }                                                                       \
    EXPORT_KERNEL(wrapper_##name)
WRAPPER_OF_COPY(cp_async_bulk_tensor, 2)
WRAPPER_OF_COPY(cp_async_bulk_tensor_3d, 3)
WRAPPER_OF_COPY(cp_async_bulk_tensor_5d, 5)

// y [blocks, rows, 32] words: of each cluster block `from` copies the box at (row, 0) over that at (0, 0) in the blocks of
// `mask`.
WRAPPER_OF_CLUSTER(cp_async_bulk_tensor_multicast)(MAP map, u32 *y, int rows, int row, int from, int mask) {
    wait_for_launch_before();
    SHARED_DYNAMIC_1024(shared);
    const u32 bytes = rows * ROW_BYTES, tile = shared_address(shared), under = tile + bytes, over = under + 8;
    const int rank = cluster_ctarank();
    init_barriers(under, 2, 1);
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(under, bytes);
        cp_async_bulk_tensor(tile, map, 0, 0, under);
        if (mask >> rank & 1)
            mbarrier_arrive_expect_tx(over, bytes);
        else
            mbarrier_arrive(over);
    }
    mbarrier_wait(under, 0);
    barrier_cluster();
    if (threadIdx.x == 0 && rank == from) cp_async_bulk_tensor_multicast(tile, map, row, 0, over, mask);
    mbarrier_wait(over, 0);
    // Nobody looks or leaves before all have theirs.
    barrier_cluster();
    show_box(y + blockIdx.x * rows * 32, shared, rows);
}
EXPORT_CLUSTERS(wrapper_cp_async_bulk_tensor_multicast, CLUSTER)

// ---- Clusters

// y [blocks]
WRAPPER_OF_CLUSTER(cluster_ctarank)(u32 *y) {
    wait_for_launch_before();
    if (threadIdx.x == 0) y[blockIdx.x] = cluster_ctarank();
}
EXPORT_CLUSTERS(wrapper_cluster_ctarank, CLUSTER)

// y [blocks, 128] = x [blocks, 128] of the next block in the cluster, handed over in `places` [blocks, 128].
WRAPPER_OF_CLUSTER(barrier_cluster)(u32 *y, u32 *places, const u32 *x) {
    wait_for_launch_before();
    const int own = blockIdx.x * WARPGROUP + threadIdx.x, rank = blockIdx.x % CLUSTER;
    places[own] = x[own];
    barrier_cluster();
    y[own] = places[own + ((rank + 1) % CLUSTER - rank) * WARPGROUP];
}
EXPORT_CLUSTERS(wrapper_barrier_cluster, CLUSTER)

// mapa, st_async, mbarrier_wait_cluster and ld_shared: y [clusters, 4, 4, 32] = x [clusters, 4, 4, 32], ranks exchanged: block
// r sends x[r, s] to block s, which has it in place r. `ended` [blocks] is whether a block's phase had ended, for which the
// bytes of all four are announced, before the first had sent.
WRAPPER_OF_CLUSTER(st_async)(float *y, u32 *ended, const float *x) {
    wait_for_launch_before();
    SHARED_DYNAMIC_1024(shared);
    const int t = threadIdx.x, to = t / LANES, rank = blockIdx.x % CLUSTER;
    const u32 table = shared_address(shared), barrier = table + 4 * WARPGROUP;
    init_barriers(barrier, 1, 1);
    barrier_cluster();
    const auto send = [&] {
        const u32 place = table + 4 * (rank * LANES + lane_index());
        st_async(mapa(place, to), x[blockIdx.x * WARPGROUP + t], mapa(barrier, to));
    };
    if (rank > 0) send();
    if (t == 0) mbarrier_arrive_expect_tx(barrier, 4 * WARPGROUP);
    barrier_cluster();
    if (t == 0) ended[blockIdx.x] = mbarrier_test_wait(barrier, 0);
    barrier_cluster();
    if (rank == 0) send();
    mbarrier_wait_cluster(barrier, 0);
    y[blockIdx.x * WARPGROUP + t] = ld_shared(table + 4 * t);
    barrier_cluster();
}
EXPORT_CLUSTERS(wrapper_st_async, CLUSTER)

// mapa and mbarrier_arrive_cluster: `ended` [blocks, 2] is whether the phase of a block's barrier has ended, before the first
// block of the cluster arrives and after. Block r arrives at those of the blocks from r on, so that of block r has r + 1
// arrivals.
WRAPPER_OF_CLUSTER(mbarrier_arrive_cluster)(u32 *ended) {
    wait_for_launch_before();
    SHARED_DYNAMIC_1024(shared);
    const int t = threadIdx.x, rank = blockIdx.x % CLUSTER;
    const u32 barrier = shared_address(shared);
    init_barriers(barrier, 1, rank + 1);
    barrier_cluster();
    const auto arrive = [&] {
        if (rank <= t && t < CLUSTER) mbarrier_arrive_cluster(mapa(barrier, t));
    };
    if (rank > 0) arrive();
    barrier_cluster();
    if (t == 0) ended[2 * blockIdx.x] = mbarrier_test_wait(barrier, 0);
    barrier_cluster();
    if (rank == 0) arrive();
    mbarrier_wait(barrier, 0);
    if (t == 0) ended[2 * blockIdx.x + 1] = mbarrier_test_wait(barrier, 0);
    barrier_cluster();
}
EXPORT_CLUSTERS(wrapper_mbarrier_arrive_cluster, CLUSTER)

// ---- Tensor cores, with wgmma_fence, wgmma_fence_operand, wgmma_commit_group and wgmma_wait_group<0>

// The tensor's first box, of `rows` rows, which the whole block may read then. Its barrier lies behind it.
DEVICE void fetch_tile(u32 to, const TensorMap &map, int rows) {
    const u32 bytes = rows * ROW_BYTES, barrier = to + bytes;
    init_barriers(barrier, 1, 1);
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(barrier, bytes);
        cp_async_bulk_tensor(to, map, 0, 0, barrier);
    }
    mbarrier_wait(barrier, 0);
}

// Where a second tile begins, behind one of 64 rows.
constexpr int SECOND = TILE_BYTES + 1024;

// The place in d [64, columns] of an accumulator's value i in this thread.
DEVICE int place_of(int i, int columns) {
    const int row = warp_index() * 16 + lane_index() / 4 + i / 2 % 2 * 8, col = i / 4 * 8 + lane_index() % 4 * 2 + i % 2;
    return row * columns + col;
}

template <int COUNT> DEVICE void load_sums(float (&sums)[COUNT], const float *d) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) sums[i] = d[place_of(i, 2 * COUNT)];
    wgmma_fence_operand(sums);
    wgmma_fence();
}

// Of a group that is finished when `PENDING` later ones may not be.
template <int PENDING, int COUNT> DEVICE void store_sums(float *d, float (&sums)[COUNT]) {
    wgmma_wait_group<PENDING>();
    wgmma_fence_operand(sums);
#pragma unroll
    for (int i = 0; i < COUNT; i++) d[place_of(i, 2 * COUNT)] = sums[i];
}

// d [64, n] = a b^T, plus d if `accumulate`: columns 16 k .. 16 k + 16 of a [64, 64] and b [n, 64].
#define WRAPPER_OF_WGMMA(name, n)                                                                     \
    WRAPPER(name)(MAP a, MAP b, float *d, int k, int accumulate) {                                    \
        wait_for_launch_before();                                                                     \
        SHARED_DYNAMIC_1024(shared);                                                                  \
        const u32 tile_a = uniform(shared_address(shared)), tile_b = tile_a + SECOND;                 \
        fetch_tile(tile_a, a, 64);                                                                    \
        fetch_tile(tile_b, b, n);                                                                     \
        float sums[n / 2];                                                                            \
        load_sums(sums, d);                                                                           \
        name(sums, matrix_descriptor(tile_a) + 2 * k, matrix_descriptor(tile_b) + 2 * k, accumulate); \
        wgmma_commit_group();                                                                         \
        store_sums<0>(d, sums);                                                                       \
    }                                                                                                 \
    EXPORT_KERNEL(wrapper_##name)
WRAPPER_OF_WGMMA(wgmma_m64n16k16, 16)
WRAPPER_OF_WGMMA(wgmma_m64n64k16, 64)
WRAPPER_OF_WGMMA(wgmma_m64n128k16, 128)
WRAPPER_OF_WGMMA(wgmma_m64n256k16, 256)

// This thread's part of a [64, 16].
DEVICE void load_fragment(u32 (&fragment)[4], const bf16 *a) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int row = warp_index() * 16 + lane_index() / 4 + i % 2 * 8, col = lane_index() % 4 * 2 + i / 2 * 8;
        fragment[i] = pair_of(a[row * 16 + col], a[row * 16 + col + 1]);
    }
}

// d [64, n] = a b^T, plus d if `accumulate`: a [64, 16], columns 16 k .. 16 k + 16 of b [n, 64].
#define WRAPPER_OF_WGMMA_REGISTERS(name, n)                                               \
    WRAPPER(name##_registers)(MAP b, const bf16 *a, float *d, int k, int accumulate) {    \
        wait_for_launch_before();                                                         \
        SHARED_DYNAMIC_1024(shared);                                                      \
        const u32 tile = uniform(shared_address(shared));                                 \
        fetch_tile(tile, b, n);                                                           \
        u32 fragment[4];                                                                  \
        load_fragment(fragment, a);                                                       \
        float sums[n / 2];                                                                \
        load_sums(sums, d);                                                               \
        name(sums, fragment, matrix_descriptor(tile) + 2 * k, accumulate);                \
        wgmma_commit_group();                                                             \
        store_sums<0>(d, sums);                                                           \
    }                                                                                     \
    EXPORT_KERNEL(wrapper_##name##_registers)
WRAPPER_OF_WGMMA_REGISTERS(wgmma_m64n64k16, 64)
WRAPPER_OF_WGMMA_REGISTERS(wgmma_m64n104k16, 104)
WRAPPER_OF_WGMMA_REGISTERS(wgmma_m64n128k16, 128)

// d [64, 64] += a b: a [64, 16], rows row .. row + 16 of b [64, 64].
WRAPPER(wgmma_m64n64k16_transposed)(MAP b, const bf16 *a, float *d, int row) {
    wait_for_launch_before();
    SHARED_DYNAMIC_1024(shared);
    const u32 tile = uniform(shared_address(shared));
    fetch_tile(tile, b, 64);
    u32 fragment[4];
    load_fragment(fragment, a);
    float sums[32];
    load_sums(sums, d);
    wgmma_m64n64k16_transposed(sums, fragment, matrix_descriptor(tile + row * ROW_BYTES));
    wgmma_commit_group();
    store_sums<0>(d, sums);
}
EXPORT_KERNEL(wrapper_wgmma_m64n64k16_transposed)

// wgmma_wait_group<1>: d [2, 64, 64] += a b^T, b a^T, in two groups, of a and b [64, 64]. The second is under way when the
// first is stored.
WRAPPER(wgmma_wait_group)(MAP a, MAP b, float *d) {
    wait_for_launch_before();
    SHARED_DYNAMIC_1024(shared);
    const u32 tile_a = uniform(shared_address(shared)), tile_b = tile_a + SECOND;
    fetch_tile(tile_a, a, 64);
    fetch_tile(tile_b, b, 64);
    float first[32], second[32];
    load_sums(first, d);
    load_sums(second, d + 64 * 64);
#pragma unroll
    for (int k = 0; k < 4; k++)
        wgmma_m64n64k16(first, matrix_descriptor(tile_a) + 2 * k, matrix_descriptor(tile_b) + 2 * k, true);
    wgmma_commit_group();
#pragma unroll
    for (int k = 0; k < 4; k++)
        wgmma_m64n64k16(second, matrix_descriptor(tile_b) + 2 * k, matrix_descriptor(tile_a) + 2 * k, true);
    wgmma_commit_group();
    store_sums<1>(d, first);
    store_sums<0>(d + 64 * 64, second);
}
EXPORT_KERNEL(wrapper_wgmma_wait_group)

#endif
