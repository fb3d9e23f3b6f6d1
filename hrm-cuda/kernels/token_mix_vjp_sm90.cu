// The vjp of token_mix_sm90.cu by its input, and what its weights' gradients are summed of: of each column, with dy the
// cotangent of y and [gate, up] = W_gate_up x computed again,
//
//   ds = rstd (dy - y mean(dy y)), da = W_down^T ds,
//   a, dgate, dup as swiglu_vjp makes them of da, gate and up, dx = ds + W_gate_up^T [dgate, dup]
//
// x and ds, a, dgate and dup are written as rows, one for each column: the gradients of the weights are plain products of
// them. ds, da and what comes of them are rounded to bf16; dx is summed in f32 and rounded once.

// On other architectures this unit is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#include "token_mix_sm90.cuh"

constexpr int STAGES = 2;

// da = ds^T W_down of a step.
template <class M> DEVICE void start_activation_vjp(float (&da)[COLUMNS / 2], const Operand &ds, const M &memory, int stage) {
    clear(da);
    registers_written(da);
#pragma unroll
    for (int part = 0; part < PARTS; part++)
        wgmma_m64n64k16_transposed(da, ds[part], matrix_descriptor(memory.down(stage)) + part * (16 * ROW_BYTES >> 4));
    wgmma_commit_group();
}

// dx += [dgate, dup] W_gate_up of a step, 64 positions at a time.
template <class M>
DEVICE void start_input_vjp(float (&dx)[2][COLUMNS / 2], const u32 (&gate)[4][4], const u32 (&up)[4][4], const M &memory,
                            int stage) {
    wgmma_fence_operand(dx[0]);
    registers_written(dx[1]);
#pragma unroll
    for (int panel = 0; panel < 2; panel++) {
        const u64 gates = matrix_descriptor(memory.gate_up(stage, panel)), rows = 16 * ROW_BYTES >> 4;
#pragma unroll
        for (int part = 0; part < 4; part++) wgmma_m64n64k16_transposed(dx[panel], gate[part], gates + part * rows);
#pragma unroll
        for (int part = 0; part < 4; part++) wgmma_m64n64k16_transposed(dx[panel], up[part], gates + (4 + part) * rows);
    }
    wgmma_commit_group();
}

// Writes an operand A as rows of 112.
DEVICE void store_rows(bf16 *rows, const Operand &a, u64 row) {
    bf16 *const to = rows + row * SUMMED + lane_index() % 4 * 2;
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int i = 0; i < 4; i++) *(u32 *)(to + i % 2 * 8 * SUMMED + 16 * part + i / 2 * 8) = a[part][i];
}

// Writes 64 columns of this lane's two rows, from column `first` on, of an operand A whose columns are in the order of the
// weights' copies. Rows have `width` columns.
DEVICE void store_in_order(bf16 *rows, const u32 (&a)[4][4], u64 row, int width, int first) {
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const u32(&left)[4] = a[2 * half], (&right)[4] = a[2 * half + 1];
            bf16 *const to = rows + (row + 8 * r) * width + first + 32 * half + lane_index() % 4 * 8;
            *(uint4 *)to = uint4{left[r], left[2 + r], right[r], right[2 + r]};
        }
}

// ds of the warpgroup's columns, of tiles of dy and y.
DEVICE void norm_vjp(Operand &ds, const bf16 *dy, const bf16 *y, const float *rstd, const Mix &mix, const Columns &at) {
    Operand own;
    load(ds, dy);
    load(own, y);
    float mean[2] = {0.0f, 0.0f}, scale[2];
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            mean[i % 2] += first_of(ds[part][i]) * first_of(own[part][i]) + second_of(ds[part][i]) * second_of(own[part][i]);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        mean[r] = quad_sum(mean[r]) / mix.positions;
        scale[r] = at.exist ? rstd[at.number(mix, r)] : 0.0f;
    }
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const u32 dy = ds[part][i], y = own[part][i];
            ds[part][i] = bf16_pair(scale[i % 2] * (first_of(dy) - first_of(y) * mean[i % 2]),
                                    scale[i % 2] * (second_of(dy) - second_of(y) * mean[i % 2]));
        }
}

