// See wgmma.h. Layouts are those of the PTX manual; tensor cores add in an order of their own, here k ascends.
#include "wgmma.h"

#include <algorithm>

#include "cluster.h"
#include "machine.h"

namespace emulator {
namespace {

constexpr int ROWS = 64, DEPTH = 16, MAX_COLUMNS = 128;

float low(uint32_t pair) {
    pair <<= 16;
    float x;
    std::memcpy(&x, &pair, sizeof x);
    return x;
}
float high(uint32_t pair) { return low(pair >> 16); }

// Row and column of value i of an accumulator in thread t.
int row_of(int t, int i) { return t / WARP * 16 + t % WARP / 4 + i / 2 % 2 * 8; }
int column_of(int t, int i) { return i / 4 * 8 + t % 4 * 2 + i % 2; }

// The tile's first address, of a descriptor of rows of 128 bytes in the swizzle of 128 bytes, groups of 8 rows 1024 apart.
uint32_t described(uint64_t descriptor, const char* operand) {
    constexpr uint64_t REST = ~uint64_t(0x3fff) & ~(uint64_t(0x3fff) << 16);
    if ((descriptor & REST) != (uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62))
        fault("wgmma: the descriptor of %s, %#llx, is of another layout", operand, (unsigned long long)descriptor);
    return uint32_t(descriptor & 0x3fff) << 4;
}

// 8 elements of row `row`, from column 8 `chunk` of the tile at `first` on.
void read_chunk(float (&x)[8], uint32_t first, int row, int chunk, const char* operand) {
    const uint32_t at = swizzled(first + row * 128 + chunk * 16);
    uint32_t pairs[4];
    std::memcpy(pairs, shared_bytes(at, 16, 16, operand), sizeof pairs);
    for (int i = 0; i < 4; i++) x[2 * i] = low(pairs[i]), x[2 * i + 1] = high(pairs[i]);
}

// One product for all threads of a warpgroup.
struct Step {
    float a[ROWS][DEPTH];
    alignas(32) float b[DEPTH][MAX_COLUMNS];

    void read(const Thread* threads, size_t number) {
        const Product& product = threads[0].products.waiting[number];
        if (product.fragment) {
            for (int t = 0; t < WARPGROUP_THREADS; t++)
                for (int r = 0; r < 4; r++) {
                    const uint32_t pair = threads[t].products.waiting[number].fragment[r];
                    const int i = t / WARP * 16 + t % WARP / 4 + r % 2 * 8, k = t % 4 * 2 + r / 2 * 8;
                    a[i][k] = low(pair), a[i][k + 1] = high(pair);
                }
        } else {
            const uint32_t first = described(product.a, "A");
            if (first & 0x380) fault("wgmma: A begins at %#x, not in the first of 8 rows", first);
            for (int i = 0; i < ROWS; i++)
                for (int chunk = 0; chunk < DEPTH / 8; chunk++)
                    read_chunk(reinterpret_cast<float(&)[8]>(a[i][8 * chunk]), first, i, chunk, "wgmma's A");
        }
        const uint32_t first = described(product.b, "B");
        if (first & 0x380) fault("wgmma: B begins at %#x, not in the first of 8 rows", first);
        if (product.transposed) {
            if (first & 0x7f) fault("wgmma: transposed B begins at %#x, not at a row's start", first);
            for (int k = 0; k < DEPTH; k++)
                for (int chunk = 0; chunk < product.columns / 8; chunk++)
                    read_chunk(reinterpret_cast<float(&)[8]>(b[k][8 * chunk]), first, k, chunk, "wgmma's B");
        } else {
            for (int j = 0; j < product.columns; j++)
                for (int chunk = 0; chunk < DEPTH / 8; chunk++) {
                    float x[8];
                    read_chunk(x, first, j, chunk, "wgmma's B");
                    for (int k = 0; k < 8; k++) b[8 * chunk + k][j] = x[k];
                }
        }
    }

