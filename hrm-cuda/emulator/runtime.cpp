// Blocks, threads and warps on fibers; see runtime.h.
#include <algorithm>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <sys/mman.h>
#include <thread>

#include "machine.h"

namespace emulator {

thread_local Worker* worker = nullptr;

Guarded::Guarded(size_t bytes) : size((bytes + PAGE - 1) / PAGE * PAGE) {
    void* got = mmap(nullptr, size + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED || mprotect(got, size, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    base = static_cast<unsigned char*>(got);
}

Guarded::~Guarded() {
    forget_frames(base, size);
    munmap(base, size + PAGE);
}

namespace {

struct Kernel {
    const char* signature;
    Entry entry;
    int cluster;
};

std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

std::string text(const char* format, va_list arguments) {
    char buffer[512];
    std::vsnprintf(buffer, sizeof buffer, format, arguments);
    return buffer;
}

const char* file_name(const char* path) {
    const char* slash = std::strrchr(path, '/');
    return slash ? slash + 1 : path;
}

std::string triple(dim3 at) {
    return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
}

}  // namespace

std::string place(Site site) { return std::string(file_name(site.file)) + ":" + std::to_string(site.line); }

Worker::Worker(Launch& launch)
    : launch(launch),
      per_block(int(launch.block.x * launch.block.y * launch.block.z)),
      count(per_block * launch.cluster),
      stacks(STACK * count),
      threads(count),
      warps((count + WARP - 1) / WARP),
      warpgroups(count / WARPGROUP_THREADS) {
    for (int rank = 0; rank < launch.cluster; rank++) blocks.emplace_back(launch.dynamic_bytes).rank = unsigned(rank);
}

void Worker::stop(const std::string& what, const Block* in) {
    stopped = true;
    if (!in) in = running ? running->block : &blocks[0];
    std::string message = std::string("kernel ") + launch.name + ", block " + triple(in->index);
    if (running) message += ", thread " + triple(running->index);
    std::lock_guard<std::mutex> guard(launch.lock);
    if (!launch.failed.exchange(true)) launch.failure = message + ": " + what;
}

void Worker::wake(Thread::State state, const Block* of) {
    for (Thread& thread : threads)
        if (thread.state == state && (!of || thread.block == of)) thread.state = Thread::State::Ready;
}

void Worker::park(Thread::State state) {
    running->state = state;
    running->fiber.leave_for(scheduler);
}

void Worker::yield() {
    if (launch.options.order != Order::Random || random() % 8 != 0) return;
    elsewhere = true;
    running->fiber.leave_for(scheduler);
}

// The next thread to run: of the same warp as long as one can, then of another. None if no thread can.
Thread* Worker::next() {
    const auto ready = [&](int at) { return threads[order[at]].state == Thread::State::Ready; };
    const int begin = position / WARP * WARP, end = std::min(begin + WARP, count);
    const auto within = [&](int first, int last, int from) -> Thread* {
        for (int k = 0; k < last - first; k++) {
            const int at = first + (from - first + k) % (last - first);
            if (ready(at)) return position = at, &threads[order[at]];
        }
        return nullptr;
    };
    if (!elsewhere)
        if (Thread* thread = within(begin, end, position + 1 < end ? position + 1 : begin)) return thread;
    elsewhere = false;
    const int groups = int(warps.size());
    const int start = launch.options.order == Order::Random ? int(random() % groups) : begin / WARP + 1;
    for (int k = 0; k < groups; k++) {
        const int first = (start + k) % groups * WARP;
        if (Thread* thread = within(first, std::min(first + WARP, count), first)) return thread;
    }
    return nullptr;
}

// Which warp goes first, and within it which lane. A warp's lanes stay together; the last warp may be incomplete, so it
// takes part in the order of warps only where that does not displace others.
void Worker::arrange() {
    const int groups = int(warps.size()), whole = count / WARP;
    std::vector<int> turn(groups);
    for (int i = 0; i < groups; i++) turn[i] = i;
    if (launch.options.order == Order::Reverse) std::reverse(turn.begin(), turn.begin() + whole);
    if (launch.options.order == Order::Random) std::shuffle(turn.begin(), turn.begin() + whole, random);
    order.clear();
    for (int group : turn) {
        const size_t first = order.size();
        for (int t = group * WARP; t < std::min(group * WARP + WARP, count); t++) order.push_back(t);
        if (launch.options.order == Order::Reverse) std::reverse(order.begin() + first, order.end());
        if (launch.options.order == Order::Random) std::shuffle(order.begin() + first, order.end(), random);
    }
}

Thread* Worker::next_or_land() {
    const Order in = launch.options.order;
    if (elsewhere && random() % 4 == 0) land();
    while (!stopped) {
        if (Thread* thread = next()) return thread;
        const bool products_first = in == Order::Reverse || (in == Order::Random && random() % 2 == 0);
        if (!(products_first ? multiply() || land() : land() || multiply())) break;
    }
    return nullptr;
}

std::string Worker::standstill() const {
    int at_warp = 0, at_barrier = 0, at_named = 0, at_products = 0, exited = 0;
    const Thread* stuck = nullptr;
    Site barrier_site{};
    // How many threads wait at each barrier in shared memory.
    std::map<std::string, int> waiting;
    for (const Thread& thread : threads) {
        at_warp += thread.state == Thread::State::AtWarp;
        at_named += thread.state == Thread::State::AtNamed;
        at_products += thread.state == Thread::State::AtProducts;
        exited += thread.state == Thread::State::Exited;
        if (thread.state == Thread::State::AtBarrier) at_barrier++, barrier_site = thread.block->barrier_site;
        if (!stuck && thread.state == Thread::State::AtWarp) stuck = &thread;
        if (thread.state != Thread::State::AtMbarrier) continue;
        const Barrier& barrier = *thread.awaited;
        waiting["the barrier at byte " + std::to_string(barrier.at) + " of block " + triple(thread.block->index) +
                " for parity " + std::to_string(thread.parity) + " (" + std::to_string(barrier.missing) + " of " +
                std::to_string(barrier.arrivals) + " arrivals and " + std::to_string(barrier.bytes) + " bytes missing)"]++;
    }
    std::string message = "deadlock: no thread can run";
    if (at_barrier) message += ", " + std::to_string(at_barrier) + " wait at __syncthreads of " + place(barrier_site);
    if (stuck)
        message += ", " + std::to_string(at_warp) + " wait for their warp, the first, thread " + triple(stuck->index) +
                   ", at " + stuck->warp->name + " of " + place(stuck->warp->site);
    if (at_named) message += ", " + std::to_string(at_named) + " wait at barriers of some threads";
    if (at_cluster) message += ", " + std::to_string(at_cluster) + " wait for their cluster";
    if (at_products) message += ", " + std::to_string(at_products) + " wait for wgmma of their warpgroup";
    message += ", " + std::to_string(exited) + " have exited";
    for (const auto& [barrier, threads] : waiting) message += ", " + std::to_string(threads) + " wait at " + barrier;
    return message;
}

namespace {

void body() {
    Worker& own = *worker;
    Fiber::entered(own.scheduler);
    own.launch.entry(own.launch.arguments);
    Thread& thread = *own.running;
    if (!thread.copies.empty()) fault("the kernel ends with copies in flight that nobody waited for");
    if (!thread.products.accumulators.empty()) fault("the kernel ends with wgmma under way that nobody waited for");
    thread.state = Thread::State::Exited;
    own.live--;
    // Those that wait at a barrier do not wait for threads that have exited.
    Block& block = *thread.block;
    if (--block.live > 0 && block.at_barrier == block.live) {
        block.at_barrier = 0;
        own.wake(Thread::State::AtBarrier, &block);
    }
    if (own.live > 0 && own.at_cluster == own.live) {
        own.at_cluster = 0;
        own.wake(Thread::State::AtCluster);
    }
    thread.fiber.leave_for(own.scheduler);
    __builtin_unreachable();
}

}  // namespace

void Worker::run_cluster(uint64_t number) {
    const dim3 grid = launch.grid, size = launch.block;
    random.seed(launch.options.seed + number * 0x9e3779b97f4a7c15u);
    arrange();
    for (Block& block : blocks) {
        const uint64_t at = number * blocks.size() + block.rank;
        block.index = {unsigned(at % grid.x), unsigned(at / grid.x % grid.y), unsigned(at / grid.x / grid.y)};
        std::memset(block.dynamic_base, POISON, size_t(block.dynamic.end() - block.dynamic_base));
        block.arrays_base = block.arrays.end();
        block.declared.clear();
        block.barriers.clear();
        block.named = {};
        block.live = per_block;
        block.at_barrier = 0;
    }
    for (Warp& warp : warps) {
        std::memset(warp.slots, POISON, sizeof warp.slots);
        warp.arrived = 0;
    }
    warpgroups.assign(warpgroups.size(), {});
    flights.clear();
    for (int t = 0; t < count; t++) {
        Thread& thread = threads[t];
        const unsigned at = unsigned(t % per_block);
        thread.index = {at % size.x, at / size.x % size.y, at / size.x / size.y};
        thread.lane = t % WARP;
        thread.block = &blocks[t / per_block];
        thread.warp = &warps[t / WARP];
        thread.state = Thread::State::Ready;
        thread.copies.clear();
        thread.groups = 0;
        thread.products = {};
        thread.fiber.prepare(stacks.base + STACK * t, STACK, body);
    }
    live = count;
    at_cluster = 0;
    elsewhere = false;
    position = 0;
    running = &threads[order[0]];
    while (running) {
        scheduler.leave_for(running->fiber);
        if (stopped) return;
        running = live > 0 ? next_or_land() : nullptr;
    }
    if (stopped) return;
    if (live > 0) return stop(standstill());
    if (!flights.empty()) stop("the kernel ends with bulk copies in flight that nobody waited for");
}

void Worker::run_clusters() {
    const uint64_t clusters = uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z / blocks.size();
    while (!launch.failed) {
        const uint64_t number = launch.next_cluster.fetch_add(1);
        if (number >= clusters) break;
        run_cluster(number);
    }
}

namespace {

// A kernel that touches what it must not ends the launch, not the program.

struct sigaction previous_handlers[2];

void touched(int signal, siginfo_t* info, void* context) {
    if (worker && worker->running && !worker->stopped) {
        const auto* at = static_cast<unsigned char*>(info->si_addr);
        const Guarded &dynamic = worker->running->block->dynamic, &arrays = worker->running->block->arrays;
        if (at >= dynamic.end() && at < dynamic.end() + PAGE)
            fault("access %zu bytes past the end of its %zu bytes of dynamic shared memory", size_t(at - dynamic.end()),
                  worker->launch.dynamic_bytes);
        if (at >= arrays.end() && at < arrays.end() + PAGE)
            fault("access %zu bytes past the end of its shared arrays", size_t(at - arrays.end()));
        fault("access to address %p, which belongs to no allocation", static_cast<void*>(info->si_addr));
    }
    const struct sigaction& previous = previous_handlers[signal == SIGBUS];
    if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(signal, info, context);
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signal);
    std::signal(signal, SIG_DFL);
}

void catch_touches() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action {};
        action.sa_sigaction = touched;
        // The handler leaves for the scheduler and never returns: the signal must not stay blocked.
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigaction(SIGSEGV, &action, &previous_handlers[0]);
        sigaction(SIGBUS, &action, &previous_handlers[1]);
    });
}

