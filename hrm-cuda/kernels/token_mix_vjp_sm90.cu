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

// [gate, up] = x^T W^T of a step. For c and x, see registers_written.
template <class M> DEVICE void start_gate_up(float (&c)[COLUMNS], const Operand &x, const M &memory, int stage) {
#pragma unroll
    for (int part = 0; part < PARTS; part++)
        wgmma_m64n128k16(c, x[part], matrix_descriptor(memory.gate_up(stage, part / 4)) + part % 4 * 2, part > 0);
    wgmma_commit_group();
}

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
        const u64 first = matrix_descriptor(memory.gate_up(stage, panel));
#pragma unroll
        for (int part = 0; part < 4; part++) {
            // Of 64 rows, 32 are gates.
            const u64 rows = first + (part / 2 * 64 + part % 2 * 16) * (ROW_BYTES >> 4);
            wgmma_m64n64k16_transposed(dx[panel], gate[part], rows);
            wgmma_m64n64k16_transposed(dx[panel], up[part], rows + 32 * (ROW_BYTES >> 4));
        }
    }
    wgmma_commit_group();
}

// What a warp writes as rows goes through shared memory, eight rows at a time: memory is slow to take less than 128 bytes of
// a row. Units of 16 bytes from one row to the next: of two neighbours the 64 bytes that are written at a time lie in
// all banks, and so do the words of eight rows of 112 columns.
constexpr int STEP_ROW = COLUMNS / 8 + 4, SUMMED_ROW = SUMMED / 8 + 1, TURNED_BYTES = 8 * SUMMED_ROW * 16;
static_assert(STEP_ROW <= SUMMED_ROW, "a row of either kind has its place");

// Writes an operand A as rows of 112: `to` is where the warp's first is. Eight of them lie one behind the other.
DEVICE void store_rows(bf16 *to, uint4 *turned, const Operand &a) {
    const int lane = lane_index();
#pragma unroll
    for (int r = 0; r < 2; r++) {
        u32 *const words = (u32 *)(turned + lane / 4 * SUMMED_ROW) + lane % 4;
        __syncwarp();
#pragma unroll
        for (int part = 0; part < PARTS; part++) words[8 * part] = a[part][r], words[8 * part + 4] = a[part][2 + r];
        __syncwarp();
        for (int i = lane; i < SUMMED; i += LANES)
            ((uint4 *)(to + r * 8 * SUMMED))[i] = turned[i / (SUMMED / 8) * SUMMED_ROW + i % (SUMMED / 8)];
    }
}

// Writes 64 columns of the warp's rows, `width` apart, of an operand A whose columns are in the order of the weights' copies:
// `to` is where the first row's are.
DEVICE void store_step(bf16 *to, uint4 *turned, const u32 (&a)[4][4], int width) {
    const int lane = lane_index();
    uint4 *const in = turned + lane / 4 * STEP_ROW + lane % 4;
    const uint4 *const out = turned + lane / 8 * STEP_ROW + lane % 8;
    bf16 *const own = to + (u64)(lane / 8) * width + lane % 8 * 8;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        __syncwarp();
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const u32(&left)[4] = a[2 * half], (&right)[4] = a[2 * half + 1];
            in[4 * half] = uint4{left[r], left[2 + r], right[r], right[2 + r]};
        }
        __syncwarp();
#pragma unroll
        for (int four = 0; four < 8; four += 4) *(uint4 *)(own + (u64)(8 * r + four) * width) = out[four * STEP_ROW];
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
            uint4 *const turned = memory.turned(warpgroup, TURNED_BYTES);
            if (at.exist) {
                const u64 first = at.first_of_warp(mix) * SUMMED;
                store_rows(x_rows + first, turned, column), store_rows(ds_rows + first, turned, ds);
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
                    const float(&half)[COLUMNS / 2] = *(const float(*)[COLUMNS / 2])(c + i / 16 * 32);
                    gate[part][place] = gates(half, i % 16), up[part][place] = ups(half, i % 16);
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
                    const u64 row = at.first_of_warp(mix);
                    bf16 *const gates = gate_up_rows + row * 2 * inter + step * COLUMNS;
                    store_step(a_rows + row * inter + step * COLUMNS, turned, a, inter);
                    store_step(gates, turned, gate, 2 * inter), store_step(gates + inter, turned, up, 2 * inter);
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