MIX_TOKENS(token_mix_vjp_sm90)(MAP x, MAP y, MAP dy, MAP gate_up, MAP down, bf16 *dx, bf16 *x_rows, bf16 *ds_rows, bf16 *a_rows,
                               bf16 *gate_up_rows, const float *rstd, int batch, int positions, int width, int inter) {
    const Mix mix = {batch, positions, width, inter};
    const TensorMap *const sequences[] = {&x, &y, &dy};
    mix_tokens<3, STAGES>(mix, sequences, gate_up, down, [&](const Memory<3, STAGES> &memory, int warpgroup) {
        Turn<STAGES> turn;
        u32 parity = 0;
        for (int pair = blockIdx.x / CLUSTER; pair < mix.pairs(); pair += gridDim.x / CLUSTER, parity ^= 1) {
            const Columns at(mix, pair * CLUSTER + cluster_ctarank(), warpgroup);
            Operand column, ds;
            mbarrier_wait(memory.tiles_full(warpgroup), parity);
            norm_vjp(ds, memory.elements(warpgroup, 2), memory.elements(warpgroup, 1), rstd, mix, at);
            load(column, memory.elements(warpgroup, 0));
            __syncwarp();
            if (lane_index() == 0) mbarrier_arrive(memory.tiles_empty(warpgroup));
            if (at.exist) {
                const u64 row = at.number(mix, 0);
                store_rows(x_rows, column, row), store_rows(ds_rows, ds, row);
            }

            float sum[2][COLUMNS / 2];
#pragma unroll
            for (int i = 0; i < COLUMNS; i += 2) {
                const u32 pair = i / 8 < PARTS ? pair_in(ds, i) : 0;
                sum[i / 32][i % 32] = first_of(pair), sum[i / 32][i % 32 + 1] = second_of(pair);
            }
            for (int step = 0; step < mix.steps(); step++, turn.advance()) {
                float da[COLUMNS / 2], c[COLUMNS];
                u32 a[4][4], gate[4][4], up[4][4];
                mbarrier_wait(memory.full(turn.stage), turn.parity);
                registers_written(c);
                start_gate_up(c, column, memory, turn.stage);
                finish<0>(c);
#pragma unroll
                for (int i = 0; i < COLUMNS / 2; i += 2) {
                    const int part = i / 8, place = i / 4 % 2 * 2 + i / 2 % 2;
                    gate[part][place] = gates(c, i), up[part][place] = ups(c, i);
                }
                start_activation_vjp(da, ds, memory, turn.stage);
                finish<0>(da);
#pragma unroll
                for (int i = 0; i < COLUMNS / 2; i += 2) {
                    const int part = i / 8, place = i / 4 % 2 * 2 + i / 2 % 2;
                    a[part][place] = bf16_pair(da[i], da[i + 1]);
                    swiglu_vjp(a[part][place], gate[part][place], up[part][place]);
                }
                // Ahead of the products, which hold these registers until they are done.
                if (at.exist) {
                    const u64 row = at.number(mix, 0);
                    const int first = step * COLUMNS;
                    store_in_order(a_rows, a, row, inter, first);
                    store_in_order(gate_up_rows, gate, row, 2 * inter, first);
                    store_in_order(gate_up_rows, up, row, 2 * inter, inter + first);
                }
                start_input_vjp(sum, gate, up, memory, turn.stage);
                finish<0>(sum[0]);
                wgmma_fence_operand(sum[1]);
                memory.release(turn.stage);
            }
            store_columns(dx, memory.results(warpgroup), mix, at, warpgroup, [&](int i) { return sum[i / 32][i % 32]; });
        }
    });
}
EXPORT_CLUSTERS(token_mix_vjp_sm90, CLUSTER)

#endif
