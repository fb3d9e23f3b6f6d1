// The last step of sums whose parts are formed by many blocks.
#include "common.cuh"

// y[col] = sum of parts[chunk, col] over chunks: one block for each 32 columns.
KERNEL(sum_chunks)(float *y, const float *parts, int chunks, int cols) {
    wait_for_launch_before();
    int col = blockIdx.x * LANES + lane_index();
    float sum = sum_over_rows(chunks, [&](int chunk) { return col < cols ? parts[(u64)chunk * cols + col] : 0.0f; });
    if (warp_index() == 0 && col < cols) y[col] = sum;
}
EXPORT_KERNEL(sum_chunks)
