// Cells mixed by a SwiGLU over positions, forward, on the tensor cores of compute capability 9.0a: of each column of x
// [batch, positions, width], at most 104 positions,
//
//   [gate, up] = W_gate_up x, a = silu(gate) up, s = x + W_down a, rstd = 1 / sqrt(mean(s^2) + eps), y = s rstd
//
// in one pass over memory. Gate, up and the activation are rounded to bf16 and stay in registers, as the second product's
// operand; its sums begin at x. While the tensor cores sum one step's output and the next step's gate and up, the other
// warpgroup activates. token_mix_sm90.cuh says how columns and weights come.

// On other architectures this unit is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#include "token_mix_sm90.cuh"

constexpr int STAGES = 3;

// y += a W_down^T of a step.
template <class M> DEVICE void start_down(float (&sum)[POSITIONS / 2], const u32 (&a)[4][4], const M &memory, int stage) {
#pragma unroll
    for (int part = 0; part < 4; part++)
        wgmma_m64n104k16(sum, a[part], matrix_descriptor(memory.down(stage)) + 2 * part, true);
    wgmma_commit_group();
}

// The activation as an operand A.
DEVICE void activate(u32 (&a)[4][4], const float (&c)[COLUMNS]) {
#pragma unroll
    for (int i = 0; i < COLUMNS / 2; i += 2) a[i / 8][i / 4 % 2 * 2 + i / 2 % 2] = swiglu(gates(c, i), ups(c, i));
    wgmma_fence_operand(a);
}

MIX_TOKENS(token_mix_sm90)(MAP x, MAP gate_up, MAP down, bf16 *y, float *rstd, int batch, int positions, int width, int inter,
                           float eps) {
    const Mix mix = {batch, positions, width, inter};
    const TensorMap *const sequences[] = {&x};
    mix_tokens<1, STAGES>(mix, sequences, gate_up, down, [&](const Memory<1, STAGES> &memory, int warpgroup) {
        Turn<STAGES> turn;
        u32 parity = 0;
        for (int pair = blockIdx.x / CLUSTER; pair < mix.pairs(); pair += gridDim.x / CLUSTER, parity ^= 1) {
            const Columns at(mix, pair * CLUSTER + cluster_ctarank(), warpgroup);
            Operand column;
            mbarrier_wait(memory.tiles_full(warpgroup), parity);
            load(column, memory.elements(warpgroup, 0));
            __syncwarp();
            if (lane_index() == 0) mbarrier_arrive(memory.tiles_empty(warpgroup));

            float sum[POSITIONS / 2], c[COLUMNS];
            u32 a[4][4];
#pragma unroll
            for (int i = 0; i < POSITIONS / 2; i += 2)
                sum[i] = first_of(pair_in(column, i)), sum[i + 1] = second_of(pair_in(column, i));
            // Here, and not while the first products are under way.
            wgmma_fence_operand(sum);
            mbarrier_wait(memory.full(turn.stage), turn.parity);
            registers_written(c);
            start_gate_up(c, column, memory, turn.stage);
            // The stage whose output is being summed, if there is one.
            int summed = -1;
            const auto finish_step = [&] {
                finish<0>(c);
                wgmma_fence_operand(sum);
                if (summed >= 0) memory.release(summed);
                activate(a, c);
                summed = turn.stage;
                turn.advance();
            };
            for (int step = 1; step < mix.steps(); step++) {
                finish_step();
                // Ahead of the products, so that none waits for the others.
                mbarrier_wait(memory.full(turn.stage), turn.parity);
                registers_written(c);
                registers_written(sum);
                start_down(sum, a, memory, summed);
                start_gate_up(c, column, memory, turn.stage);
            }
            finish_step();
            registers_written(sum);
            start_down(sum, a, memory, summed);
            finish<0>(sum);
            memory.release(summed);

            float scale[2];
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float squares = 0.0f;
#pragma unroll
                for (int i = 2 * r; i < POSITIONS / 2; i += 4) squares += sum[i] * sum[i] + sum[i + 1] * sum[i + 1];
                scale[r] = rsqrtf(quad_sum(squares) / positions + eps);
                if (at.exist && lane_index() % 4 == 0) rstd[at.number(mix, r)] = scale[r];
            }
            store_columns(y, memory.results(warpgroup), mix, at, warpgroup,
                          [&](int i) { return sum[i] * scale[i / 2 % 2]; });
        }
    });
}
EXPORT_CLUSTERS(token_mix_sm90, CLUSTER)

#endif
