// Shared memory as compute capability 9.0 has it: addresses of 32 bits, alike in all blocks of a cluster; barriers in it;
// a copy engine that fills it.
//
// What the copy engine writes lands late: when no thread can run, in random order now and then before. Until then its
// destination is poison.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emulator {

// Of the first byte of dynamic shared memory: a multiple of 1024, and not 0.
constexpr uint32_t SHARED_BASE = 1024;

// Where the swizzle of 128 bytes puts the 16 bytes at `address`: in each 1024 bytes, chunk c of row r in place c ^ r % 8.
constexpr uint32_t swizzled(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

uint32_t shared_address(const void* shared);
// What `address` names: `bytes` bytes of dynamic shared memory.
const void* shared_bytes(uint32_t address, size_t bytes, size_t alignment, const char* what);

unsigned cluster_rank();
void cluster_barrier();
// The same address in block `rank`.
uint32_t remote_address(uint32_t address, uint32_t rank);
// Writes 4 bytes, counted at a barrier of the same block.
void write_async(uint32_t remote, uint32_t value, uint32_t remote_barrier);

void barrier_init(uint32_t barrier, uint32_t arrivals);
// Announces `bytes`, then arrives.
void barrier_arrive(uint32_t barrier, uint32_t bytes = 0);
void barrier_wait(uint32_t barrier, uint32_t parity);
// Whether a wait would be over.
bool barrier_test(uint32_t barrier, uint32_t parity);

// A tensor map as src/emulator/ffi.rs encodes it: length, stride and box of each dimension, the innermost first.
struct Map {
    const unsigned char* base;
    struct {
        uint64_t length, stride, boxed;
    } axes[5];
};

// Copies the map's box at these coordinates, the innermost first, to `to` of the blocks in `mask`, or of this one alone.
void copy_box(uint32_t to, const Map& map, int dimensions, const int (&at)[5], uint32_t barrier, unsigned mask = 0);

}  // namespace emulator
