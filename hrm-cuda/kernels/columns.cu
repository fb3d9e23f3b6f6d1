// Columns of sequences as rows, and back: what mixes the positions of a sequence is a product over rows then.
#include "common.cuh"

// Columns and positions of a block's tile, which lies in shared memory with one word between its rows, so that neither they
// nor its columns crowd into one bank.
constexpr int TILE = 32;
template <class T> constexpr int STRIDE = TILE + 4 / sizeof(T);

// Where column `c` of the sequences z [B, positions, width] begins: column d of sequence b is number b width + d.
DEVICE u64 column_start(u64 c, int positions, int width) {
    return c / width * positions * width + c % width;
}

// rows[i, s] = z[b, s, d] for i < columns, where b width + d = first + i. Block (x, y) does columns 32 x and positions 32 y.
template <class T>
DEVICE void take_columns(T *rows, const T *z, u64 first, int columns, int positions, int width) {
    wait_for_launch_before();
    SHARED(T, tile, TILE * STRIDE<T>);
    const int i = blockIdx.x * TILE, s = blockIdx.y * TILE, lane = lane_index();
    if (i + lane < columns) {
        const T *column = z + column_start(first + i + lane, positions, width);
        for (int row = warp_index(); row < TILE && s + row < positions; row += WARPS)
            tile[row * STRIDE<T> + lane] = column[(u64)(s + row) * width];
    }
    __syncthreads();
    if (s + lane >= positions) return;
    for (int col = warp_index(); col < TILE && i + col < columns; col += WARPS)
        rows[(u64)(i + col) * positions + s + lane] = tile[lane * STRIDE<T> + col];
}
KERNEL_FOR_EACH_TYPE(take_columns, (T *rows, const T *z, u64 first, int columns, int positions, int width),
                     (rows, z, first, columns, positions, width))

// z[b, s, d] = rows[i, s]: the inverse, block by block the same.
template <class T>
DEVICE void put_columns(T *z, const T *rows, u64 first, int columns, int positions, int width) {
    wait_for_launch_before();
    SHARED(T, tile, TILE * STRIDE<T>);
    const int i = blockIdx.x * TILE, s = blockIdx.y * TILE, lane = lane_index();
    if (s + lane < positions) {
        for (int col = warp_index(); col < TILE && i + col < columns; col += WARPS)
            tile[lane * STRIDE<T> + col] = rows[(u64)(i + col) * positions + s + lane];
    }
    __syncthreads();
    if (i + lane >= columns) return;
    T *column = z + column_start(first + i + lane, positions, width);
    for (int row = warp_index(); row < TILE && s + row < positions; row += WARPS)
        column[(u64)(s + row) * width] = tile[row * STRIDE<T> + lane];
}
KERNEL_FOR_EACH_TYPE(put_columns, (T *z, const T *rows, u64 first, int columns, int positions, int width),
                     (z, rows, first, columns, positions, width))
