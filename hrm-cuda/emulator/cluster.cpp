// See cluster.h.
#include "cluster.h"

#include <algorithm>
#include <cinttypes>

#include "machine.h"

namespace emulator {
namespace {

// An address from `remote_address` has the block's rank plus 1 in its upper bits.
constexpr int RANK_SHIFT = 24;

struct Place {
    Block* block;
    uint32_t offset;
};

// What an address names; fails unless `bytes` bytes there lie in the dynamic shared memory of a block that still runs.
Place resolve(uint32_t address, size_t bytes, size_t alignment, const char* what) {
    Worker& own = *worker;
    const uint32_t rank = address >> RANK_SHIFT, local = address & ((1u << RANK_SHIFT) - 1);
    Block& block = rank == 0 ? *own.running->block : own.blocks[rank - 1];
    const size_t limit = own.launch.dynamic_bytes;
    const uint32_t offset = local - SHARED_BASE;
    if (local < SHARED_BASE || offset + bytes > limit)
        fault("%s outside shared memory: byte %" PRId64 " of its %zu bytes", what, int64_t(local) - SHARED_BASE, limit);
    if (offset % alignment != 0) fault("%s at a shared address that is no multiple of %zu", what, alignment);
    if (block.live == 0) fault("%s in the shared memory of a block that has exited", what);
    return {&block, offset};
}

// What the 8 bytes of a barrier hold, so that a write over it shows.
constexpr uint64_t MARK = 0x7265697272616221;

Barrier* find(Block& block, uint32_t at) {
    for (Barrier& barrier : block.barriers)
        if (barrier.at == at) return &barrier;
    return nullptr;
}

Barrier& initialised(const Place& place, const char* what) {
    Barrier* const barrier = find(*place.block, place.offset);
    if (!barrier) fault("%s at byte %u of shared memory, where no barrier was initialised", what, place.offset);
    if (std::memcmp(place.block->dynamic_base + place.offset, &MARK, sizeof MARK) != 0)
        fault("%s at byte %u of shared memory: the barrier was written over", what, place.offset);
    return *barrier;
}

Barrier& barrier_at(uint32_t address, const char* what) { return initialised(resolve(address, 8, 8, what), what); }

// Ends the phase if nothing is missing.
void try_to_end(Worker& own, Barrier& barrier) {
    if (barrier.missing > 0 || barrier.bytes > 0) return;
    barrier.phase++;
    barrier.missing = barrier.arrivals;
    for (Thread& thread : own.threads)
        if (thread.state == Thread::State::AtMbarrier && thread.awaited == &barrier) thread.state = Thread::State::Ready;
}

void launch_flight(const Place& to, uint32_t barrier, std::shared_ptr<const std::vector<unsigned char>> bytes) {
    std::memset(to.block->dynamic_base + to.offset, POISON, bytes->size());
    worker->flights.push_back({to.block, to.offset, barrier, std::move(bytes)});
}

// The box as it lies in shared memory from `first` on, a multiple of 128.
std::vector<unsigned char> image_of(const Map& map, int dimensions, const int (&at)[5], uint32_t first) {
    constexpr size_t ROW = 128;
    size_t rows = 1;
    for (int d = 0; d < 5; d++) {
        const auto& axis = map.axes[d];
        if ((axis.length > 0) != (d < dimensions))
            fault("a copy in %d dimensions, of a tensor map of another number", dimensions);
        if (d == 0) continue;
        if (d < dimensions && axis.stride * 2 % 16 != 0)
            fault("a tensor map with rows that are no multiple of 16 bytes apart");
        if (d < dimensions) rows *= axis.boxed;
    }
    if (map.axes[0].boxed * 2 != ROW || map.axes[0].stride != 1 || reinterpret_cast<uintptr_t>(map.base) % 16 != 0)
        fault("a tensor map whose box has rows of %" PRIu64 " elements, or whose base is not aligned", map.axes[0].boxed);
    // An H200 calls it an illegal instruction.
    if (at[0] * 2 % 16 != 0) fault("a copy from column %d, which is no multiple of 16 bytes", at[0]);
    std::vector<unsigned char> image(rows * ROW);
    for (size_t row = 0; row < rows; row++) {
        bool inside = true;
        uint64_t element = 0;
        size_t rest = row;
        for (int d = 1; d < dimensions; d++) {
            const auto& axis = map.axes[d];
            const int64_t coordinate = at[d] + int64_t(rest % axis.boxed);
            rest /= axis.boxed;
            inside = inside && 0 <= coordinate && coordinate < int64_t(axis.length);
            element += uint64_t(coordinate) * axis.stride;
        }
        for (size_t i = 0; inside && i < ROW / 2; i++) {
            const int64_t column = at[0] + int64_t(i);
            if (column < 0 || column >= int64_t(map.axes[0].length)) continue;
            const uint32_t to = swizzled(first + uint32_t(row * ROW + i * 2)) - first;
            std::memcpy(&image[to], map.base + (element + uint64_t(column)) * 2, 2);
        }
    }
    return image;
}

}  // namespace

unsigned cluster_rank() { return worker->running->block->rank; }

void cluster_barrier() {
    Worker& own = *worker;
    if (++own.at_cluster < own.live) return own.park(Thread::State::AtCluster);
    own.at_cluster = 0;
    own.wake(Thread::State::AtCluster);
    own.yield();
}

uint32_t shared_address(const void* shared) {
    const unsigned char* const base = worker->running->block->dynamic_base;
    const auto* const at = static_cast<const unsigned char*>(shared);
    if (at < base || at > base + worker->launch.dynamic_bytes) fault("the address of what is not dynamic shared memory");
    return SHARED_BASE + uint32_t(at - base);
}

uint32_t remote_address(uint32_t address, uint32_t rank) {
    if (rank >= worker->blocks.size()) fault("mapa to block %u of a cluster of %zu", rank, worker->blocks.size());
    if (address >> RANK_SHIFT) fault("mapa of an address in another block");
    return address | (rank + 1) << RANK_SHIFT;
}

const void* shared_bytes(uint32_t address, size_t bytes, size_t alignment, const char* what) {
    const Place place = resolve(address, bytes, alignment, what);
    return place.block->dynamic_base + place.offset;
}

void write_async(uint32_t remote, uint32_t value, uint32_t remote_barrier) {
    const Place to = resolve(remote, sizeof value, 4, "st.async"), barrier = resolve(remote_barrier, 8, 8, "st.async");
    if (to.block != barrier.block) fault("st.async to one block, counted in another");
    initialised(barrier, "st.async");
    std::vector<unsigned char> bytes(sizeof value);
    std::memcpy(bytes.data(), &value, sizeof value);
    launch_flight(to, barrier.offset, std::make_shared<std::vector<unsigned char>>(std::move(bytes)));
}

void barrier_init(uint32_t barrier, uint32_t arrivals) {
    const Place at = resolve(barrier, 8, 8, "mbarrier.init");
    if (find(*at.block, at.offset)) fault("mbarrier.init of the barrier at byte %u for a second time", at.offset);
    if (arrivals == 0) fault("mbarrier.init for no arrivals");
    std::memcpy(at.block->dynamic_base + at.offset, &MARK, sizeof MARK);
    const size_t warps = (worker->per_block + WARP - 1) / WARP;
    at.block->barriers.push_back({at.offset, arrivals, arrivals, 0, 0, std::vector<Passed>(warps)});
}

void barrier_arrive(uint32_t address, uint32_t bytes) {
    Barrier& barrier = barrier_at(address, "mbarrier.arrive");
    if (barrier.missing == 0)
        fault("mbarrier.arrive at byte %u of shared memory: all %u arrivals of its phase are in", barrier.at,
              barrier.arrivals);
    barrier.missing--;
    barrier.bytes += bytes;
    if (barrier.missing == 0 && barrier.bytes < 0)
        fault("the barrier at byte %u of shared memory: %" PRId64 " bytes came that nobody announced", barrier.at,
              -barrier.bytes);
    try_to_end(*worker, barrier);
}

// Whether the running thread comes through a barrier at which it waits for the end of a phase.
static bool comes_through(Barrier& barrier, uint32_t parity) {
    Thread& thread = *worker->running;
    Passed& passed = barrier.passed[(&thread - worker->threads.data()) % worker->per_block / WARP];
    const uint32_t own = 1u << thread.lane;
    // The lanes of a warp come through together, whatever the first does right after.
    const bool with_others = !(passed.lanes & own) && passed.parity == parity;
    if (!with_others) {
        if (barrier.phase % 2 == parity) return false;
        passed = {0, parity};
    }
    passed.lanes |= own;
    return true;
}

bool barrier_test(uint32_t address, uint32_t parity) {
    return comes_through(barrier_at(address, "mbarrier.test_wait"), parity);
}

void barrier_wait(uint32_t address, uint32_t parity) {
    Barrier& barrier = barrier_at(address, "mbarrier.try_wait");
    Thread& thread = *worker->running;
    // Looks again when its turn comes: who is late may find the next phase ended too.
    while (!comes_through(barrier, parity)) {
        thread.awaited = &barrier;
        thread.parity = parity;
        worker->park(Thread::State::AtMbarrier);
    }
}

void copy_box(uint32_t to, const Map& map, int dimensions, const int (&at)[5], uint32_t barrier, unsigned mask) {
    Worker& own = *worker;
    if (to >> RANK_SHIFT || barrier >> RANK_SHIFT) fault("a bulk copy to an address in another block");
    const auto bytes = std::make_shared<const std::vector<unsigned char>>(image_of(map, dimensions, at, to));
    if (mask >> own.blocks.size()) fault("a bulk copy to blocks %#x of a cluster of %zu", mask, own.blocks.size());
    for (unsigned rank = 0; rank < own.blocks.size(); rank++) {
        if (mask ? !(mask >> rank & 1) : rank != cluster_rank()) continue;
        const char* const name = "cp.async.bulk.tensor";
        const Place here = resolve(remote_address(to, rank), bytes->size(), 128, name);
        const Place counted = resolve(remote_address(barrier, rank), 8, 8, name);
        initialised(counted, name);
        launch_flight(here, counted.offset, bytes);
    }
}

bool Worker::land() {
    if (flights.empty()) return false;
    running = nullptr;
    size_t pick = 0;
    if (launch.options.order == Order::Reverse) pick = flights.size() - 1;
    if (launch.options.order == Order::Random) pick = random() % flights.size();
    Block& block = *flights[pick].block;
    const uint32_t barrier = flights[pick].barrier;
    const auto along = [&](const Flight& flight) { return flight.block == &block && flight.barrier == barrier; };
    if (block.live == 0) {
        stop("a write lands in the shared memory of a block that has exited", &block);
        return true;
    }
    for (const Flight& flight : flights) {
        if (!along(flight)) continue;
        std::memcpy(block.dynamic_base + flight.to, flight.bytes->data(), flight.bytes->size());
        complete(block, barrier, flight.bytes->size());
        if (stopped) return true;
    }
    flights.erase(std::remove_if(flights.begin(), flights.end(), along), flights.end());
    return true;
}

void Worker::complete(Block& block, uint32_t at, size_t bytes) {
    Barrier& barrier = *find(block, at);
    barrier.bytes -= int64_t(bytes);
    if (barrier.missing == 0 && barrier.bytes < 0)
        return stop("the barrier at byte " + std::to_string(at) + " of shared memory: " + std::to_string(-barrier.bytes) +
                        " bytes came that nobody announced",
                    &block);
    try_to_end(*this, barrier);
}

}  // namespace emulator
