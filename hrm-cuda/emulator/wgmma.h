// Products of a warpgroup, 128 threads: wgmma.mma_async with its groups.
//
// They are computed late: when somebody waits for them and no thread can run. It is an error if an operand in shared memory
// or registers is not the same then as when all threads had committed them. From issue to wait the accumulators are NaN.
#pragma once
#include <deque>
#include <vector>

#include "runtime.h"

namespace emulator {

constexpr int WARPGROUP_THREADS = 128;

// D [64, columns] = A [64, 16] B, plus D if `accumulate`.
struct Product {
    Site site;
    int columns;
    uint64_t a;                // a descriptor, or
    const uint32_t* fragment;  // this thread's part
    uint64_t b;                // of B^T [columns, 16], or of B [16, columns] if `transposed`
    bool transposed, accumulate;
    float* d;
    unsigned group = 0;
    // Hashes of operands when they were issued: by this thread, and by all, in the first thread's.
    uint64_t fragment_seen = 0, tiles_seen = 0;
};

// This thread's part of an accumulator that products are under way for.
struct Accumulator {
    float* d;
    int count;
    unsigned group;  // of the last product
    float values[128];
};

// Products of a thread.
struct Products {
    std::deque<Product> waiting;  // not computed
    std::vector<Accumulator> accumulators;
    unsigned groups = 0;  // closed
};

// Groups of a warpgroup.
struct Warpgroup {
    bool due = false;  // the next group may be computed
    unsigned computed = 0;
    std::deque<int> closed;  // of the groups after these: how many threads have closed each
};

void multiply(Product product);
void close_group();
// Waits for all but the last `left` groups of this thread.
void wait_for_groups(unsigned left);

}  // namespace emulator
