// Cells mixed by a SwiGLU over positions, forward, on the tensor cores of compute capability 9.0a: of each column of x
// [batch, positions, width], at most 104 positions,
//
//   [gate, up] = W_gate_up x, a = silu(gate) up, s = x + W_down a, rstd = 1 / sqrt(mean(s^2) + eps), y = s rstd
//
// in one pass over memory. Gate, up and the activation are rounded to bf16 and stay in registers, as the second product's
// operand; its sums begin at x. While one half of a step is activated, the tensor cores have the products of the next.
// token_mix_sm90.cuh says how columns and weights come.

// On other architectures this unit is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#include "token_mix_sm90.cuh"

constexpr int STAGES = 3;

// [gate, up] = x^T W^T of half a step. For c and x, see registers_written.
template <class M> DEVICE void start_gate_up(float (&c)[COLUMNS / 2], const Operand &x, const M &memory, int stage, int half) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const u64 rows = matrix_descriptor(memory.gate_up(stage, part / 4)) + half * (COLUMNS * ROW_BYTES >> 4);
        wgmma_m64n64k16(c, x[part], rows + part % 4 * 2, part > 0);
    }
    wgmma_commit_group();
}

// y += a W_down^T of half a step.
template <class M>
DEVICE void start_down(float (&sum)[POSITIONS / 2], const u32 (&a)[2][4], const M &memory, int stage, int half) {
#pragma unroll
    for (int part = 0; part < 2; part++)
        wgmma_m64n104k16(sum, a[part], matrix_descriptor(memory.down(stage)) + 2 * (2 * half + part), true);
    wgmma_commit_group();
}

// The activation as an operand A.
DEVICE void activate(u32 (&a)[2][4], const float (&c)[COLUMNS / 2]) {
#pragma unroll
    for (int i = 0; i < COLUMNS / 4; i += 2) a[i / 8][i / 4 % 2 * 2 + i / 2 % 2] = swiglu(gates(c, i), ups(c, i));
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

            float sum[POSITIONS / 2], left[COLUMNS / 2], right[COLUMNS / 2];
            u32 a[2][4];
#pragma unroll
            for (int i = 0; i < POSITIONS / 2; i += 2)
                sum[i] = first_of(pair_in(column, i)), sum[i + 1] = second_of(pair_in(column, i));
            // Here, and not while the first products are under way.
            wgmma_fence_operand(sum);
            // Activates one half, and sums what comes of it, while the products of the other half are under way.
            const auto activate_and_sum = [&](float(&c)[COLUMNS / 2], int stage, int half) {
                activate(a, c);
                registers_written(c);
                registers_written(sum);
                start_down(sum, a, memory, stage, half);
            };
            mbarrier_wait(memory.full(turn.stage), turn.parity);
            registers_written(left);
            start_gate_up(left, column, memory, turn.stage, 0);
            // The stage that is worked on, and the one before, if it is not released yet.
            int stage = turn.stage, before = -1;
            // The compiler loses count of products from one turn of the loop to the next: here it waits for all.
            const auto start_right = [&] {
                finish<0>(left);
                wgmma_fence_operand(sum);
                if (before >= 0) memory.release(before);
                registers_written(right);
                start_gate_up(right, column, memory, stage, 1);
                turn.advance();
            };
            for (int step = 1; step < mix.steps(); step++) {
                start_right();
                // Ahead of the products, so that none waits for the others.
                mbarrier_wait(memory.full(turn.stage), turn.parity);
                activate_and_sum(left, stage, 0);
                start_gate_up(left, column, memory, turn.stage, 0);
                finish<1>(right);
                wgmma_fence_operand(sum);
                activate_and_sum(right, stage, 1);
                before = stage, stage = turn.stage;
            }
            start_right();
            activate_and_sum(left, stage, 0);
            finish<0>(right);
            wgmma_fence_operand(sum);
            activate_and_sum(right, stage, 1);
            finish<0>(sum);
            memory.release(stage);

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