void work(Launch& launch) {
    std::vector<char> handler_stack(64 * 1024);
    stack_t own{}, previous{};
    own.ss_sp = handler_stack.data();
    own.ss_size = handler_stack.size();
    sigaltstack(&own, &previous);
    try {
        Worker here(launch);
        worker = &here;
        here.run_clusters();
    } catch (const std::bad_alloc&) {
        std::lock_guard<std::mutex> guard(launch.lock);
        if (!launch.failed.exchange(true)) launch.failure = "no memory for the threads of a block";
    }
    worker = nullptr;
    sigaltstack(&previous, nullptr);
}

// Why a GPU would refuse this launch; empty if it would not.
std::string refusal(const Launch& launch, const char* signature, const char* expected) {
    const uint64_t threads = uint64_t(launch.block.x) * launch.block.y * launch.block.z;
    if (std::strcmp(signature, expected) != 0)
        return std::string("its parameters are ") + expected + ", the arguments " + signature +
               " (p pointer, i int, u unsigned long long, f float, d double, t tensor map)";
    if (threads == 0 || threads > 1024 || launch.block.z > 64)
        return "a block of " + triple(launch.block) + " threads; there may be 1 to 1024, 64 in z";
    if (!launch.grid.x || !launch.grid.y || !launch.grid.z || launch.grid.x > 0x7fffffffu || launch.grid.y > 65535 ||
        launch.grid.z > 65535)
        return "a grid of " + triple(launch.grid) + " blocks; there may be 1 to 2147483647, 65535 in y and z";
    if (launch.dynamic_bytes > SHARED_LIMIT)
        return std::to_string(launch.dynamic_bytes) + " bytes of shared memory; there are " +
               std::to_string(SHARED_LIMIT);
    if (launch.cluster > 1 && (threads % WARP != 0 || launch.grid.x % launch.cluster != 0))
        return "clusters of " + std::to_string(launch.cluster) + " blocks, of a grid of " + triple(launch.grid) +
               " blocks of " + triple(launch.block) + " threads";
    return {};
}

}  // namespace

