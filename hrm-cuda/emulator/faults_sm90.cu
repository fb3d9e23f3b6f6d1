// Kernels for the emulator's own tests: mistakes that it must notice in what is for compute capability 9.0a.
#include "hopper.cuh"

// The twin of the constants in tests/emulator_sm90.rs.
enum Mistake {
    NONE,
    NO_WAIT,
    WRONG_PARITY,
    EARLY_RELEASE,
    TOO_MANY_BYTES,
    TOO_FEW_BYTES,
    NO_COMMIT,
    NO_WAIT_FOR_PRODUCTS,
    TWO_INITS,
    NO_INIT,
    TOO_MANY_ARRIVALS,
    ACCUMULATOR_TOUCHED,
    REGISTERS_TOUCHED,
    BARRIER_OVERWRITTEN,
    STARTED_ONLY, // a copy that has started is waited for after the product
    ODD_COLUMN,
};

// y [64, 64] = the sum over tiles x [64, 64] of x x^T, and of 2 x^T: one thread fetches, a warpgroup multiplies, in one
// place of shared memory.
extern "C" __global__ void fault_tiles(const __grid_constant__ TensorMap map, float *y, int tiles, int mistake) {
    SHARED_DYNAMIC_1024(shared);
    const u32 tile = shared_address(shared), full = tile + 8192, empty = full + 8;
    if (threadIdx.x == 0) {
        if (mistake != NO_INIT) mbarrier_init(full, 1);
        mbarrier_init(empty, 4);
        if (mistake == TWO_INITS) mbarrier_init(full, 1);
        if (mistake == BARRIER_OVERWRITTEN) shared[8192] = 0;
        fence_mbarrier_init();
    }
    __syncthreads();
    const auto started = [&] {
        if (mistake == STARTED_ONLY) __syncthreads();
    };
    if (threadIdx.x >= 128) {
        for (int t = 0; threadIdx.x == 128 && t < tiles; t++) {
            mbarrier_wait(empty, (t & 1) ^ 1);
            mbarrier_arrive_expect_tx(full, mistake == TOO_MANY_BYTES ? 8208 : mistake == TOO_FEW_BYTES ? 8176 : 8192);
            cp_async_bulk_tensor(tile, map, 64 * t, mistake == ODD_COLUMN ? 4 : 0, full);
        }
        started();
        return;
    }
    started();
    float d[32] = {};
    for (int t = 0; t < tiles; t++) {
        if (mistake != NO_WAIT && mistake != STARTED_ONLY) mbarrier_wait(full, (t & 1) ^ (mistake == WRONG_PARITY));
        // 2 in bf16, twice: rows of A that have 2 in the columns of one step.
        u32 twos[4] = {0x40004000, 0x40004000, 0x40004000, 0x40004000};
        wgmma_fence();
        for (int k = 0; k < 4; k++) {
            const u64 part = matrix_descriptor(tile) + 2 * k;
            wgmma_m64n64k16(d, part, part, true);
            wgmma_m64n64k16(d, twos, part, true);
        }
        if (mistake != NO_COMMIT) wgmma_commit_group();
        if (mistake == ACCUMULATOR_TOUCHED) d[3] = 0.0f;
        if (mistake == REGISTERS_TOUCHED) twos[2] = 0;
        if (mistake != EARLY_RELEASE && mistake != NO_WAIT_FOR_PRODUCTS) wgmma_wait_group<0>();
        if (lane_index() == 0 || (mistake == TOO_MANY_ARRIVALS && lane_index() == 1)) mbarrier_arrive(empty);
        if (mistake == EARLY_RELEASE) wgmma_wait_group<0>();
    }
    if (mistake == STARTED_ONLY) mbarrier_wait(full, 0);
    for (int i = 0; i < 32; i++) {
        const int row = threadIdx.x / 32 * 16 + lane_index() / 4 + i / 2 % 2 * 8;
        y[row * 64 + i / 4 * 8 + lane_index() % 4 * 2 + i % 2] = d[i];
    }
}
EXPORT_KERNEL(fault_tiles)

// A cluster of two blocks: each sends the other its rank by st.async, and y [2] is what has come. With `early` it is read
// before, with `leave` block 1 waits for nothing and is gone.
extern "C" __global__ void __cluster_dims__(2, 1, 1) fault_exchange(float *y, int early, int leave) {
    SHARED_DYNAMIC_1024(shared);
    const u32 place = shared_address(shared), barrier = place + 8, rank = cluster_ctarank();
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        fence_mbarrier_init();
    }
    barrier_cluster();
    if (threadIdx.x == 0) st_async(mapa(place, rank ^ 1), (float)rank, mapa(barrier, rank ^ 1));
    if (leave && rank == 1) return;
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(barrier, 4);
        if (!early) mbarrier_wait_cluster(barrier, 0);
        y[rank] = ld_shared(place);
        if (early) mbarrier_wait_cluster(barrier, 0);
    }
    barrier_cluster();
}
EXPORT_CLUSTERS(fault_exchange, 2)