    template <int COLUMNS>
    void add_to(float (&d)[ROWS][MAX_COLUMNS]) const {
        typedef float Lanes __attribute__((vector_size(16)));
        constexpr int WIDTH = 32, PARTS = WIDTH / 4;
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < COLUMNS; j += WIDTH) {
                Lanes sum[PARTS], x[PARTS];
                std::memcpy(sum, &d[i][j], sizeof sum);
                for (int k = 0; k < DEPTH; k++) {
                    std::memcpy(x, &b[k][j], sizeof x);
                    for (int part = 0; part < PARTS; part++) sum[part] += a[i][k] * x[part];
                }
                std::memcpy(&d[i][j], sum, sizeof sum);
            }
    }
};

Accumulator* find(Thread& thread, const float* d) {
    for (Accumulator& accumulator : thread.products.accumulators)
        if (accumulator.d == d) return &accumulator;
    return nullptr;
}

// Fails unless all threads of a warpgroup have the same products in `group`. Returns how many.
size_t agree(const Thread* threads, unsigned group) {
    const auto in_group = [&](const Thread& thread) {
        size_t count = 0;
        while (count < thread.products.waiting.size() && thread.products.waiting[count].group == group) count++;
        return count;
    };
    const size_t count = in_group(threads[0]);
    for (int t = 1; t < WARPGROUP_THREADS; t++) {
        const std::deque<Product>& own = threads[t].products.waiting;
        bool same = in_group(threads[t]) == count;
        for (size_t i = 0; same && i < count; i++) {
            const Product &x = threads[0].products.waiting[i], &y = own[i];
            same = !(x.site != y.site) && x.a == y.a && x.b == y.b && x.accumulate == y.accumulate;
        }
        if (!same) fault("divergence: thread %d of a warpgroup has other products than its first in a group of wgmma", t);
    }
    return count;
}

// Computes a group that all threads have closed.
void compute(Thread* threads, unsigned group) {
    const size_t count = agree(threads, group);
    std::vector<bool> done(count);
    for (size_t first = 0; first < count; first++) {
        if (done[first]) continue;
        // All products for the same accumulator, in their order.
        const float* const accumulator = threads[0].products.waiting[first].d;
        float d[ROWS][MAX_COLUMNS];
        const auto each = [&](auto what) {
            for (int t = 0; t < WARPGROUP_THREADS; t++) {
                Accumulator& own = *find(threads[t], threads[t].products.waiting[first].d);
                for (int i = 0; i < own.count; i++) what(own.values[i], d[row_of(t, i)][column_of(t, i)]);
            }
        };
        each([](float own, float& all) { all = own; });
        for (size_t number = first; number < count; number++) {
            const Product& product = threads[0].products.waiting[number];
            if (product.d != accumulator) continue;
            done[number] = true;
            if (!product.accumulate) std::memset(d, 0, sizeof d);
            Step step;
            step.read(threads, number);
            product.columns == 128 ? step.add_to<128>(d) : step.add_to<64>(d);
        }
        each([](float& own, float all) { own = all; });
    }
    for (int t = 0; t < WARPGROUP_THREADS; t++) {
        std::deque<Product>& waiting = threads[t].products.waiting;
        waiting.erase(waiting.begin(), waiting.begin() + count);
    }
}

// The running thread's warpgroup, and the first of its threads.
Warpgroup& warpgroup(Thread*& first) {
    Worker& own = *worker;
    if (own.per_block % WARPGROUP_THREADS != 0) fault("wgmma in a block of %d threads, no whole warpgroups", own.per_block);
    const int number = int(own.running - own.threads.data()) / WARPGROUP_THREADS;
    first = &own.threads[number * WARPGROUP_THREADS];
    return own.warpgroups[number];
}

}  // namespace

void multiply(Product product) {
    Thread& thread = *worker->running;
    const int count = product.columns / 2;
    product.group = thread.products.groups;
    thread.products.waiting.push_back(product);
    Accumulator* accumulator = find(thread, product.d);
    if (!accumulator) {
        thread.products.accumulators.push_back({product.d, count, 0, {}});
        accumulator = &thread.products.accumulators.back();
        std::memcpy(accumulator->values, product.d, sizeof(float) * count);
        std::memset(product.d, POISON, sizeof(float) * count);
    }
    accumulator->group = product.group;
}

void close_group() {
    Thread* first;
    Warpgroup& own = warpgroup(first);
    const unsigned group = worker->running->products.groups++ - own.computed;
    if (own.closed.size() <= group) own.closed.resize(group + 1);
    if (++own.closed[group] == WARPGROUP_THREADS)
        for (int t = 0; t < WARPGROUP_THREADS; t++)
            if (first[t].state == Thread::State::AtProducts) first[t].state = Thread::State::Ready;
}

void wait_for_groups(unsigned left) {
    Thread* first;
    Warpgroup& own = warpgroup(first);
    Products& products = worker->running->products;
    const unsigned finished = products.groups > left ? products.groups - left : 0;
    while (own.computed < finished) {
        if (own.closed.front() < WARPGROUP_THREADS) {
            worker->park(Thread::State::AtProducts);
            continue;
        }
        compute(first, own.computed);
        own.computed++;
        own.closed.pop_front();
    }
    auto& under_way = products.accumulators;
    for (const Accumulator& accumulator : under_way) {
        if (accumulator.group >= finished) continue;
        const auto* bytes = reinterpret_cast<const unsigned char*>(accumulator.d);
        const size_t size = sizeof(float) * accumulator.count;
        if (std::any_of(bytes, bytes + size, [](unsigned char byte) { return byte != POISON; }))
            fault("an accumulator of wgmma was written to before its group was waited for");
        std::memcpy(accumulator.d, accumulator.values, size);
    }
    const auto delivered = [&](const Accumulator& accumulator) { return accumulator.group < finished; };
    under_way.erase(std::remove_if(under_way.begin(), under_way.end(), delivered), under_way.end());
}

}  // namespace emulator