Registration::Registration(const char* name, const char* signature, Entry entry, int cluster) {
    kernels()[name] = {signature, entry, cluster};
}

const dim3& thread_index() { return worker->running->index; }
const dim3& block_index() { return worker->running->block->index; }
const dim3& block_size() { return worker->launch.block; }
const dim3& grid_size() { return worker->launch.grid; }
int lane() { return worker->running->lane; }
Warp& warp() { return *worker->running->warp; }
void* dynamic_shared() { return worker->running->block->dynamic_base; }

void fault(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    worker->stop(text(format, arguments));
    va_end(arguments);
    worker->running->fiber.leave_for(worker->scheduler);
    __builtin_unreachable();
}

void barrier(Site site) {
    Block& block = *worker->running->block;
    if (block.at_barrier == 0) block.barrier_site = site;
    if (site != block.barrier_site)
        fault("divergence: __syncthreads of %s while others wait at that of %s", place(site).c_str(),
              place(block.barrier_site).c_str());
    worker->running->state = Thread::State::AtBarrier;
    if (++block.at_barrier == block.live) {
        block.at_barrier = 0;
        worker->wake(Thread::State::AtBarrier, &block);
    }
    worker->running->fiber.leave_for(worker->scheduler);
}

void named_barrier(int number, int threads) {
    Worker& own = *worker;
    Thread& thread = *own.running;
    if (number < 1 || number > 15) fault("barrier.sync %d: there are 1 to 15 beside that of __syncthreads", number);
    if (threads <= 0 || threads % WARP != 0 || threads > own.per_block)
        fault("barrier.sync %d of %d threads, in a block of %d", number, threads, own.per_block);
    Named& barrier = thread.block->named[number];
    if (barrier.arrived > 0 && barrier.expected != threads)
        fault("barrier.sync %d of %d threads while others wait for %d", number, threads, barrier.expected);
    barrier.expected = threads;
    thread.named = number;
    thread.state = Thread::State::AtNamed;
    if (++barrier.arrived == threads) {
        barrier.arrived = 0;
        for (Thread& other : own.threads)
            if (other.block == thread.block && other.state == Thread::State::AtNamed && other.named == number)
                other.state = Thread::State::Ready;
    }
    thread.fiber.leave_for(own.scheduler);
}

