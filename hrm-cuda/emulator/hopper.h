// The instructions that kernels/hopper.cuh wraps, of compute capability 9.0a, with the meaning that the PTX manual gives
// them (sections on mbarrier, cp.async.bulk.tensor, st.async, wgmma and clusters).
#pragma once
#include "cluster.h"
#include "cuda.h"
#include "wgmma.h"

DEVICE u32 shared_address(const void* shared) { return emulator::shared_address(shared); }

DEVICE u32 cluster_ctarank() { return emulator::cluster_rank(); }
DEVICE void barrier_cluster() { emulator::cluster_barrier(); }
DEVICE u32 mapa(u32 address, u32 rank) { return emulator::remote_address(address, rank); }
DEVICE void st_async(u32 remote, float value, u32 remote_barrier) {
    emulator::write_async(remote, __float_as_uint(value), remote_barrier);
}
DEVICE float ld_shared(u32 address) {
    return *static_cast<const float*>(emulator::shared_bytes(address, 4, 4, "ld.shared"));
}

DEVICE void barrier_sync(int barrier, int threads) { emulator::named_barrier(barrier, threads); }

DEVICE void mbarrier_init(u32 barrier, u32 arrivals) { emulator::barrier_init(barrier, arrivals); }
DEVICE void fence_mbarrier_init() {}
DEVICE void mbarrier_arrive(u32 barrier) { emulator::barrier_arrive(barrier); }
DEVICE void mbarrier_arrive_cluster(u32 remote_barrier) { emulator::barrier_arrive(remote_barrier); }
DEVICE void mbarrier_arrive_expect_tx(u32 barrier, u32 bytes) { emulator::barrier_arrive(barrier, bytes); }
DEVICE void mbarrier_wait(u32 barrier, u32 parity) { emulator::barrier_wait(barrier, parity); }
DEVICE bool mbarrier_test_wait(u32 barrier, u32 parity) { return emulator::barrier_test(barrier, parity); }
DEVICE void mbarrier_wait_cluster(u32 barrier, u32 parity) { emulator::barrier_wait(barrier, parity); }

DEVICE const emulator::Map& map_of(const TensorMap& map) {
    static_assert(sizeof(emulator::Map) == sizeof(TensorMap), "they are the same words");
    return reinterpret_cast<const emulator::Map&>(map);
}
DEVICE void prefetch_tensormap(const TensorMap&) {}
DEVICE void cp_async_bulk_tensor(u32 to, const TensorMap& map, int row, int col, u32 barrier) {
    emulator::copy_box(to, map_of(map), 2, {col, row}, barrier);
}
DEVICE void cp_async_bulk_tensor_3d(u32 to, const TensorMap& map, int batch, int row, int col, u32 barrier) {
    emulator::copy_box(to, map_of(map), 3, {col, row, batch}, barrier);
}
DEVICE void cp_async_bulk_tensor_5d(u32 to, const TensorMap& map, int row, int col, u32 barrier) {
    emulator::copy_box(to, map_of(map), 5, {col, 0, 0, 0, row}, barrier);
}
DEVICE void cp_async_bulk_tensor_multicast(u32 to, const TensorMap& map, int row, int col, u32 barrier,
                                           unsigned short blocks) {
    emulator::copy_box(to, map_of(map), 2, {col, row}, barrier, blocks);
}

// How registers are shared out, and in which order the compiler uses them, has no meaning here.
template <int REGISTERS>
DEVICE void setmaxnreg_dec() {}
template <int REGISTERS>
DEVICE void setmaxnreg_inc() {}
DEVICE void wgmma_fence() {}
template <int COUNT>
DEVICE void wgmma_fence_operand(float (&)[COUNT]) {}
template <int PARTS>
DEVICE void wgmma_fence_operand(u32 (&)[PARTS][4]) {}

DEVICE void wgmma_commit_group() { emulator::close_group(); }
template <int PENDING>
DEVICE void wgmma_wait_group() {
    emulator::wait_for_groups(PENDING);
}
DEVICE void wgmma_m64n128k16(float (&d)[64], u64 a, u64 b, bool accumulate, Site site = Site::here()) {
    emulator::multiply({site, 128, a, nullptr, b, false, accumulate, d});
}
DEVICE void wgmma_m64n256k16(float (&d)[128], u64 a, u64 b, bool accumulate, Site site = Site::here()) {
    emulator::multiply({site, 256, a, nullptr, b, false, accumulate, d});
}
DEVICE void wgmma_m64n64k16(float (&d)[32], u64 a, u64 b, bool accumulate, Site site = Site::here()) {
    emulator::multiply({site, 64, a, nullptr, b, false, accumulate, d});
}
DEVICE void wgmma_m64n16k16(float (&d)[8], u64 a, u64 b, bool accumulate, Site site = Site::here()) {
    emulator::multiply({site, 16, a, nullptr, b, false, accumulate, d});
}
DEVICE void wgmma_m64n64k16(float (&d)[32], const u32 (&a)[4], u64 b, bool accumulate, Site site = Site::here()) {
    emulator::multiply({site, 64, 0, a, b, false, accumulate, d});
}
DEVICE void wgmma_m64n104k16(float (&d)[52], const u32 (&a)[4], u64 b, bool accumulate, Site site = Site::here()) {
    emulator::multiply({site, 104, 0, a, b, false, accumulate, d});
}
DEVICE void wgmma_m64n128k16(float (&d)[64], const u32 (&a)[4], u64 b, bool accumulate, Site site = Site::here()) {
    emulator::multiply({site, 128, 0, a, b, false, accumulate, d});
}
DEVICE void wgmma_m64n64k16_transposed(float (&d)[32], const u32 (&a)[4], u64 b, Site site = Site::here()) {
    emulator::multiply({site, 64, 0, a, b, true, true, d});
}
