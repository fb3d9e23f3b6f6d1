// The instructions that kernels/mma.cuh wraps, with the layouts of the PTX manual (sections on ldmatrix, mma.m16n8k16
// and cp.async). Tensor cores add in an order of their own; here k ascends.
#pragma once
#include "cuda.h"

namespace emulator {

struct Rows {
    const void* row;
    uint32_t fragment[4];
};

// Four 8x8 matrices of 16-bit elements; lanes 8m .. 8m + 7 give the rows of matrix m.
template <bool transposed>
void ldmatrix(uint32_t (&fragment)[4], const void* row, Site site) {
    const char* name = transposed ? "ldmatrix.trans" : "ldmatrix";
    check_shared(row, 16, 16, name);
    const Rows own = collective(name, site, Rows{row, {}}, [](Rows (&lanes)[WARP]) {
        for (int matrix = 0; matrix < 4; matrix++) {
            uint16_t at[8][8];
            for (int i = 0; i < 8; i++) std::memcpy(at[i], lanes[matrix * 8 + i].row, 16);
            for (int l = 0; l < WARP; l++) {
                const int i = l / 4, j = l % 4 * 2;
                const uint16_t low = transposed ? at[j][i] : at[i][j], high = transposed ? at[j + 1][i] : at[i][j + 1];
                lanes[l].fragment[matrix] = low | uint32_t(high) << 16;
            }
        }
    });
    std::memcpy(fragment, own.fragment, sizeof fragment);
}

struct Fragments {
    uint32_t a[4], b[2];
    float d[4];
};

// D += A B with A [16, 16] row-major, B [16, 8] column-major, D [16, 8].
inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Site site) {
    Fragments own = {{a[0], a[1], a[2], a[3]}, {b0, b1}, {d[0], d[1], d[2], d[3]}};
    own = collective("mma", site, own, [](Fragments (&lanes)[WARP]) {
        float a[16][16], b[16][8];
        const auto low = [](uint32_t pair) { return bits<float>(pair << 16); };
        const auto high = [](uint32_t pair) { return bits<float>(pair & 0xffff0000u); };
        for (int l = 0; l < WARP; l++) {
            const int group = l / 4, pair = l % 4 * 2;
            for (int r = 0; r < 4; r++) {
                const int i = group + r % 2 * 8, k = pair + r / 2 * 8;
                a[i][k] = low(lanes[l].a[r]), a[i][k + 1] = high(lanes[l].a[r]);
            }
            for (int r = 0; r < 2; r++) {
                const int k = pair + r * 8;
                b[k][group] = low(lanes[l].b[r]), b[k + 1][group] = high(lanes[l].b[r]);
            }
        }
        for (int i = 0; i < 16; i++) {
            float row[8];
            for (int j = 0; j < 8; j++) row[j] = lanes[i % 8 * 4 + j / 2].d[i / 8 * 2 + j % 2];
            for (int k = 0; k < 16; k++)
                for (int j = 0; j < 8; j++) row[j] += a[i][k] * b[k][j];
            for (int j = 0; j < 8; j++) lanes[i % 8 * 4 + j / 2].d[i / 8 * 2 + j % 2] = row[j];
        }
    });
    std::memcpy(d, own.d, sizeof d);
}

}  // namespace emulator

using emulator::Site;

__device__ inline void ldmatrix(uint32_t (&fragment)[4], const void* row, Site site = Site::here()) {
    emulator::ldmatrix<false>(fragment, row, site);
}
__device__ inline void ldmatrix_transposed(uint32_t (&fragment)[4], const void* row, Site site = Site::here()) {
    emulator::ldmatrix<true>(fragment, row, site);
}
__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Site site = Site::here()) {
    emulator::mma(d, a, b0, b1, site);
}
__device__ inline void copy_async(void* shared, const void* global, bool exists) {
    emulator::check_shared(shared, 16, 16, "cp.async");
    if (reinterpret_cast<uintptr_t>(global) % 16 != 0) emulator::fault("cp.async from an address that is no multiple of 16");
    emulator::copy_async(shared, exists ? global : nullptr, 16);
}
__device__ inline void copy_commit() { emulator::copy_commit(); }
template <int groups_left>
__device__ void copy_wait() {
    emulator::copy_wait(groups_left);
}
__device__ inline float exp2_fast(float x) { return std::exp2(x); }
__device__ inline float reciprocal_fast(float x) { return 1.0f / x; }