bool arrive(const char* name, Site site) {
    Worker& own = *worker;
    Warp& warp = *own.running->warp;
    if (warp.arrived == 0) warp.name = name, warp.site = site;
    if (std::strcmp(name, warp.name) != 0 || site != warp.site)
        fault("divergence: %s of %s while lanes of its warp wait at %s of %s", name, place(site).c_str(), warp.name,
              place(warp.site).c_str());
    if (++warp.arrived == std::min(WARP, own.count - own.first_of(warp))) return true;
    own.park(Thread::State::AtWarp);
    return false;
}

void release() {
    Worker& own = *worker;
    Warp& warp = *own.running->warp;
    const int first = own.first_of(warp);
    for (int t = first; t < std::min(first + WARP, own.count); t++)
        if (own.threads[t].state == Thread::State::AtWarp) own.threads[t].state = Thread::State::Ready;
    warp.arrived = 0;
    own.yield();
}

void* static_shared(size_t bytes, Site site) {
    Block& own = *worker->running->block;
    for (const Array& array : own.declared)
        if (!(array.site != site) && array.bytes == bytes) return array.base;
    // An array ends where the one declared before begins, less a gap that stays poison.
    constexpr size_t GAP = 64;
    const size_t taken = (bytes + 15) / 16 * 16 + (own.declared.empty() ? 0 : GAP);
    if (taken > size_t(own.arrays_base - own.arrays.base)) fault("shared arrays of more than %zu bytes", SHARED_LIMIT);
    own.arrays_base -= taken;
    std::memset(own.arrays_base, POISON, taken);
    own.declared.push_back({site, own.arrays_base, bytes});
    return own.arrays_base;
}

