// What the runtime is made of: launches, workers, blocks with their shared memory, threads. Kernels see none of it.
#pragma once
#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "fiber.h"
#include "runtime.h"
#include "wgmma.h"

namespace emulator {

enum class Order : unsigned { Forward, Reverse, Random };

// The twin of `Options` in src/emulator/ffi.rs.
struct Options {
    Order order;
    unsigned workers;
    uint64_t seed;
};

// What all workers of a launch share.
struct Launch {
    const char* name;
    Entry entry;
    void** arguments;
    dim3 grid, block;
    int cluster;  // blocks
    size_t dynamic_bytes;
    Options options;
    std::atomic<uint64_t> next_cluster{0};
    std::atomic<bool> failed{false};
    std::mutex lock;
    std::string failure;
};

constexpr size_t PAGE = 4096;
constexpr size_t STACK = 64 * 1024;
// Shared memory that a block of an H100 or H200 may have.
constexpr size_t SHARED_LIMIT = 227 * 1024;
constexpr unsigned char POISON = 0xff;

// Memory whose end meets a page that nobody may touch.
struct Guarded {
    unsigned char* base = nullptr;
    size_t size = 0;
    explicit Guarded(size_t bytes);
    Guarded(const Guarded&) = delete;
    ~Guarded();
    unsigned char* end() const { return base + size; }
};

// A copy by cp.async, of one thread.
struct Copy {
    void* to;
    unsigned char bytes[16];
    unsigned group;
};

struct Array {
    Site site;
    unsigned char* base;
    size_t bytes;
};

// Lanes of a warp that have come through a wait.
struct Passed {
    uint32_t lanes = ~0u;
    uint32_t parity = 0;
};

// An mbarrier, by its offset in the block's dynamic shared memory.
struct Barrier {
    uint32_t at;
    uint32_t arrivals;  // that end a phase
    uint32_t missing;   // of them, in this phase
    int64_t bytes;      // announced and not come
    uint32_t phase;     // phases that have ended
    std::vector<Passed> passed;  // by warp of the block
};

// A barrier of some of a block's threads.
struct Named {
    int expected = 0, arrived = 0;
};

struct Block {
    Guarded dynamic;
    Guarded arrays;
    unsigned char* dynamic_base;
    unsigned char* arrays_base = nullptr;
    std::vector<Array> declared;
    std::deque<Barrier> barriers;
    std::array<Named, 16> named{};
    unsigned rank = 0;
    dim3 index{};
    int live = 0, at_barrier = 0;
    Site barrier_site{};

    explicit Block(size_t dynamic_bytes)
        : dynamic(dynamic_bytes),
          arrays(SHARED_LIMIT),
          dynamic_base(dynamic.end() - (dynamic_bytes + 15) / 16 * 16) {}
};

// An asynchronous write to shared memory that has not landed; its bytes are counted at a barrier.
struct Flight {
    Block* block;
    uint32_t to, barrier;  // offsets
    std::shared_ptr<const std::vector<unsigned char>> bytes;
};

struct Thread {
    enum class State { Ready, AtWarp, AtBarrier, AtNamed, AtCluster, AtMbarrier, AtProducts, Exited };
    Fiber fiber;
    dim3 index;
    int lane;
    Block* block;
    Warp* warp;
    State state;
    std::vector<Copy> copies;
    unsigned groups;
    int named;
    const Barrier* awaited;
    uint32_t parity;
    Products products;
};

// One host thread with all that the blocks of a cluster need. A launch without clusters has clusters of one block.
struct Worker {
    Launch& launch;
    const int per_block;
    const int count;  // threads of a cluster
    Guarded stacks;
    std::deque<Block> blocks;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<Warpgroup> warpgroups;
    std::vector<Flight> flights;
    // Positions of the threads in the order they get their turn, warp after warp.
    std::vector<int> order;
    int position = 0;
    Thread* running = nullptr;
    int live = 0, at_cluster = 0;
    bool elsewhere = false;
    bool stopped = false;
    Fiber scheduler;
    std::mt19937_64 random;

    explicit Worker(Launch& launch);
    void run_clusters();
    void run_cluster(uint64_t number);
    void arrange();
    // The next thread to run, none if no thread can.
    Thread* next();
    // The same, and what is under way happens if no thread can run.
    Thread* next_or_land();
    // Lets a write land, with all others that are counted at the same barrier. False if there is none.
    bool land();
    // Lets a thread that waits for products compute a group of them. False if there is none.
    bool multiply();
    void complete(Block& block, uint32_t barrier, size_t bytes);
    // Ends the launch with an error in `block`, or in that of the running thread.
    void stop(const std::string& text, const Block* in = nullptr);
    std::string standstill() const;
    void wake(Thread::State state, const Block* of = nullptr);
    void park(Thread::State state);
    // Now and then, if the order is random, lets other warps go first.
    void yield();
    int first_of(const Warp& warp) const { return int(&warp - warps.data()) * WARP; }
};

extern thread_local Worker* worker;

std::string place(Site site);

}  // namespace emulator
