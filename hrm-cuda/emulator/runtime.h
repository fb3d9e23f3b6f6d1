// The machine under the kernels: one block, or cluster of blocks, at a time on each worker, its threads as fibers.
//
// A warp runs until all its lanes wait or have exited; only then does another get its turn, so that warps drift as far
// apart as the barriers let them and a missing barrier shows. What the kernels see of this is in cuda.h.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

struct dim3 {
    unsigned x, y, z;
};

namespace emulator {

constexpr int WARP = 32;

// A place in a kernel's source. As a default argument it is the caller's.
struct Site {
    const char* file;
    int line;
    static Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
    bool operator!=(const Site& other) const { return line != other.line || std::strcmp(file, other.file) != 0; }
};

// What the lanes of a warp exchange: each lane lays its part into its slot, the last to arrive combines them.
struct Warp {
    static constexpr int SLOT = 64;
    alignas(16) unsigned char slots[WARP][SLOT];
    const char* name;
    Site site;
    int arrived;
};

// The running thread, for cuda.h.
const dim3& thread_index();
const dim3& block_index();
const dim3& block_size();
const dim3& grid_size();
int lane();
Warp& warp();

// Waits for all threads of the block that have not exited.
void barrier(Site site);
// Waits until `threads` threads of the block are at the barrier of this number, 1 to 15.
void named_barrier(int number, int threads);

// True for the last lane of the warp to arrive, which combines and calls release(); the others return after that.
bool arrive(const char* name, Site site);
void release();

// Ends the launch with an error that names kernel, block and thread.
[[noreturn]] void fault(const char* format, ...) __attribute__((format(printf, 1, 2)));

// The block's shared memory: what the launch asked for, and arrays of the kernel's own, by the place that declares them.
void* dynamic_shared();
void* static_shared(size_t bytes, Site site);

// Fails unless `bytes` bytes at `address` lie in the block's shared memory and `address` is a multiple of `alignment`.
void check_shared(const void* address, size_t bytes, size_t alignment, const char* what);

// Copies in flight: the source is read when they are issued, the destination is poison until they are waited for.
void copy_async(void* shared, const void* global, size_t bytes);
void copy_commit();
void copy_wait(unsigned groups_left);

// A collective of all lanes of a warp: `combine` sees and replaces the parts of all.
template <class Part, class Combine>
Part collective(const char* name, Site site, Part part, Combine combine) {
    static_assert(std::is_trivially_copyable<Part>::value && sizeof(Part) <= Warp::SLOT, "does not fit a slot");
    Warp& own = warp();
    unsigned char* slot = own.slots[lane()];
    std::memcpy(slot, &part, sizeof part);
    if (arrive(name, site)) {
        Part parts[WARP];
        for (int i = 0; i < WARP; i++) std::memcpy(&parts[i], own.slots[i], sizeof part);
        combine(parts);
        for (int i = 0; i < WARP; i++) std::memcpy(own.slots[i], &parts[i], sizeof part);
        release();
    }
    std::memcpy(&part, slot, sizeof part);
    return part;
}

// Kernels by name. `signature` has a letter for each parameter: p pointer, i int, u unsigned long long, f float, d double,
// t tensor map. Blocks come in clusters of `cluster`.
using Entry = void (*)(void** arguments);
struct Registration {
    Registration(const char* name, const char* signature, Entry entry, int cluster = 1);
};

}  // namespace emulator