void check_shared(const void* address, size_t bytes, size_t alignment, const char* what) {
    const Block& own = *worker->running->block;
    const size_t dynamic_bytes = worker->launch.dynamic_bytes;
    const auto* at = static_cast<const unsigned char*>(address);
    if (reinterpret_cast<uintptr_t>(at) % alignment != 0)
        fault("%s at a shared address that is no multiple of %zu", what, alignment);
    if (at >= own.dynamic_base && at + bytes <= own.dynamic_base + dynamic_bytes) return;
    for (const Array& array : own.declared)
        if (at >= array.base && at + bytes <= array.base + array.bytes) return;
    fault("%s outside shared memory: byte %td of its %zu bytes", what, at - own.dynamic_base, dynamic_bytes);
}

void copy_async(void* shared, const void* global, size_t bytes) {
    Thread& thread = *worker->running;
    Copy copy{shared, {}, thread.groups};
    if (bytes != sizeof copy.bytes) fault("cp.async of %zu bytes", bytes);
    if (global) std::memcpy(copy.bytes, global, bytes);
    std::memset(shared, POISON, bytes);
    thread.copies.push_back(copy);
}

void copy_commit() { worker->running->groups++; }

void copy_wait(unsigned groups_left) {
    Thread& thread = *worker->running;
    // Copies after the last commit belong to no group, and are not waited for.
    const auto landed = [&](const Copy& copy) { return copy.group + groups_left < thread.groups; };
    for (const Copy& copy : thread.copies)
        if (landed(copy)) std::memcpy(copy.to, copy.bytes, sizeof copy.bytes);
    thread.copies.erase(std::remove_if(thread.copies.begin(), thread.copies.end(), landed), thread.copies.end());
}

}  // namespace emulator

// Runs a kernel to its end. Returns 0, or 1 with what went wrong in `error`.
extern "C" int hrm_emulator_launch(const char* name, const char* signature, const unsigned* grid, const unsigned* block,
                                   unsigned shared_bytes, void** arguments, const void* options, char* error,
                                   size_t error_len) {
    using namespace emulator;
    const auto fail = [&](const std::string& message) {
        std::snprintf(error, error_len, "%s", message.c_str());
        return 1;
    };
    const auto found = kernels().find(name);
    if (found == kernels().end()) return fail(std::string("there is no kernel ") + name);
    Launch launch;
    launch.name = name;
    launch.entry = found->second.entry;
    launch.cluster = found->second.cluster;
    launch.arguments = arguments;
    launch.grid = {grid[0], grid[1], grid[2]};
    launch.block = {block[0], block[1], block[2]};
    launch.dynamic_bytes = shared_bytes;
    std::memcpy(&launch.options, options, sizeof launch.options);
    const std::string reason = refusal(launch, signature, found->second.signature);
    if (!reason.empty()) return fail(std::string("kernel ") + name + ": " + reason);
    catch_touches();
    const uint64_t clusters = uint64_t(grid[0]) * grid[1] * grid[2] / launch.cluster;
    const unsigned workers = unsigned(std::min<uint64_t>(std::max(1u, launch.options.workers), clusters));
    std::vector<std::thread> others;
    for (unsigned i = 1; i < workers; i++) others.emplace_back([&launch] { work(launch); });
    work(launch);
    for (std::thread& other : others) other.join();
    return launch.failed ? fail(launch.failure) : 0;
}
