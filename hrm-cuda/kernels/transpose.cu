// y [cols, rows] = x [rows, cols]^T of bf16, rows and cols multiples of 64: a copy of a weight for those who sum over its
// rows.
#include "mma.cuh"

// Rows and columns of a block's tile, and words of a row of it in shared memory: one more than it has, so that neither its
// rows nor its columns crowd into one bank.
constexpr int TILE = 64, STRIDE = TILE / 2 + 1;
// 16 bytes, in a row of the tile.
constexpr int PACKS = TILE / PACK<bf16>;

KERNEL(transpose)(bf16 *y, const bf16 *x, int rows, int cols) {
    wait_for_launch_before();
    SHARED(u32, tile, TILE * STRIDE);
    const int row = blockIdx.y * TILE, col = blockIdx.x * TILE;
    for (int i = threadIdx.x; i < TILE * PACKS; i += THREADS) {
        const int r = i / PACKS, pack = i % PACKS;
        const uint4 raw = *(const uint4 *)(x + (u64)(row + r) * cols + col + pack * PACK<bf16>);
        u32 *const to = tile + r * STRIDE + pack * 4;
        to[0] = raw.x, to[1] = raw.y, to[2] = raw.z, to[3] = raw.w;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TILE * PACKS; i += THREADS) {
        // Of a column 8 elements, one below the other.
        const int c = i / PACKS, pack = i % PACKS;
        const auto element = [&](int r) {
            return (tile[(pack * PACK<bf16> + r) * STRIDE + c / 2] >> c % 2 * 16) & 0xffffu;
        };
        const auto pair = [&](int r) { return element(r) | element(r + 1) << 16; };
        *(uint4 *)(y + (u64)(col + c) * rows + row + pack * PACK<bf16>) = uint4{pair(0), pair(2), pair(4), pair(6)};
    }
}
EXPORT_KERNEL(transpose)
